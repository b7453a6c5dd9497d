//! The domain clock of the real world.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use drover_step_api::{Clock, Timestamp};

/// Wall time that never runs backwards: when the system's clock is set back, it stands still until that is caught up.
#[derive(Debug, Default)]
pub struct WallClock {
    told: AtomicI64,
}

impl WallClock {
    fn tell(&self, wall: i64) -> Timestamp {
        let told = self.told.fetch_max(wall, Ordering::AcqRel);
        Timestamp(told.max(wall))
    }
}

#[async_trait]
impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.tell(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// Measured by the monotonic clock: a step that polls goes on while this one stands still.
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_backwards() {
        let clock = WallClock::default();
        let told = [5, 7, 3, 7, 8].map(|wall| clock.tell(wall).0);
        assert_eq!(told, [5, 7, 7, 7, 8]);
    }
}
