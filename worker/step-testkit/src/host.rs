//! The worker's side of an attempt, as the kit plays it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use drover_step_api::{
    Timestamp,
    runtime::{Host, Interruption, Report, Signal},
};
use serde_json::Value;
use tokio::sync::watch;

use crate::{fault::Script, outcome::Mode, recorder::Recorder};

/// What survives an attempt at the coordinator.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    pub(crate) runs: u32,
    pub(crate) undos: u32,
    pub(crate) checkpoint: Option<Value>,
    pub(crate) output: Option<Value>,
}

pub(crate) struct KitHost {
    pub(crate) mode: Mode,
    pub(crate) script: Script,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) durable: Arc<Mutex<Durable>>,
}

impl KitHost {
    /// Refuses what an attempt may no longer do, or, observing, never may.
    fn may_act(&self, what: &str) -> Result<(), Interruption> {
        if self.mode == Mode::Observe {
            self.recorder.seen().trespasses.push(what.to_owned());
            return Err(Interruption::Superseded);
        }
        match *self.recorder.signal().borrow() {
            Signal::Cancel => Err(Interruption::Cancelled),
            Signal::Superseded => Err(Interruption::Superseded),
            Signal::Go | Signal::Pause | Signal::Stop => Ok(()),
        }
    }
}

#[async_trait]
impl Host for KitHost {
    async fn admit(&self) -> Result<(), Interruption> {
        let number = {
            let mut seen = self.recorder.seen();
            seen.permits += 1;
            seen.permits
        };
        if self.script.holds_permit(number) {
            self.recorder.fire();
            self.recorder.hold().await;
        }
        self.may_act("a permit")
    }

    async fn checkpoint(&self, data: Value) -> Result<(), Interruption> {
        self.may_act("a checkpoint")?;
        self.recorder.seen().checkpoints.push(data.clone());
        self.durable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .checkpoint = Some(data);
        Ok(())
    }

    fn report(&self, report: Report) {
        let now = self.now();
        self.recorder.seen().reports.push((now, report));
    }

    fn violation(&self, code: &str, message: &str) {
        self.recorder
            .seen()
            .violations
            .push((code.to_owned(), message.to_owned()));
    }

    fn signal(&self) -> watch::Receiver<Signal> {
        self.recorder.signal()
    }

    fn now(&self) -> Timestamp {
        self.recorder.clock().now()
    }

    async fn sleep(&self, duration: Duration) {
        self.recorder.clock().sleep(duration).await;
    }
}
