//! The harness: a coordinator and workers in this process, over real gRPC on port 0, with toy step kinds whose world a
//! test can look into and hold still.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "test support: a panic is a failed test"
)]

pub mod client;
pub mod coordinator;
pub mod copied;
pub mod fixture;
pub mod proxy;
pub mod session;
pub mod town;
pub mod toy;
pub mod worker;

use std::time::{Duration, Instant};

/// Waits until something holds, looking again and again, for at most ten seconds.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(Duration::from_secs(10), what, look).await
}

/// Waits until something holds, looking again and again, for at most so long.
pub async fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let until = Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "it never came to: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
