//! The harness: a coordinator and workers in this process, over real gRPC on port 0, with toy step kinds whose world a
//! test can look into and hold still.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "test support: a panic is a failed test"
)]

pub mod client;
pub mod coordinator;
pub mod town;
pub mod toy;
pub mod worker;

use std::time::{Duration, Instant};

use serde_json::Value;

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

/// What differs between two documents: one line a place, `path: this became that`.
pub fn differences(before: &Value, after: &Value) -> Vec<String> {
    fn walk(path: &str, a: &Value, b: &Value, into: &mut Vec<String>) {
        match (a.as_object(), b.as_object()) {
            (Some(x), Some(y)) => {
                for key in x.keys().chain(y.keys().filter(|key| !x.contains_key(*key))) {
                    walk(&format!("{path}/{key}"), &a[key], &b[key], into);
                }
            }
            _ if a != b => into.push(format!("{path}: {a} became {b}")),
            _ => {}
        }
    }
    let mut into = Vec::new();
    walk("", before, after, &mut into);
    into
}
