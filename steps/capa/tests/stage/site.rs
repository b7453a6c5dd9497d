//! The simulated world as the testkit's.

use std::{cell::Cell, pin::Pin, sync::Arc, time::Duration};

use drover_model::node_job::NodeJob;
use drover_ports::Door;
use drover_sim::LocalWorld;
use drover_step_api::Clock;
use drover_step_testkit::{Fixture, LedgerEntry, Thaw};
use serde_json::Value;

use super::Town;

/// Everything that a step sets off is over by then, except that finished Jobs go half an hour after they have finished:
/// they stay for requests that come late, and the kit lets one come after this time.
const SETTLED: Duration = Duration::from_secs(15 * 60);

/// Load balancers look that often that they have seen it by then.
const NOTICED: Duration = Duration::from_secs(60);

/// What somebody else does whenever all is quiet.
pub(crate) type Meanwhile = for<'s> fn(&'s Site) -> Pin<Box<dyn Future<Output = ()> + 's>>;

/// A town in which every kind is tried, perhaps with somebody else in it. A guard that runs beside a step would be one, but
/// would keep the kit from copying the world.
pub(crate) struct Site {
    pub(crate) town: Town,
    pub(crate) meanwhile: Cell<Option<Meanwhile>>,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self {
            town: Town::three_masters(),
            meanwhile: Cell::new(None),
        }
    }
}

impl Fixture for Site {
    fn door(&self) -> Arc<dyn Door> {
        Arc::new(self.town.world.door())
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.town.world.clock())
    }

    fn installation(&self) -> String {
        self.town.installation.clone()
    }

    async fn settle(&self) {
        self.town.world.clock().sleep(SETTLED).await;
        if let Some(meanwhile) = self.meanwhile.get() {
            meanwhile(self).await;
            self.town.world.clock().sleep(NOTICED).await;
        }
    }

    fn snapshot(&self) -> Value {
        let mut world = self.town.world.now().normalized();
        let realms = &mut world["clusters"][&self.town.cluster]["workload"];
        for realm in realms.as_object_mut().unwrap().values_mut() {
            let finished = |job: &Value| NodeJob::has_succeeded(job) || NodeJob::has_failed(job);
            let objects = realm.as_object_mut().unwrap();
            objects.retain(|_, object| object["kind"] != "Job" || !finished(object));
        }
        world
    }

    fn ledger(&self) -> Vec<LedgerEntry> {
        let world = self.town.world.now();
        let accepted = world.ledger(0).filter(|entry| entry.outcome == "ok");
        accepted
            .filter_map(|entry| {
                Some(LedgerEntry {
                    stamp: entry.stamp.clone()?,
                    kind: entry.caller.kind.clone(),
                    action: entry.action.clone(),
                    changed: entry.changed,
                })
            })
            .collect()
    }

    fn freeze(&self) -> Option<Thaw<Self>> {
        let frozen = self.town.world.now().clone();
        let (town, meanwhile) = (self.town.clone(), self.meanwhile.get());
        Some(Box::new(move || Self {
            town: Town {
                world: LocalWorld::new(frozen.clone()),
                ..town.clone()
            },
            meanwhile: Cell::new(meanwhile),
        }))
    }
}
