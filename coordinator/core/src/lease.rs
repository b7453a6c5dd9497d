//! Who is heard, who holds what, and whose time is over: liveness, in memory only.
//!
//! Events store that a lease was granted, never when it expires. This table knows when: a worker's leases live as long
//! as the worker is heard. It is rebuilt at start with full grace, and what it finds out goes into the workflows as
//! inputs.
//!
//! The rules:
//!
//! * An offer that is not acked in time is reverted.
//! * A worker that is not heard for a TTL loses its leases, but only while a peer of its pool is heard. When nobody of
//!   the pool is heard, the network or the region is gone and not the worker: nothing is given to anybody, and when the
//!   pool comes back everybody has a full TTL to say so.
//! * A lease of a critical step holds others off for the step's own maximum instead of the TTL.
//! * After a restart every lease has the grace period first.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    ids::{Fence, InstallationName, KindRef, PoolName, WorkerId, WorkflowId},
    pools::Intervals,
    time::Timestamp,
    workflow::hold::HoldReason,
};

/// Monotonic microseconds since the process began: the liveness clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LiveTime(pub u64);

impl LiveTime {
    /// The time `duration` later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    /// How long ago `earlier` was.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// How fast liveness is judged. Real time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: &'static str,
    /// One beat of all leases.
    pub beat_interval: Duration,
    /// A worker that is not heard for so long loses its leases.
    pub lease_ttl: Duration,
    /// An offer that is not acked for so long is reverted.
    pub ack_timeout: Duration,
    /// How long leases live on after a restart of the coordinator.
    pub restart_grace: Duration,
    /// Workers spread their reconnects over this.
    pub reconnect_jitter: Duration,
}

impl Profile {
    /// For workers in the same country.
    pub const LAN: Self = Self {
        name: "lan",
        beat_interval: Duration::from_secs(5),
        lease_ttl: Duration::from_secs(30),
        ack_timeout: Duration::from_secs(5),
        restart_grace: Duration::from_secs(30 * 60),
        reconnect_jitter: Duration::from_secs(2),
    };

    /// For tests that kill.
    pub const TEST: Self = Self {
        name: "test",
        beat_interval: Duration::from_millis(200),
        lease_ttl: Duration::from_secs(1),
        ack_timeout: Duration::from_millis(500),
        restart_grace: Duration::from_secs(5),
        reconnect_jitter: Duration::from_millis(20),
    };

    /// The profile of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::LAN, Self::TEST]
            .into_iter()
            .find(|profile| profile.name == name)
    }

    /// A worker that is not heard for so long is suspect.
    #[must_use]
    pub fn suspect_after(&self) -> Duration {
        self.beat_interval * 3
    }
}

/// Names a lease: one step of one workflow has at most one.
pub type LeaseKey = (WorkflowId, usize);

/// What a hello says about taking offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// What it serves.
    pub installation: InstallationName,
    /// Its pool.
    pub pool: PoolName,
    /// Its process.
    pub incarnation: Arc<str>,
    /// Kinds it serves.
    pub kinds: BTreeSet<KindRef>,
    /// Places it reaches.
    pub reach: BTreeSet<String>,
    /// How much it takes at once, by class.
    pub credits: BTreeMap<String, u32>,
    /// Takes no offers.
    pub draining: bool,
}

#[derive(Debug)]
struct Worker {
    presence: Presence,
    connected: bool,
    last_heard: LiveTime,
    heard_at: Option<Timestamp>,
    unheard: Intervals,
    unheard_since: Option<Timestamp>,
    used: BTreeMap<String, u32>,
    leases: BTreeMap<LeaseKey, Lease>,
}

impl Worker {
    /// Its session may look up, but it says nothing: an offer would only be lost.
    fn is_suspect(&self, now: LiveTime, suspect_after: Duration) -> bool {
        now.since(self.last_heard) > suspect_after
    }
}

