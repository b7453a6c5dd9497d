//! The domain clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use drover_core::time::Timestamp;

/// Domain time: wall time in production, the simulated world's in `drover dev`. The engine never lets it run backwards.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
    /// How much real time will pass until then, as far as can be said; the caller looks at the clock again.
    fn real_until(&self, at: Timestamp) -> Duration;
}

/// The system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn real_until(&self, at: Timestamp) -> Duration {
        at.since(self.now())
    }
}
