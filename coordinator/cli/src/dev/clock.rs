//! The simulated world's time as the coordinator's domain clock.

use std::time::Duration;

use drover_coordinator::clock::Clock;
use drover_core::time::Timestamp;
use drover_sim::WorldClock;
use drover_step_api::Clock as _;

pub(super) struct SimulatedClock(pub(super) WorldClock);

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.now().0)
    }

    fn real_until(&self, at: Timestamp) -> Duration {
        self.0.real_until(drover_step_api::Timestamp(at.0))
    }
}
