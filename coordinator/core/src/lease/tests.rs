//! The table against a clock that tests turn.

use super::*;

struct Bench {
    table: LeaseTable,
    now: LiveTime,
}

fn id(text: &str) -> WorkerId {
    WorkerId::new(text).unwrap()
}

fn key(text: &str) -> LeaseKey {
    (WorkflowId::new(text).unwrap(), 0)
}

const FENCE: Fence = Fence {
    epoch: 1,
    counter: 1,
};

impl Bench {
    fn new() -> Self {
        Self {
            table: LeaseTable::new(Profile::LAN),
            now: LiveTime(1_000_000_000),
        }
    }

    fn presence() -> Presence {
        Presence {
            installation: InstallationName::new("golem").unwrap(),
            pool: PoolName::new("default").unwrap(),
            incarnation: Arc::from("i1"),
            kinds: BTreeSet::from([KindRef::parse("t.work/1").unwrap()]),
            reach: BTreeSet::from(["aws".to_owned()]),
            credits: BTreeMap::from([("light".to_owned(), 2)]),
            draining: false,
            protocol: 1,
        }
    }

    fn connect(&mut self, worker: &str) {
        self.table
            .connected(&id(worker), Self::presence(), self.now, self.domain());
    }

    fn domain(&self) -> Timestamp {
        Timestamp(i64::try_from(self.now.0).unwrap())
    }

    fn beat(&mut self, worker: &str) {
        self.hears(worker);
    }

    fn hears(&mut self, worker: &str) -> bool {
        self.table.heard(&id(worker), self.now, self.domain())
    }

    fn grant(&mut self, worker: &str, lease: &str, finish_critical: Option<u64>) {
        let critical = finish_critical.map(Duration::from_secs);
        let light = Arc::from("light");
        self.table.grant(
            &id(worker),
            key(lease),
            FENCE,
            &light,
            critical,
            None,
            false,
            None,
            self.now,
        );
    }

    fn after(&mut self, seconds: u64) -> Vec<Finding> {
        self.now = self.now.after(Duration::from_secs(seconds));
        self.table.due(self.now)
    }

    fn picks(&self) -> Option<String> {
        let presence = Self::presence();
        let kind = KindRef::parse("t.work/1").unwrap();
        let need = Need {
            installation: &presence.installation,
            kind: &kind,
            class: "light",
            reach: &["aws".to_owned()],
            critical: false,
            with_object: false,
        };
        self.table
            .pick(&need, self.now)
            .map(|(id, _)| id.to_string())
    }
}

fn expired(lease: &str) -> Finding {
    Finding::Expired {
        key: key(lease),
        fence: FENCE,
    }
}

#[test]
fn an_offer_that_is_not_acked_is_found() {
    let mut bench = Bench::new();
    bench.connect("w1");
    bench.grant("w1", "m1", None);
    assert!(bench.after(4).is_empty());
    assert_eq!(
        bench.after(1),
        [Finding::Unacked {
            key: key("m1"),
            fence: FENCE
        }]
    );
}

#[test]
fn a_silent_worker_gets_no_offers_although_its_session_is_up() {
    let mut bench = Bench::new();
    bench.connect("w1");
    bench.after(10);
    bench.connect("w2");
    assert_eq!(
        bench.picks().as_deref(),
        Some("w1"),
        "late, but not suspect"
    );
    bench.after(6);
    assert_eq!(bench.picks().as_deref(), Some("w2"));
    assert!(bench.hears("w1"), "it takes offers again");
    assert!(!bench.hears("w1"));
    assert_eq!(bench.picks().as_deref(), Some("w1"));
}

#[test]
fn a_silent_worker_loses_its_leases_only_while_a_peer_is_heard() {
    let mut bench = Bench::new();
    bench.connect("w1");
    bench.connect("w2");
    bench.grant("w1", "m1", None);
    bench.table.acked(&key("m1"), bench.now);
    for _ in 0..5 {
        assert!(bench.after(5).is_empty());
        bench.beat("w2");
    }
    assert_eq!(bench.after(5), [expired("m1")]);

    let mut bench = Bench::new();
    bench.connect("w1");
    bench.connect("w2");
    bench.grant("w1", "m1", None);
    bench.table.acked(&key("m1"), bench.now);
    let golem = Bench::presence().installation;
    assert_eq!(
        bench.after(30),
        [Finding::Silent(golem.clone())],
        "everybody is silent: the network, not the worker"
    );
    assert!(bench.after(3600).is_empty());
    bench.beat("w2");
    assert_eq!(bench.after(0), [Finding::Heard(golem)]);
    for _ in 0..5 {
        let found = bench.after(5);
        assert!(found.is_empty(), "w1 has a full TTL to come back, too");
        bench.beat("w2");
    }
    assert_eq!(bench.after(5), [expired("m1")]);
}