#[derive(Debug)]
struct Lease {
    fence: Fence,
    class: Arc<str>,
    acked: bool,
    /// No ack by then: reverted.
    ack_by: LiveTime,
    /// Not lost before, whatever else.
    hold_off: LiveTime,
    /// Others are held off so long after the worker was last heard.
    ttl: Duration,
    heartbeat: Option<Duration>,
    reports: u64,
    last_report: LiveTime,
}

/// Something that liveness found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// No ack in time.
    Unacked {
        /// Whose lease.
        key: LeaseKey,
        /// Of the offer.
        fence: Fence,
    },
    /// The worker is not heard any more.
    Expired {
        /// Whose lease.
        key: LeaseKey,
        /// Of the attempt.
        fence: Fence,
    },
    /// The step's code reports nothing any more.
    HeartbeatTimedOut {
        /// Whose lease.
        key: LeaseKey,
        /// Of the attempt.
        fence: Fence,
    },
    /// No worker of the installation is heard.
    Silent(InstallationName),
    /// A worker of the installation is heard again.
    Heard(InstallationName),
}

/// What a step needs of a worker.
#[derive(Clone, Copy, Debug)]
pub struct Need<'a> {
    /// Where.
    pub installation: &'a InstallationName,
    /// What it must serve.
    pub kind: &'a KindRef,
    /// Which credits it takes.
    pub class: &'a str,
    /// What it must reach.
    pub reach: &'a [String],
    /// A draining worker will do.
    pub critical: bool,
}

/// Who is heard and who holds what.
#[derive(Debug)]
pub struct LeaseTable {
    profile: Profile,
    workers: BTreeMap<WorkerId, Worker>,
    holders: BTreeMap<LeaseKey, WorkerId>,
    silent: BTreeSet<InstallationName>,
}

