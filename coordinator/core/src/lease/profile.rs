//! How fast liveness is judged, and on which clock.

use std::time::Duration;

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
    /// A session's stream is replaced at this age, more or less: a balancer or proxy in between never sees an old one.
    pub stream_age: Duration,
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
        stream_age: Duration::from_secs(30 * 60),
    };

    /// For tests that kill.
    pub const TEST: Self = Self {
        name: "test",
        beat_interval: Duration::from_millis(200),
        lease_ttl: Duration::from_secs(1),
        ack_timeout: Duration::from_millis(500),
        restart_grace: Duration::from_secs(5),
        reconnect_jitter: Duration::from_millis(20),
        stream_age: Duration::from_secs(30 * 60),
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