#[test]
fn a_peer_that_fell_silent_in_the_same_moment_is_no_witness() {
    let mut bench = Bench::new();
    bench.connect("w1");
    bench.connect("w2");
    bench.grant("w1", "m1", None);
    bench.table.acked(&key("m1"), bench.now);
    // Everything is cut; w2's beat was the last one that came through.
    bench.after(3);
    bench.beat("w2");
    assert!(bench.after(27).is_empty(), "w1 is silent for a TTL");
    // The network is back before the installation counts as silent, and w2 dials first.
    bench.after(2);
    bench.beat("w2");
    assert!(bench.after(0).is_empty());
    for _ in 0..5 {
        assert!(bench.after(5).is_empty(), "w1 has a full TTL to come back");
        bench.beat("w2");
    }
    assert_eq!(bench.after(5), [expired("m1")]);
}

#[test]
fn a_critical_lease_holds_others_off_for_its_own_maximum() {
    let mut bench = Bench::new();
    bench.connect("w1");
    bench.connect("w2");
    bench.grant("w1", "m1", Some(600));
    bench.table.acked(&key("m1"), bench.now);
    for _ in 0..59 {
        assert!(bench.after(10).is_empty());
        bench.beat("w2");
    }
    assert_eq!(bench.after(10), [expired("m1")]);
}

#[test]
fn after_a_restart_leases_have_the_grace_first() {
    let mut bench = Bench::new();
    let grace = Duration::from_secs(1800);
    bench.table.known(
        id("w1"),
        Bench::presence(),
        bench.now,
        bench.domain(),
        false,
    );
    let light = Arc::from("light");
    bench.table.grant(
        &id("w1"),
        key("m1"),
        FENCE,
        &light,
        None,
        None,
        true,
        Some(grace),
        bench.now,
    );
    bench.connect("w2");
    for _ in 0..179 {
        assert!(bench.after(10).is_empty());
        bench.beat("w2");
    }
    assert_eq!(bench.after(10), [expired("m1")]);
}

#[test]
fn offers_go_to_the_least_used_worker_that_has_credit() {
    let mut bench = Bench::new();
    assert_eq!(bench.picks(), None);
    bench.connect("w1");
    bench.connect("w2");
    let mut taken = Vec::new();
    for lease in ["m1", "m2", "m3", "m4"] {
        let worker = bench.picks().unwrap();
        bench.grant(&worker, lease, None);
        taken.push(worker);
    }
    assert_eq!(taken, ["w1", "w2", "w1", "w2"]);
    assert_eq!(bench.picks(), None, "two credits each");
    bench.table.ended(&key("m2"));
    assert_eq!(bench.picks().as_deref(), Some("w2"));
    bench.table.set_draining(&id("w2"), true);
    assert_eq!(bench.picks(), None);
}

#[test]
fn a_step_that_reports_nothing_is_found_once() {
    let mut bench = Bench::new();
    bench.connect("w1");
    let heartbeat = Some(Duration::from_secs(60));
    let light = Arc::from("light");
    bench.table.grant(
        &id("w1"),
        key("m1"),
        FENCE,
        &light,
        None,
        heartbeat,
        true,
        None,
        bench.now,
    );
    for reports in 1..20 {
        assert!(bench.after(20).is_empty());
        bench.beat("w1");
        bench.table.reported(&key("m1"), FENCE, reports, bench.now);
    }
    let mut found = Vec::new();
    for _ in 0..20 {
        found.extend(bench.after(20));
        bench.beat("w1");
    }
    assert_eq!(
        found,
        [Finding::HeartbeatTimedOut {
            key: key("m1"),
            fence: FENCE
        }]
    );
}

#[test]
fn the_next_deadline_is_when_something_is_found() {
    let mut bench = Bench::new();
    bench.connect("w1");
    bench.connect("w2");
    bench.grant("w1", "m1", None);
    let next = bench.table.next_deadline(bench.now).unwrap();
    assert_eq!(next.since(bench.now), Duration::from_secs(5));
    assert_eq!(bench.after(5).len(), 1);
    bench.table.acked(&key("m1"), bench.now);
    bench.beat("w1");
    bench.beat("w2");
    let next = bench.table.next_deadline(bench.now).unwrap();
    assert_eq!(next.since(bench.now), Duration::from_secs(30));
    assert!(!bench.after(30).is_empty());
    assert_eq!(
        bench.table.next_deadline(bench.now),
        None,
        "nothing moves until somebody is heard"
    );
}