impl LeaseTable {
    /// An empty table.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            workers: BTreeMap::new(),
            holders: BTreeMap::new(),
            silent: BTreeSet::new(),
        }
    }

    /// The profile in force.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// A worker that is known from the streams and not heard yet. `silent` says whether its installation was known to be
    /// silent.
    pub fn known(
        &mut self,
        id: WorkerId,
        presence: Presence,
        now: LiveTime,
        domain_now: Timestamp,
        silent: bool,
    ) {
        if silent {
            self.silent.insert(presence.installation.clone());
        }
        self.workers.entry(id).or_insert_with(|| Worker {
            presence,
            connected: false,
            last_heard: now,
            heard_at: None,
            unheard: Intervals::default(),
            unheard_since: Some(domain_now),
            used: BTreeMap::new(),
            leases: BTreeMap::new(),
        });
    }

    /// A session is up.
    pub fn connected(
        &mut self,
        id: &WorkerId,
        presence: Presence,
        now: LiveTime,
        domain_now: Timestamp,
    ) {
        self.known(id.clone(), presence.clone(), now, domain_now, false);
        if let Some(worker) = self.workers.get_mut(id) {
            worker.presence = presence;
            worker.connected = true;
            for lease in worker.leases.values_mut() {
                // Reports could not arrive while the session was down.
                lease.last_report = lease.last_report.max(now);
            }
        }
        self.heard(id, now, domain_now);
    }

    /// A session is down. The leases live on.
    pub fn disconnected(&mut self, id: &WorkerId, domain_now: Timestamp) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.connected = false;
            worker.unheard_since.get_or_insert(domain_now);
        }
    }

    /// The worker takes no further offers.
    pub fn drain(&mut self, id: &WorkerId) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.presence.draining = true;
        }
    }

    /// Other credits.
    pub fn set_credits(&mut self, id: &WorkerId, credits: BTreeMap<String, u32>) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.presence.credits = credits;
        }
    }

    /// A beat, or anything else from the worker. True when it was suspect until now: it takes offers again.
    pub fn heard(&mut self, id: &WorkerId, now: LiveTime, domain_now: Timestamp) -> bool {
        let suspect_after = self.profile.suspect_after();
        let Some(worker) = self.workers.get_mut(id) else {
            return false;
        };
        let was_suspect = worker.is_suspect(now, suspect_after);
        worker.last_heard = now;
        worker.heard_at = Some(domain_now);
        if let Some(since) = worker.unheard_since.take() {
            worker.unheard.push(since, domain_now);
        }
        let pool = (
            worker.presence.installation.clone(),
            worker.presence.pool.clone(),
        );
        if self.silent.contains(&pool.0) {
            // The pool is back: everybody in it has a full TTL to say so.
            for peer in self.workers.values_mut() {
                if peer.presence.installation == pool.0 && peer.presence.pool == pool.1 {
                    peer.last_heard = peer.last_heard.max(now);
                }
            }
        }
        was_suspect
    }

    /// A lease was granted. `finish_critical` holds others off for longer; `grace` is the earliest loss after a restart.
    #[expect(clippy::too_many_arguments, reason = "each is a fact of the one lease")]
    pub fn grant(
        &mut self,
        worker: &WorkerId,
        key: LeaseKey,
        fence: Fence,
        class: &Arc<str>,
        finish_critical: Option<Duration>,
        heartbeat: Option<Duration>,
        acked: bool,
        grace: Option<Duration>,
        now: LiveTime,
    ) {
        let Some(entry) = self.workers.get_mut(worker) else {
            return;
        };
        *entry.used.entry(class.to_string()).or_default() += 1;
        let lease = Lease {
            fence,
            class: Arc::clone(class),
            acked,
            ack_by: now.after(self.profile.ack_timeout),
            hold_off: now.after(grace.unwrap_or_default()),
            ttl: finish_critical
                .unwrap_or_default()
                .max(self.profile.lease_ttl),
            heartbeat,
            reports: 0,
            last_report: now.after(grace.unwrap_or_default()),
        };
        entry.leases.insert(key.clone(), lease);
        self.holders.insert(key, worker.clone());
    }

    /// The ack is durable.
    pub fn acked(&mut self, key: &LeaseKey, now: LiveTime) {
        if let Some(lease) = self.lease_mut(key) {
            lease.acked = true;
            lease.last_report = lease.last_report.max(now);
        }
    }

    /// The attempt, or the offer, has ended.
    pub fn ended(&mut self, key: &LeaseKey) {
        let Some(worker) = self
            .holders
            .remove(key)
            .and_then(|id| self.workers.get_mut(&id))
        else {
            return;
        };
        if let Some(lease) = worker.leases.remove(key)
            && let Some(used) = worker.used.get_mut(&*lease.class)
        {
            *used = used.saturating_sub(1);
        }
    }

    /// The step's code has reported so often.
    pub fn reported(&mut self, key: &LeaseKey, fence: Fence, reports: u64, now: LiveTime) {
        if let Some(lease) = self.lease_mut(key).filter(|lease| lease.fence == fence)
            && lease.reports != reports
        {
            lease.reports = reports;
            lease.last_report = lease.last_report.max(now);
        }
    }

    fn lease_mut(&mut self, key: &LeaseKey) -> Option<&mut Lease> {
        let worker = self.holders.get(key)?;
        self.workers.get_mut(worker)?.leases.get_mut(key)
    }

    /// The leases of a worker.
    #[must_use]
    pub fn leases_of(&self, id: &WorkerId) -> Vec<(LeaseKey, Fence, bool)> {
        self.workers.get(id).map_or_else(Vec::new, |worker| {
            worker
                .leases
                .iter()
                .map(|(key, lease)| (key.clone(), lease.fence, lease.acked))
                .collect()
        })
    }

    /// What the passing of time has brought.
    pub fn due(&mut self, now: LiveTime) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.silence(now, &mut findings);
        let heard: BTreeSet<(InstallationName, PoolName)> = self
            .workers
            .values()
            .filter(|worker| self.is_heard(worker, now))
            .map(|worker| {
                (
                    worker.presence.installation.clone(),
                    worker.presence.pool.clone(),
                )
            })
            .collect();
        for worker in self.workers.values_mut() {
            let pool = (
                worker.presence.installation.clone(),
                worker.presence.pool.clone(),
            );
            let peer_is_heard = heard.contains(&pool);
            for (key, lease) in &mut worker.leases {
                if !lease.acked {
                    if lease.ack_by <= now {
                        findings.push(Finding::Unacked {
                            key: key.clone(),
                            fence: lease.fence,
                        });
                    }
                } else if peer_is_heard
                    && worker.last_heard.after(lease.ttl) <= now
                    && lease.hold_off <= now
                {
                    findings.push(Finding::Expired {
                        key: key.clone(),
                        fence: lease.fence,
                    });
                } else if let Some(heartbeat) = lease.heartbeat
                    && worker.connected
                    && lease.last_report.after(heartbeat) <= now
                {
                    // Said once: the attempt is asked to stop.
                    lease.heartbeat = None;
                    findings.push(Finding::HeartbeatTimedOut {
                        key: key.clone(),
                        fence: lease.fence,
                    });
                }
            }
        }
        findings
    }

    fn is_heard(&self, worker: &Worker, now: LiveTime) -> bool {
        worker.connected && worker.last_heard.after(self.profile.lease_ttl) > now
    }

    fn silence(&mut self, now: LiveTime, findings: &mut Vec<Finding>) {
        let mut heard: BTreeMap<InstallationName, bool> = BTreeMap::new();
        for worker in self.workers.values() {
            // A session that is being renewed is no silence yet.
            let is_heard = worker.last_heard.after(self.profile.lease_ttl) > now;
            *heard
                .entry(worker.presence.installation.clone())
                .or_default() |= is_heard;
        }
        for (installation, is_heard) in heard {
            if is_heard && self.silent.remove(&installation) {
                findings.push(Finding::Heard(installation));
            } else if !is_heard && self.silent.insert(installation.clone()) {
                findings.push(Finding::Silent(installation));
            }
        }
    }

    /// The next time after `now` at which [`LeaseTable::due`] may have something new to say. Being heard moves it later,
    /// never earlier, except that a new lease or session may bring an earlier one.
    #[must_use]
    pub fn next_deadline(&self, now: LiveTime) -> Option<LiveTime> {
        let of_worker = |worker: &Worker| {
            let silence = worker.last_heard.after(self.profile.lease_ttl);
            let leases = worker.leases.values().flat_map(move |lease| {
                if lease.acked {
                    let expiry = worker.last_heard.after(lease.ttl).max(lease.hold_off);
                    let heartbeat = lease
                        .heartbeat
                        .map(|heartbeat| lease.last_report.after(heartbeat));
                    [Some(expiry), heartbeat]
                } else {
                    [Some(lease.ack_by), None]
                }
            });
            leases
                .flatten()
                .chain([silence])
                .filter(|at| *at > now)
                .min()
        };
        self.workers.values().filter_map(of_worker).min()
    }

    /// The worker that should take a step: the least used one that can, the first by id among equals.
    #[must_use]
    pub fn pick(&self, need: &Need<'_>, now: LiveTime) -> Option<(&WorkerId, &Presence)> {
        let suspect_after = self.profile.suspect_after();
        self.workers
            .iter()
            .filter(|(_, worker)| worker.connected && !worker.is_suspect(now, suspect_after))
            .filter(|(_, worker)| can(worker, need) && has_credit(worker, need.class))
            .filter(|(_, worker)| need.critical || !worker.presence.draining)
            .min_by_key(|(_, worker)| worker.leases.len())
            .map(|(id, worker)| (id, &worker.presence))
    }

    /// Why nobody takes a step that waits for a worker; `None` when somebody could.
    #[must_use]
    pub fn why_nobody(&self, need: &Need<'_>, now: LiveTime) -> Option<HoldReason> {
        let installation = need.installation.to_string();
        let here: Vec<&Worker> = self
            .workers
            .values()
            .filter(|worker| worker.presence.installation == *need.installation)
            .collect();
        if here.is_empty() {
            return Some(HoldReason::WorkerOffline { installation });
        }
        let missing: Vec<&str> = need
            .reach
            .iter()
            .filter(|place| {
                !here
                    .iter()
                    .any(|worker| worker.presence.reach.contains(*place))
            })
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            return Some(HoldReason::NoReach {
                installation,
                reach: missing.join(", "),
            });
        }
        let suspect_after = self.profile.suspect_after();
        let connected: Vec<&&Worker> = here
            .iter()
            .filter(|worker| worker.connected && !worker.is_suspect(now, suspect_after))
            .collect();
        if connected.is_empty() {
            return Some(HoldReason::WorkerOffline { installation });
        }
        let able: Vec<&&&Worker> = connected
            .iter()
            .filter(|worker| can(worker, need))
            .collect();
        if able.is_empty() {
            let serves = connected
                .iter()
                .any(|worker| worker.presence.kinds.contains(need.kind));
            return Some(if serves {
                HoldReason::NoReach {
                    installation,
                    reach: need.reach.join(", "),
                }
            } else {
                HoldReason::KindUnserved {
                    kind: need.kind.to_string(),
                    installation,
                }
            });
        }
        if able.iter().all(|worker| worker.presence.draining) && !need.critical {
            return Some(HoldReason::Draining { installation });
        }
        if able.iter().all(|worker| !has_credit(worker, need.class)) {
            return Some(HoldReason::NoCredit {
                installation,
                class: need.class.to_owned(),
            });
        }
        None
    }

    /// How much of the time from `since` to `now` a worker could not be heard.
    #[must_use]
    pub fn unheard(&self, worker: &WorkerId, since: Timestamp, now: Timestamp) -> Duration {
        let Some(worker) = self.workers.get(worker) else {
            return Duration::ZERO;
        };
        if worker.unheard_since.is_none() && !worker.unheard.reaches(since) {
            return Duration::ZERO;
        }
        let mut intervals = worker.unheard.clone();
        if let Some(open) = worker.unheard_since {
            intervals.push(open, now);
        }
        intervals.overlap(since, now)
    }

    /// A worker as it stands now.
    #[must_use]
    pub fn worker(&self, id: &WorkerId, now: LiveTime) -> Option<WorkerNow<'_>> {
        let worker = self.workers.get(id)?;
        Some(WorkerNow {
            presence: &worker.presence,
            connected: worker.connected,
            suspect: worker.is_suspect(now, self.profile.suspect_after()),
            heard_at: worker.heard_at,
            used: &worker.used,
            attempts: worker.leases.keys().cloned().collect(),
        })
    }

    /// When a lease expires, counted from now.
    #[must_use]
    pub fn expires_in(&self, key: &LeaseKey, now: LiveTime) -> Option<Duration> {
        let worker = self.workers.get(self.holders.get(key)?)?;
        let lease = worker.leases.get(key)?;
        Some(
            worker
                .last_heard
                .after(lease.ttl)
                .max(lease.hold_off)
                .since(now),
        )
    }
}

