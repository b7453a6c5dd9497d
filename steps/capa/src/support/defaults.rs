//! Timeouts and retries that most kinds share.

use std::time::Duration;

use drover_step_api::{RetryPolicy, Timeouts};

/// Short waits between attempts: most failures are blips of somebody's API. One that is away for ten minutes wakes nobody.
pub(crate) const RETRY: RetryPolicy = RetryPolicy {
    initial_interval: Duration::from_secs(5),
    maximum_interval: Duration::from_secs(120),
    backoff_coefficient: 2.0,
    maximum_attempts: 10,
    maximum_losses: 10,
};

/// A step without a limit on how long it waits for a worker.
pub(crate) const fn timeouts(start_to_close: Duration) -> Timeouts {
    Timeouts {
        schedule_to_start: None,
        start_to_close: Some(start_to_close),
        schedule_to_close: None,
        heartbeat: Some(Duration::from_secs(180)),
    }
}

/// Seconds.
pub(crate) const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Minutes.
pub(crate) const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}
