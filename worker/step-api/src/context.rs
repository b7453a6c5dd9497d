//! What a running step sees of the world around it.

use std::{future::Future, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    Certainty, Declaration, Permit, Stamp, StepError, Timestamp,
    runtime::{self, Attempt, Host, Interruption, Report, Signal},
};

/// Idempotency keys are version-5 UUIDs in this namespace. Persisted outside (client tokens): never change it.
const IDEMPOTENCY_NAMESPACE: Uuid = Uuid::from_u128(0x6e1f_57c4_96b5_4a43_9d0c_7e0d_b2f3_1a58);

/// The largest checkpoint, in bytes of JSON.
pub const CHECKPOINT_BYTES_MAX: usize = 4 << 10;

/// One attempt's view: its ports, its permits, its signals, its clock.
pub struct Context<P> {
    ports: Arc<P>,
    declaration: Declaration,
    attempt: Attempt,
    host: Arc<dyn Host>,
}

/// What one look at a condition found.
#[derive(Debug)]
pub enum Poll<T> {
    /// The condition holds.
    Ready(T),
    /// Not yet; one short line that says what is missing.
    Pending(String),
}

impl<P> Context<P> {
    pub(crate) fn new(
        ports: Arc<P>,
        declaration: Declaration,
        attempt: Attempt,
        host: Arc<dyn Host>,
    ) -> Self {
        Self {
            ports,
            declaration,
            attempt,
            host,
        }
    }

    /// The doors to the outside.
    pub fn ports(&self) -> &P {
        &self.ports
    }

    /// Workflow id.
    pub fn workflow(&self) -> &str {
        &self.attempt.workflow
    }

    /// Step id.
    pub fn step(&self) -> &str {
        &self.attempt.step
    }

