//! A live engine on a disk in memory, whose time passes only when it is told to.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "test support: a panic is a finding"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use drover_coordinator::{
    clock::Clock,
    engine::{
        Settings,
        ended::Retention,
        messages::{Answer, Hello, Input, SessionId, ToWorker},
    },
    metrics::Metrics,
    objects::Objects,
    refusal::Refusal,
    store::memory::Disk,
    supervise::{self, Handle, Parts},
};
use drover_core::{
    declaration::{Compensation, Effect, KindDeclaration, LossPolicy, RetryPolicy, Role, Timeouts},
    ids::{Actor, InstallationName, KindRef, PoolName, WorkerId},
    lease::Profile,
    time::Timestamp,
};
use serde_json::json;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::task::TaskTracker;

/// What workflows follow: a chain with a pivot and a critical span, a branch, a gate, a timer, a guard.
pub const DEFINITION: &str = r"
apiVersion: drover/v1
kind: WorkflowDefinition
metadata: { name: fuzzed, version: 1 }
spec:
  input: { type: object }
  placement: { installation: golem }
  pivot: d
  critical: { from: d, until: e }
  guards:
    - { id: g, uses: fuzz.guard/1, from: b, until: e, autonomy: PT1H }
  steps:
    - { id: a, uses: fuzz.work/1 }
    - { id: b, uses: fuzz.work/1, needs: [a] }
    - { id: c, uses: fuzz.work/1, needs: [a] }
    - { id: t, timer: PT1M, needs: [b, c] }
    - { id: ok, needs: [t], gate: { approvers: [operator], expires: PT10M, evidence: [a] } }
    - { id: d, uses: fuzz.critical/1, needs: [ok] }
    - { id: e, uses: fuzz.critical/1, needs: [d] }
";

/// Ids of what a worker can have.
pub const STEPS: [&str; 6] = ["a", "b", "c", "d", "e", "g"];

/// The domain clock.
#[derive(Clone, Default)]
pub struct Hand(Arc<AtomicI64>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }

    fn real_until(&self, at: Timestamp) -> Duration {
        at.since(self.now())
    }
}

/// A session that a made-up worker holds.
pub struct Session {
    /// Its name at the engine.
    pub id: SessionId,
    words: mpsc::Receiver<Vec<ToWorker>>,
}

/// An engine under test.
pub struct Bench {
    disk: Disk,
    clock: Hand,
    handle: Handle,
    running: JoinHandle<()>,
    sessions: u64,
}

impl Bench {
    /// On an empty disk.
    pub async fn begin() -> Self {
        let disk = Disk::default();
        let clock = Hand::default();
        clock.0.store(1_800_000_000_000_000, Ordering::Relaxed);
        let (handle, running) = engine(&disk, &clock);
        Self {
            disk,
            clock,
            handle,
            running,
            sessions: 0,
        }
    }

    /// Ends the engine where it stands and begins another one on the same disk.
    pub async fn restart(&mut self) {
        self.running.abort();
        (self.handle, self.running) = engine(&self.disk, &self.clock);
    }

    /// Asks the engine, and waits for its answer.
    pub async fn ask<T>(&self, input: impl FnOnce(Answer<T>) -> Input) -> Result<T, Refusal> {
        let asked = tokio::time::timeout(Duration::from_secs(60), self.handle.ask(input));
        asked.await.expect("the engine answers")
    }

    /// Tells the engine something.
    pub async fn tell(&self, input: Input) {
        self.handle.tell(input).await.expect("the engine is there");
    }

    /// Lets time pass, on both clocks.
    pub async fn pass(&self, time: Duration) {
        let micros = i64::try_from(time.as_micros()).unwrap();
        self.clock.0.fetch_add(micros, Ordering::Relaxed);
        tokio::time::sleep(time).await;
    }

    /// Says hello; the session, when it was welcome.
    pub async fn hello(&mut self, hello: Hello) -> Option<Session> {
        self.sessions += 1;
        let id = SessionId(self.sessions);
        let (to, words) = mpsc::channel(1024);
        let (answer, answered) = oneshot::channel();
        let hello = Box::new(hello);
        self.tell(Input::Hello {
            session: id,
            hello,
            to,
            answer,
        })
        .await;
        let welcome = answered.await.expect("the engine answers");
        welcome.ok().map(|()| Session { id, words })
    }

