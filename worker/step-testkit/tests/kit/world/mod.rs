//! A toy world: a few objects, one Auto Scaling group, one load balancer, and a controller that takes its time.

mod state;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use drover_ports::{Call, Caller, Door, PortError, Reply};
use drover_step_api::{Clock, Stamp, Timestamp};
use drover_step_testkit::{Fixture, LedgerEntry, Thaw};
use serde_json::{Value, json};
use tokio::time::Instant;

pub(crate) use self::state::CA_KEY;
use self::state::{SEEN_AFTER, State};

const LATENCY: Duration = Duration::from_millis(20);

pub(crate) struct World {
    shared: Arc<Shared>,
    freezes: bool,
}

struct Shared {
    state: Mutex<State>,
    clock: Arc<ToyClock>,
}

struct ToyClock {
    start: Instant,
    base: Timestamp,
    /// A clock that nothing moves.
    stands: bool,
}

#[async_trait]
impl Clock for ToyClock {
    fn now(&self) -> Timestamp {
        if self.stands {
            return self.base;
        }
        self.base.after(self.start.elapsed())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::standing(State::default(), Timestamp(0), true)
    }

    /// As [`World::new`], but one that the kit has to prepare for every round.
    pub(crate) fn unfreezable() -> Self {
        Self::standing(State::default(), Timestamp(0), false)
    }

    /// As [`World::new`], but its clock does not follow tokio's.
    pub(crate) fn timeless() -> Self {
        let state = State {
            clock_stands: true,
            ..State::default()
        };
        Self::standing(state, Timestamp(0), true)
    }

    fn standing(state: State, base: Timestamp, freezes: bool) -> Self {
        let start = Instant::now();
        let clock = Arc::new(ToyClock {
            start,
            base,
            stands: state.clock_stands,
        });
        let state = Mutex::new(state);
        Self {
            shared: Arc::new(Shared { state, clock }),
            freezes,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    /// A cluster and its group, as they are before anything happens to them.
    pub(crate) fn add_cluster(&self, name: &str) {
        let mut state = self.state();
        state.objects.insert(
            format!("Cluster/{name}"),
            json!({ "kind": "Cluster", "metadata": { "name": name, "annotations": {} } }),
        );
        state.instances.insert("i-1".to_owned());
    }
}

impl Shared {
    /// The state, with everything done that the controllers had to do until now.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self
            .state
            .lock()
            .expect("no test panics while it holds this");
        let now = self.clock.now();
        state.reconcile(now);
        state
    }
}

#[async_trait]
impl Door for Shared {
    async fn pass(
        &self,
        caller: &Caller,
        call: Call,
        stamp: Option<Stamp>,
    ) -> Result<Reply, PortError> {
        self.clock.sleep(LATENCY).await;
        let action = call.action();
        let mut state = self.lock();
        let (reply, changed) = state
            .pass(call)
            .map_err(|kind| PortError::new(kind, &action, "says the toy world"))?;
        if let Some(stamp) = stamp
            && !state.forgets_ledger
        {
            let kind = caller.kind.clone();
            state.ledger.push(LedgerEntry {
                stamp,
                kind,
                action,
                changed,
            });
        }
        // What the controllers see at once, they see at the time of the change.
        state.reconcile(self.clock.now());
        Ok(reply)
    }

    async fn refresh_credentials(&self) {}
}

impl Fixture for World {
    fn door(&self) -> Arc<dyn Door> {
        Arc::clone(&self.shared) as Arc<dyn Door>
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared.clock) as Arc<dyn Clock>
    }

    fn installation(&self) -> String {
        "golem".to_owned()
    }

    async fn settle(&self) {
        self.shared.clock.sleep(2 * SEEN_AFTER).await;
    }

    fn snapshot(&self) -> Value {
        let state = self.state();
        json!({
            "objects": state.objects,
            "suspended": state.suspended,
            "registered": state.registered,
            "kept": state.kept.keys().collect::<Vec<_>>(),
        })
    }

    fn ledger(&self) -> Vec<LedgerEntry> {
        self.state().ledger.clone()
    }

    fn freeze(&self) -> Option<Thaw<Self>> {
        if !self.freezes {
            return None;
        }
        let now = self.shared.clock.now();
        if self.state().copies_share {
            let shared = Arc::clone(&self.shared);
            return Some(Box::new(move || Self {
                shared: Arc::clone(&shared),
                freezes: true,
            }));
        }
        let state = self.state().clone();
        Some(Box::new(move || Self::standing(state.clone(), now, true)))
    }
}
