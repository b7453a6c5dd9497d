//! What an attempt sees of the worker: permits, checkpoints, reports, signals.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use drover_step_api::{
    Clock, Timestamp,
    runtime::{Host, Interruption, Report, Signal},
};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{lease::Leases, spool::AttemptKey, tripwire};

/// Whether the coordinator has confirmed that the attempt counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acked {
    /// Not yet.
    Pending,
    /// Durably.
    Confirmed,
}

/// What an attempt says to the agent.
pub(crate) enum FromAttempt {
    /// Store progress durably; the answer says whether it was stored.
    Checkpoint(AttemptKey, u64, Value, oneshot::Sender<bool>),
    /// The guard saw what it is there to prevent.
    Violation(AttemptKey, String, String),
}

/// The newest report of an attempt, for the next beat.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    pub(crate) report: Report,
    pub(crate) reports: u64,
    pub(crate) observing: bool,
    pub(crate) changed: bool,
}

/// The host of one attempt.
pub(crate) struct AttemptHost {
    pub(crate) key: AttemptKey,
    pub(crate) leases: Arc<Leases>,
    /// How long permits go on beyond the TTL while the lease is unknown.
    pub(crate) extra: Duration,
    pub(crate) acked: watch::Receiver<Acked>,
    pub(crate) signal: watch::Receiver<Signal>,
    pub(crate) reported: Arc<Mutex<Reported>>,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) to_agent: mpsc::UnboundedSender<FromAttempt>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl AttemptHost {
    fn interruption(&self) -> Option<Interruption> {
        match *self.signal.borrow() {
            Signal::Go | Signal::Pause | Signal::Stop => None,
            Signal::Cancel => Some(Interruption::Cancelled),
            Signal::Superseded => Some(Interruption::Superseded),
        }
    }
}

/// Returns at the next change; never, when the other side is gone.
async fn changed<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[async_trait]
impl Host for AttemptHost {
    async fn admit(&self) -> Result<(), Interruption> {
        let mut acked = self.acked.clone();
        let mut signal = self.signal.clone();
        let mut leases = self.leases.subscribe();
        loop {
            if let Some(interruption) = self.interruption() {
                return Err(interruption);
            }
            if *acked.borrow_and_update() == Acked::Confirmed && self.leases.is_known(self.extra) {
                return Ok(());
            }
            // All arms are cancel-safe: watches. The loop looks at everything again.
            tokio::select! {
                () = changed(&mut acked) => {}
                () = changed(&mut signal) => {}
                () = leases.changed() => {}
            }
        }
    }

    async fn checkpoint(&self, data: Value) -> Result<(), Interruption> {
        if let Some(what) = tripwire::find_in(&data) {
            return Err(Interruption::Refused(format!(
                "the checkpoint seems to hold {what}; it stays here"
            )));
        }
        if let Some(interruption) = self.interruption() {
            return Err(interruption);
        }
        let number = self.checkpoints.fetch_add(1, Ordering::Relaxed) + 1;
        let (answer, stored) = oneshot::channel();
        if self
            .to_agent
            .send(FromAttempt::Checkpoint(
                self.key.clone(),
                number,
                data,
                answer,
            ))
            .is_err()
        {
            return Err(Interruption::Cancelled);
        }
        let mut signal = self.signal.clone();
        // Both arms are cancel-safe: a oneshot and a watch. A checkpoint that nobody waits for is stored all the same.
        let stored = tokio::select! {
            stored = stored => stored,
            _ = signal.wait_for(|signal| *signal >= Signal::Cancel) => {
                return Err(self.interruption().unwrap_or(Interruption::Cancelled));
            }
        };
        match stored {
            Ok(true) => Ok(()),
            Ok(false) => Err(Interruption::Superseded),
            Err(_) => Err(Interruption::Cancelled),
        }
    }

    fn report(&self, mut report: Report) {
        if tripwire::find(&report.message).is_some() {
            report.message = "(withheld: it looks like a secret)".to_owned();
        }
        let mut reported = self
            .reported
            .lock()
            .expect("nobody panics while holding a report");
        reported.reports += 1;
        reported.report = report;
        reported.changed = true;
    }

    fn violation(&self, code: &str, message: &str) {
        // The agent is gone only while the process ends.
        drop(self.to_agent.send(FromAttempt::Violation(
            self.key.clone(),
            code.to_owned(),
            message.to_owned(),
        )));
    }

    fn signal(&self) -> watch::Receiver<Signal> {
        self.signal.clone()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }
}
