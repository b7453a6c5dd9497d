//! Timeouts and retries of looks.

use std::time::Duration;

use drover_step_api::{RetryPolicy, Timeouts};

/// A look is cheap to repeat.
pub(crate) const RETRY: RetryPolicy = RetryPolicy {
    initial_interval: Duration::from_secs(5),
    maximum_interval: Duration::from_secs(60),
    backoff_coefficient: 2.0,
    maximum_attempts: 10,
    maximum_losses: 10,
};

/// `minutes` for one attempt.
pub(crate) const fn timeouts(minutes: u64) -> Timeouts {
    Timeouts {
        schedule_to_start: None,
        start_to_close: Some(Duration::from_secs(minutes * 60)),
        schedule_to_close: None,
        heartbeat: Some(Duration::from_secs(180)),
    }
}