    /// Who acts.
    #[must_use]
    pub fn actor() -> Actor {
        Actor(Arc::from("unverified:fuzz"))
    }
}

impl Session {
    /// What the engine has said since.
    pub fn heard(&mut self) -> Vec<ToWorker> {
        let mut heard = Vec::new();
        while let Ok(words) = self.words.try_recv() {
            heard.extend(words);
        }
        heard
    }
}

fn engine(disk: &Disk, clock: &Hand) -> (Handle, JoinHandle<()>) {
    let parts = Parts {
        stores: Box::new(disk.clone()),
        settings: Box::new(|| Settings {
            profile: Profile::LAN,
            cancel_grace: Duration::from_secs(5),
            low_space: 0,
            full_space: 0,
            free_space: Arc::new(|| None),
            retention: Retention {
                after: Duration::from_secs(365 * 24 * 3600),
                ended_max: usize::MAX,
            },
            mirror: None,
            // Fuzzed outputs are small: nothing is ever in there.
            objects: Arc::new(Objects::below(Path::new("no-data"), Arc::new(|| None), 0)),
            build: "fuzzed".to_owned(),
        }),
        clock: Arc::new(clock.clone()),
        metrics: Metrics::default(),
        backup: None,
    };
    let (handle, running) = supervise::unthreaded(parts);
    let running = TaskTracker::new().spawn(async move {
        running.await.expect("the engine begins");
    });
    (handle, running)
}

/// The kinds that every made-up worker serves.
#[must_use]
pub fn kinds() -> Vec<KindDeclaration> {
    let work = KindDeclaration {
        kind: KindRef::parse("fuzz.work/1").unwrap(),
        summary: "works".to_owned(),
        role: Role::Step,
        class: "light".to_owned(),
        reach: Vec::new(),
        effects: vec![Effect {
            name: "change".to_owned(),
            repeatable: false,
        }],
        compensation: Compensation::Undo,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: Timeouts {
            schedule_to_start: None,
            start_to_close: Some(Duration::from_secs(600)),
            schedule_to_close: None,
            heartbeat: Some(Duration::from_secs(60)),
        },
        retry: RetryPolicy {
            initial_interval: Duration::from_secs(5),
            maximum_interval: Duration::from_secs(60),
            backoff_coefficient: 2.0,
            maximum_attempts: 2,
            maximum_losses: 2,
        },
        permissions: Vec::new(),
        params_schema: json!({}),
        output_schema: json!({}),
    };
    let critical = KindDeclaration {
        kind: KindRef::parse("fuzz.critical/1").unwrap(),
        loss_policy: LossPolicy::FinishCritical {
            max: Duration::from_secs(300),
        },
        ..work.clone()
    };
    let guard = KindDeclaration {
        kind: KindRef::parse("fuzz.guard/1").unwrap(),
        role: Role::Guard,
        loss_policy: LossPolicy::RaceOk,
        timeouts: Timeouts::default(),
        ..work.clone()
    };
    vec![work, critical, guard]
}

/// A worker's hello; it holds nothing.
#[must_use]
pub fn hello(worker: &str, process: u8, spool: u8, counter: u64, last_epoch: u64) -> Hello {
    Hello {
        installation: InstallationName::new("golem").unwrap(),
        pool: PoolName::new("default").unwrap(),
        worker: WorkerId::new(worker).unwrap(),
        incarnation: Arc::from(format!("process-{process}")),
        spool: Arc::from(format!("spool-{spool}")),
        spool_counter: counter,
        build: "fuzzed".to_owned(),
        kinds: kinds(),
        reach: BTreeSet::new(),
        labels: BTreeMap::new(),
        credits: BTreeMap::from([("light".to_owned(), 8)]),
        last_epoch,
        held: Vec::new(),
        unacked_results: Vec::new(),
        hand_over: false,
        protocol: 1,
    }
}
