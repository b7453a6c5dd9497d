//! The door of one attempt: counts the calls, and lets one of them go wrong.

use std::{
    future::pending,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use drover_ports::{Call, Caller, Door, PortError, PortErrorKind, Reply};
use drover_step_api::Stamp;

use crate::{
    fault::{Fault, Script},
    recorder::{Fate, Recorder},
    tripwire::Tripwire,
};

pub(crate) struct Tap {
    pub(crate) inner: Arc<dyn Door>,
    pub(crate) script: Script,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) tripwire: Arc<Mutex<Tripwire>>,
}

impl Tap {
    fn learn(&self, what: impl FnOnce(&mut Tripwire)) {
        what(&mut self.tripwire.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[async_trait]
impl Door for Tap {
    async fn pass(
        &self,
        caller: &Caller,
        call: Call,
        stamp: Option<Stamp>,
    ) -> Result<Reply, PortError> {
        let recorder = &self.recorder;
        let Some(number) = recorder.begin(&call, stamp.as_ref()) else {
            return pending().await;
        };
        self.learn(|tripwire| tripwire.learn_call(&call));
        let action = call.action();
        let fault = self.script.at_call(number);
        if fault.is_some() {
            recorder.fire();
        }
        match fault {
            Some(Fault::CrashBefore) => {
                recorder.set_fate(number, Fate::NotMade);
                recorder.crash();
                return pending().await;
            }
            Some(Fault::Error(kind)) => {
                recorder.set_fate(number, Fate::NotMade);
                return Err(injected(kind, action));
            }
            Some(Fault::Signal(signal)) => recorder.raise(signal),
            Some(Fault::Hold) => recorder.hold().await,
            Some(Fault::CrashAfter | Fault::LoseReply) | None => {}
        }
        let delay = self.script.delay();
        if !delay.is_zero() {
            recorder.clock().sleep(delay).await;
        }
        let result = self.inner.pass(caller, call, stamp).await;
        recorder.end(number, &result);
        if let Ok(reply) = &result {
            self.learn(|tripwire| tripwire.learn_reply(reply, &action));
        }
        match fault {
            Some(Fault::CrashAfter) => {
                recorder.crash();
                pending().await
            }
            Some(Fault::LoseReply) => Err(injected(PortErrorKind::Lost, action)),
            _ => result,
        }
    }

    async fn refresh_credentials(&self) {
        self.inner.refresh_credentials().await;
    }
}

fn injected(kind: PortErrorKind, action: String) -> PortError {
    PortError::new(kind, action, format!("injected by the test: {kind:?}"))
}
