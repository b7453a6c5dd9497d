//! One attempt from offer to outcome. A bug in a step ends that attempt and nothing else.

use std::{panic::AssertUnwindSafe, sync::Arc};

use drover_proto::v1;
use drover_step_api::{
    Certainty as StepCertainty, Context, ErasedStep, OUTPUT_BYTES_MAX, Observed, StepError,
};
use futures_util::FutureExt as _;
use serde_json::Value;

use crate::{
    host::Reported,
    spool::{Certainty, ObjectName, Outcome},
    tripwire,
};

/// The largest output that travels in a result, in bytes of JSON. Larger ones are uploaded first.
pub(crate) const INLINE_BYTES_MAX: usize = 256 << 10;

/// How an attempt ended.
pub(crate) enum Ended {
    /// As the spool keeps it.
    So(Outcome),
    /// Well, with the text of an output that is too large for a frame.
    Large {
        /// JSON.
        text: Vec<u8>,
        /// Its name.
        object: ObjectName,
        /// `run` was not called.
        observed: bool,
    },
}

/// What to do, as the offer says.
pub(crate) struct Work {
    pub(crate) compensate: bool,
    pub(crate) observe_first: bool,
    pub(crate) params: Value,
}

/// Runs an attempt to its end. `None` when it was superseded: nobody wants its outcome.
pub(crate) async fn execute<P: Send + Sync + 'static>(
    step: Arc<dyn ErasedStep<P>>,
    context: Context<P>,
    work: Work,
    reported: Arc<std::sync::Mutex<Reported>>,
) -> Option<Ended> {
    // The step's own state is dropped with the panic; what it did outside is for `observe` to find out.
    let ended = AssertUnwindSafe(attempt(&*step, &context, work, &reported))
        .catch_unwind()
        .await;
    let result = ended.unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "no message".to_owned());
        tracing::error!(
            workflow = context.workflow(),
            step = context.step(),
            "a step panicked: {what}"
        );
        Err(StepError::failed(
            "panicked",
            format!("a bug in the step: {what}"),
        ))
    });
    match result {
        // Looking through a large output takes a while, and beats go on.
        Ok(outcome) => {
            let looked = tokio::task::spawn_blocking(move || guarded(outcome)).await;
            Some(looked.unwrap_or_else(|error| {
                let message = format!("the output could not be looked through: {error}");
                Ended::So(refused("output-unreadable", message))
            }))
        }
        Err(error) => failure(&error).map(Ended::So),
    }
}

async fn attempt<P: Send + Sync + 'static>(
    step: &dyn ErasedStep<P>,
    context: &Context<P>,
    work: Work,
    reported: &std::sync::Mutex<Reported>,
) -> Result<Outcome, StepError> {
    if work.compensate {
        step.compensate(context, work.params).await?;
        return Ok(Outcome::Compensated);
    }
    if work.observe_first {
        match step.observe(context, work.params.clone()).await? {
            Observed::Done(output) => {
                return Ok(Outcome::Output {
                    output,
                    observed: true,
                });
            }
            Observed::Foreign(what) => {
                return Err(StepError::failed(
                    "foreign",
                    format!("something else is there: {what}"),
                ));
            }
            Observed::NotDone | Observed::Partial => {}
        }
    }
    {
        let mut reported = reported
            .lock()
            .expect("nobody panics while holding a report");
        reported.observing = false;
        reported.changed = true;
    }
    let output = step.run(context, work.params).await?;
    Ok(Outcome::Output {
        output,
        observed: false,
    })
}

/// An outcome that may leave the worker.
fn guarded(outcome: Outcome) -> Ended {
    let Outcome::Output { output, observed } = outcome else {
        return Ended::So(outcome);
    };
    if let Some(what) = tripwire::find_in(&output) {
        return Ended::So(refused(
            "secret-in-output",
            format!("the output seems to hold {what}; it stays here"),
        ));
    }
    let text = serde_json::to_vec(&output).expect("JSON values serialize");
    if text.len() <= INLINE_BYTES_MAX {
        return Ended::So(Outcome::Output { output, observed });
    }
    if text.len() <= OUTPUT_BYTES_MAX {
        return Ended::Large {
            object: ObjectName::of(&text),
            text,
            observed,
        };
    }
    Ended::So(too_large(text.len() as u64, OUTPUT_BYTES_MAX))
}

/// An output that nobody takes.
pub(crate) fn too_large(bytes: u64, limit: usize) -> Outcome {
    refused(
        "output-too-large",
        format!("the output has {bytes} bytes; at most {limit} are allowed"),
    )
}

pub(crate) fn refused(code: &str, message: String) -> Outcome {
    Outcome::Failure {
        code: code.to_owned(),
        certainty: Certainty::Failed,
        message,
        retry_after_ms: None,
    }
}

fn failure(error: &StepError) -> Option<Outcome> {
    let certainty = match error.certainty() {
        StepCertainty::Transient => Certainty::Transient,
        StepCertainty::Refused => Certainty::Refused,
        StepCertainty::Failed => Certainty::Failed,
        StepCertainty::Cancelled => Certainty::Cancelled,
        StepCertainty::Gone => Certainty::Gone,
        StepCertainty::Yielded => return Some(Outcome::Yielded),
        StepCertainty::Superseded => return None,
    };
    let message = match tripwire::find(error.message()) {
        Some(what) => format!("(withheld: the message seems to hold {what})"),
        None => error.message().to_owned(),
    };
    let retry_after_ms = error
        .retry_after()
        .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    Some(Outcome::Failure {
        code: error.code().to_owned(),
        certainty,
        message,
        retry_after_ms,
    })
}

/// The outcome on the wire.
pub(crate) fn to_wire(attempt: v1::AttemptRef, outcome: &Outcome) -> v1::AttemptResult {
    use v1::attempt_result::Outcome as Wire;
    let mut observed_done = false;
    let outcome = match outcome {
        Outcome::Output { output, observed } => {
            observed_done = *observed;
            Wire::Output(v1::Json {
                text: serde_json::to_vec(output).expect("JSON values serialize"),
            })
        }
        Outcome::Object { object, observed } => {
            observed_done = *observed;
            Wire::OutputObject(v1::ObjectRef {
                digest: object.digest.clone(),
                size: object.size,
            })
        }
        Outcome::Failure {
            code,
            certainty,
            message,
            retry_after_ms,
        } => {
            let certainty = match certainty {
                Certainty::Transient => v1::Certainty::Transient,
                Certainty::Refused => v1::Certainty::Refused,
                Certainty::Failed => v1::Certainty::Failed,
                Certainty::Cancelled => v1::Certainty::Cancelled,
                Certainty::Gone => v1::Certainty::Gone,
            };
            Wire::Failure(v1::Failure {
                code: code.clone(),
                certainty: certainty.into(),
                message: message.clone(),
                attempt: 0,
                retry_after: retry_after_ms
                    .and_then(|wait| std::time::Duration::from_millis(wait).try_into().ok()),
            })
        }
        Outcome::Yielded => Wire::Yielded(v1::Yielded {}),
        Outcome::Compensated => Wire::Compensated(v1::Compensated {}),
    };
    v1::AttemptResult {
        attempt: Some(attempt),
        outcome: Some(outcome),
        observed_done,
    }
}
