//! The clocks of a run: all of them follow the simulation; the coordinator's domain clock may be set.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use drover_coordinator::clock;
use drover_core::time::Timestamp;

/// Every run begins at this time, in microseconds since 1970.
const EPOCH: i64 = 1_800_000_000_000_000;

/// The wall clock of the coordinator's machine. Somebody may set it, forwards or backwards.
#[derive(Clone, Default)]
pub(crate) struct WallClock {
    /// Microseconds that it has been set forwards.
    offset: Arc<AtomicI64>,
    /// The latest time that it showed before it was set.
    latest: Arc<AtomicI64>,
}

impl WallClock {
    /// Sets it by so many seconds.
    pub(crate) fn jump(&self, seconds: i64) {
        self.latest
            .fetch_max(clock::Clock::now(self).0, Ordering::Relaxed);
        self.offset
            .fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }

    /// How long it takes until it shows again what it has shown before. Domain time does not run back: it stands so long.
    pub(crate) fn behind(&self) -> Duration {
        Timestamp(self.latest.load(Ordering::Relaxed)).since(clock::Clock::now(self))
    }
}

fn elapsed() -> i64 {
    let elapsed = turmoil::sim_elapsed().unwrap_or_default();
    i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
}

impl clock::Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp(EPOCH + elapsed() + self.offset.load(Ordering::Relaxed))
    }

    fn real_until(&self, at: Timestamp) -> Duration {
        at.since(self.now())
    }
}

/// The clock of a worker's machine.
pub(crate) struct WorkerClock;

#[async_trait]
impl drover_step_api::Clock for WorkerClock {
    fn now(&self) -> drover_step_api::Timestamp {
        drover_step_api::Timestamp(EPOCH + elapsed())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
