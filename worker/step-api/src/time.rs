//! Points in time on the domain clock.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00Z on the *domain* clock: wall time in production, the simulated world's time
/// in `drover dev`. A step compares such times and adds durations to them; it never reads another clock.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time `duration` later, or the last representable one.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// How long ago `earlier` was; zero when it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let micros = self.0.saturating_sub(earlier.0).max(0);
        Duration::from_micros(micros.unsigned_abs())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us", self.0)
    }
}

/// The domain clock, given by the process around the steps: the system's in production, the simulated world's in
/// `drover dev`. Nothing that runs a step reads another one.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Never runs backwards.
    fn now(&self) -> Timestamp;
    /// Returns once `now()` has advanced by `duration`. Cancel-safe.
    async fn sleep(&self, duration: Duration);
}
