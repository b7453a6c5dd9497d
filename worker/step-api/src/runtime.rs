//! The other side of the context: what the worker (and the testkit) provide. Steps never name this module; a test of
//! the package arrows allows it to `drover-worker` and `drover-step-testkit` alone.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{Context, Declaration, Fence, Permit, Stamp, Timestamp};

/// What the coordinator wants of a running attempt. Later variants win over earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Go on.
    #[default]
    Go,
    /// Stop at the next safe point.
    Pause,
    /// Guards: the span has ended.
    Stop,
    /// Stop without another effect and report.
    Cancel,
    /// The attempt no longer counts: stop without another effect.
    Superseded,
}

/// Who runs: the identity of one attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Workflow id.
    pub workflow: String,
    /// Step id.
    pub step: String,
    /// Counted from 1.
    pub number: u32,
    /// Grows with each attempt of the step.
    pub fence: Fence,
    /// Prefix of every idempotency key: lineage, step and params generation.
    pub idempotency_prefix: String,
    /// True while the step is being compensated.
    pub compensating: bool,
    /// The last durable checkpoint of the step, JSON.
    pub checkpoint: Option<serde_json::Value>,
    /// Compensations: the output of the step, when it had one.
    pub output: Option<serde_json::Value>,
}

/// One report of a running step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Units done.
    pub done: u64,
    /// Units in all; 0 when unknown.
    pub total: u64,
    /// One short line for the operator.
    pub message: String,
}

/// Why the host did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// The attempt was asked to stop.
    Cancelled,
    /// The attempt no longer counts.
    Superseded,
    /// What was handed in may not leave the worker; one sentence.
    Refused(String),
}

/// What an attempt needs of the process around it. All futures are cancel-safe: dropping one leaves nothing behind but,
/// at most, a checkpoint that was stored.
#[async_trait]
pub trait Host: Send + Sync {
    /// Waits until the lease is durably acked and known, then returns. Fails only when the attempt was cancelled or
    /// superseded.
    async fn admit(&self) -> Result<(), Interruption>;
    /// Returns once the checkpoint is durable at the coordinator.
    async fn checkpoint(&self, data: serde_json::Value) -> Result<(), Interruption>;
    /// Never blocks; the newest report wins.
    fn report(&self, report: Report);
    /// A guard saw what it is there to prevent.
    fn violation(&self, code: &str, message: &str);
    /// What the coordinator wants.
    fn signal(&self) -> watch::Receiver<Signal>;
    /// The domain clock.
    fn now(&self) -> Timestamp;
    /// Waits on the domain clock.
    async fn sleep(&self, duration: Duration);
}

/// A context for one attempt.
pub fn context<P>(
    ports: Arc<P>,
    declaration: &Declaration,
    attempt: Attempt,
    host: Arc<dyn Host>,
) -> Context<P> {
    Context::new(ports, *declaration, attempt, host)
}

/// Mints a permit. The caller vouches that the lease is held.
pub fn mint(stamp: Stamp) -> Permit {
    Permit::new(stamp)
}