/// A worker as it stands now.
#[derive(Debug)]
pub struct WorkerNow<'a> {
    /// What its hello said.
    pub presence: &'a Presence,
    /// Its session is up.
    pub connected: bool,
    /// Its beats are late.
    pub suspect: bool,
    /// When it was last heard, in domain time.
    pub heard_at: Option<Timestamp>,
    /// Credits in use.
    pub used: &'a BTreeMap<String, u32>,
    /// What it holds.
    pub attempts: Vec<LeaseKey>,
}

fn can(worker: &Worker, need: &Need<'_>) -> bool {
    worker.presence.installation == *need.installation
        && worker.presence.kinds.contains(need.kind)
        && need
            .reach
            .iter()
            .all(|place| worker.presence.reach.contains(place))
}

fn has_credit(worker: &Worker, class: &str) -> bool {
    let used = worker.used.get(class).copied().unwrap_or(0);
    worker
        .presence
        .credits
        .get(class)
        .is_some_and(|credits| used < *credits)
}

#[cfg(test)]
mod tests {
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
        assert!(
            bench.after(29).is_empty(),
            "w1 has a full TTL to come back, too"
        );
        bench.beat("w2");
        assert_eq!(bench.after(1), [expired("m1")]);
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
        bench.table.drain(&id("w2"));
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
}
