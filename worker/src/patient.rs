//! A door that asks again: a read that failed for a moment changed nothing, so nobody has to begin a whole attempt anew for
//! it. Steps that read fifty things would use up their attempts where one call in twenty fails.
//!
//! What changes something passes once: its step decides. So does what asks whether somebody is there at all (etcd members,
//! probes): silence is the answer.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use drover_ports::{Call, Caller, Door, PortError, PortErrorKind, Reply};
use drover_step_api::{Clock, Stamp};

/// From one try to the next, in domain time. After the last one the error counts.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// Asks again at another door.
pub struct PatientDoor {
    door: Arc<dyn Door>,
    clock: Arc<dyn Clock>,
}

impl PatientDoor {
    /// Asks again at this door, and waits by this clock.
    #[must_use]
    pub fn new(door: Arc<dyn Door>, clock: Arc<dyn Clock>) -> Self {
        Self { door, clock }
    }
}

#[async_trait]
impl Door for PatientDoor {
    async fn pass(
        &self,
        caller: &Caller,
        call: Call,
        stamp: Option<Stamp>,
    ) -> Result<Reply, PortError> {
        if !may_be_asked_again(&call) {
            return self.door.pass(caller, call, stamp).await;
        }
        for wait in WAITS {
            match self.door.pass(caller, call.clone(), None).await {
                Err(error) if is_passing(&error) => {
                    tracing::debug!(step = caller.step, %error, "a read is tried again");
                    let asked_for = Duration::from_millis(error.retry_after_ms);
                    self.clock.sleep(wait.max(asked_for)).await;
                }
                result => return result,
            }
        }
        self.door.pass(caller, call, None).await
    }

    async fn refresh_credentials(&self) {
        self.door.refresh_credentials().await;
    }
}

fn may_be_asked_again(call: &Call) -> bool {
    let silence_is_an_answer = matches!(call, Call::Etcd { .. } | Call::Probe { .. });
    !call.mutates() && !silence_is_an_answer
}

fn is_passing(error: &PortError) -> bool {
    matches!(
        error.kind,
        PortErrorKind::Throttled
            | PortErrorKind::Unreachable
            | PortErrorKind::Lost
            | PortErrorKind::Unavailable
    )
}

#[cfg(test)]
mod tests;