    /// Counted from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt.number
    }

    /// True while the step is being compensated.
    pub fn compensating(&self) -> bool {
        self.attempt.compensating
    }

    /// The domain clock.
    pub fn now(&self) -> Timestamp {
        self.host.now()
    }

    /// Asks for the right to make one mutation. Waits until the lease is durably acked and known; cancel-safe.
    ///
    /// `effect` must be declared. The idempotency key is the same on every attempt of the same parameters, so an
    /// outside that honours it does the thing once.
    ///
    /// # Errors
    /// `Cancelled` or `Superseded` when the attempt may do nothing more; `Failed` for an undeclared effect (a bug).
    pub async fn permit(&self, effect: &str) -> Result<Permit, StepError> {
        self.permit_for(effect, "").await
    }

    /// As [`Context::permit`], for one `item` of several that the same effect touches.
    ///
    /// # Errors
    /// As [`Context::permit`].
    pub async fn permit_for(&self, effect: &str, item: &str) -> Result<Permit, StepError> {
        if !self
            .declaration
            .effects
            .iter()
            .any(|declared| declared.name == effect)
        {
            return Err(StepError::failed(
                "undeclared-effect",
                format!(
                    "{} does not declare the effect {effect:?}",
                    self.declaration.name
                ),
            ));
        }
        self.host.admit().await.map_err(interrupted)?;
        let effect = if item.is_empty() {
            effect.to_owned()
        } else {
            format!("{effect}/{item}")
        };
        let direction = if self.attempt.compensating {
            "undo"
        } else {
            "do"
        };
        let name = format!("{}\0{direction}\0{effect}", self.attempt.idempotency_prefix);
        Ok(runtime::mint(Stamp {
            workflow: self.attempt.workflow.clone(),
            step: self.attempt.step.clone(),
            attempt: self.attempt.number,
            fence: self.attempt.fence,
            idempotency_key: Uuid::new_v5(&IDEMPOTENCY_NAMESPACE, name.as_bytes()).to_string(),
            effect,
            compensating: self.attempt.compensating,
        }))
    }

    /// Stores up to 4 KiB durably at the coordinator; a later attempt and the compensation receive the newest one.
    /// A safe point: a pause takes effect here, after the data is stored.
    ///
    /// # Errors
    /// `Cancelled`, `Superseded` or `Yielded`; `Failed` when `data` does not serialize or is too large.
    pub async fn checkpoint(&self, data: &(impl Serialize + Sync)) -> Result<(), StepError> {
        let data = serde_json::to_value(data)
            .map_err(|error| StepError::failed("checkpoint-invalid", error.to_string()))?;
        let bytes = serde_json::to_vec(&data).map_or(usize::MAX, |text| text.len());
        if bytes > CHECKPOINT_BYTES_MAX {
            return Err(StepError::failed(
                "checkpoint-too-large",
                format!(
                    "the checkpoint has {bytes} bytes; at most {CHECKPOINT_BYTES_MAX} are allowed"
                ),
            ));
        }
        self.host.checkpoint(data).await.map_err(interrupted)?;
        self.safe_point()
    }

    /// The newest durable checkpoint of this step, whichever attempt wrote it. `None` when there is none or it has
    /// another shape.
    pub fn restored<T: DeserializeOwned>(&self) -> Option<T> {
        self.attempt
            .checkpoint
            .as_ref()
            .and_then(|data| serde_json::from_value(data.clone()).ok())
    }

    /// Compensations: the output of the step, when it had one of this shape.
    pub fn output<T: DeserializeOwned>(&self) -> Option<T> {
        self.attempt
            .output
            .as_ref()
            .and_then(|data| serde_json::from_value(data.clone()).ok())
    }

    /// Tells the operator how far the step is. Kept in memory only; never blocks.
    pub fn progress(&self, done: u64, total: u64, message: impl Into<String>) {
        self.host.report(Report {
            done,
            total,
            message: message.into(),
        });
    }

    /// Guards: reports what the guard is there to prevent. Repeat it as long as it lasts.
    pub fn violation(&self, code: &str, message: &str) {
        self.host.violation(code, message);
    }

    /// Guards: true once the span has ended and the guard should finish.
    pub fn stopped(&self) -> bool {
        *self.host.signal().borrow() == Signal::Stop
    }

    /// Where a pause may take effect.
    ///
    /// # Errors
    /// `Cancelled`, `Superseded`, or `Yielded` when the attempt should stop here.
    pub fn safe_point(&self) -> Result<(), StepError> {
        match *self.host.signal().borrow() {
            Signal::Go | Signal::Stop => Ok(()),
            Signal::Pause => Err(StepError::yielded()),
            Signal::Cancel => Err(StepError::cancelled()),
            Signal::Superseded => Err(StepError::superseded()),
        }
    }

    /// Waits on the domain clock. Ends early, with the matching error, at a pause, a cancel or a supersession, and
    /// early without an error when a guard is told to stop. Cancel-safe.
    ///
    /// # Errors
    /// As [`Context::safe_point`].
    pub async fn sleep(&self, duration: Duration) -> Result<(), StepError> {
        // A stop that is known already wakes nobody again: a guard's loop of waits would spin without time passing.
        let known_stop = self.stopped();
        let mut signal = self.host.signal();
        let interrupted = async {
            let stays =
                |signal: &Signal| *signal == Signal::Go || (known_stop && *signal == Signal::Stop);
            // An error means the host is gone; the attempt is about to be dropped with it.
            drop(signal.wait_for(|signal| !stays(signal)).await);
        };
        // Both arms are cancel-safe: a timer and a watch. A dropped timer only forgets to wake.
        tokio::select! {
            () = self.host.sleep(duration) => {}
            () = interrupted => {}
        }
        self.safe_point()
    }

    /// Looks at a condition every `every` of domain time until it holds, for at most `within`, and tells the operator
    /// what is missing. Transient errors of a look count as "not yet"; every other error ends the wait, so a look
    /// answers "never" with `Refused`, `Failed` or `Gone`. Each look is a safe point and a progress report.
    ///
    /// # Errors
    /// What the look said; `Transient` with code `wait-timed-out` after `within`; as [`Context::safe_point`].
    pub async fn wait_until<T, F, Fut>(
        &self,
        what: &str,
        every: Duration,
        within: Duration,
        mut look: F,
    ) -> Result<T, StepError>
    where
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = Result<Poll<T>, StepError>> + Send,
        T: Send,
        P: Send + Sync,
    {
        let started = self.now();
        loop {
            let missing = match look().await {
                Ok(Poll::Ready(value)) => return Ok(value),
                Ok(Poll::Pending(missing)) => missing,
                Err(error) if error.certainty() == Certainty::Transient => error.to_string(),
                Err(error) => return Err(error),
            };
            if self.now().since(started) >= within {
                return Err(StepError::transient(
                    "wait-timed-out",
                    format!("waited {} s for {what}: {missing}", within.as_secs()),
                ));
            }
            self.progress(0, 0, format!("waiting for {what}: {missing}"));
            self.sleep(every).await?;
        }
    }
}

fn interrupted(interruption: Interruption) -> StepError {
    match interruption {
        Interruption::Cancelled => StepError::cancelled(),
        Interruption::Superseded => StepError::superseded(),
        Interruption::Refused(why) => StepError::failed("refused-by-worker", why),
    }
}
