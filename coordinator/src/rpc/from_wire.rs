//! What workers and clients send, as the engine takes it. Total: what is missing on the wire is an error, never a default.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use drover_core::{
    declaration::{Compensation, Effect, KindDeclaration, LossPolicy, RetryPolicy, Role, Timeouts},
    ids::{Fence, KindRef},
    view,
    workflow::{
        Outcome,
        event::{Certainty, StepFailure},
    },
};
use drover_proto::v1;
use serde_json::Value;

use super::{id, objects::read_ref};
use crate::{
    engine::messages::{AttemptRef, Frame, Hello, Progress},
    refusal::{Kind, Refusal},
};

/// The largest JSON text of a frame's parts.
const JSON_BYTES_MAX: usize = 2 << 20;

type Converted<T> = Result<T, Refusal>;

fn invalid(what: impl std::fmt::Display) -> Refusal {
    Refusal::new(Kind::Invalid, "protocol", what.to_string())
}

fn duration(duration: &prost_types::Duration) -> Converted<Duration> {
    Duration::try_from(*duration).map_err(|_| invalid("a duration is negative"))
}

pub(super) fn json(json: &v1::Json) -> Converted<Value> {
    if json.text.len() > JSON_BYTES_MAX {
        return Err(invalid(format!(
            "a JSON text has {} bytes; at most {JSON_BYTES_MAX} are allowed",
            json.text.len()
        )));
    }
    serde_json::from_slice(&json.text).map_err(|error| invalid(format!("not JSON: {error}")))
}

fn attempt(attempt: Option<&v1::AttemptRef>) -> Converted<AttemptRef> {
    let attempt = attempt.ok_or_else(|| invalid("a report names no attempt"))?;
    let fence = attempt
        .fence
        .ok_or_else(|| invalid("a report has no fence"))?;
    Ok(AttemptRef {
        workflow: id("workflow", &attempt.workflow)?,
        step: id("step", &attempt.step)?,
        fence: Fence {
            epoch: fence.epoch,
            counter: fence.counter,
        },
    })
}

fn attempts(found: &[v1::AttemptRef]) -> Converted<Vec<AttemptRef>> {
    found.iter().map(|found| attempt(Some(found))).collect()
}

fn certainty(certainty: v1::Certainty) -> Converted<Certainty> {
    match certainty {
        v1::Certainty::Unspecified => Err(invalid("a failure has no certainty")),
        v1::Certainty::Transient => Ok(Certainty::Transient),
        v1::Certainty::Refused => Ok(Certainty::Refused),
        v1::Certainty::Failed => Ok(Certainty::Failed),
        v1::Certainty::Cancelled => Ok(Certainty::Cancelled),
        v1::Certainty::Gone => Ok(Certainty::Gone),
    }
}

fn failure(failure: &v1::Failure) -> Converted<StepFailure> {
    let known =
        v1::Certainty::try_from(failure.certainty).map_err(|_| invalid("an unknown certainty"))?;
    let code = if failure.code.is_empty() {
        "unnamed"
    } else {
        &failure.code
    };
    Ok(StepFailure::new(
        code,
        certainty(known)?,
        failure.message.clone(),
    ))
}

fn result(result: v1::AttemptResult) -> Converted<(AttemptRef, Outcome)> {
    let attempt = attempt(result.attempt.as_ref())?;
    let outcome = match result.outcome {
        None => return Err(invalid("a result has no outcome")),
        Some(v1::attempt_result::Outcome::Output(output)) => Outcome::Output {
            output: json(&output)?,
            observed: result.observed_done,
        },
        Some(v1::attempt_result::Outcome::OutputObject(object)) => Outcome::Object {
            object: read_ref(Some(&object))?,
            observed: result.observed_done,
        },
        Some(v1::attempt_result::Outcome::Failure(found)) => Outcome::Failure {
            failure: failure(&found)?,
            retry_after: found.retry_after.as_ref().map(duration).transpose()?,
        },
        Some(v1::attempt_result::Outcome::Yielded(v1::Yielded {})) => Outcome::Yielded,
        Some(v1::attempt_result::Outcome::Compensated(v1::Compensated {})) => Outcome::Compensated,
    };
    Ok((attempt, outcome))
}

/// Reads a frame that is no hello.
pub(super) fn frame(frame: v1::WorkerFrame) -> Converted<Frame> {
    let beat = match frame.beat {
        None => None,
        Some(beat) => {
            let progress = beat
                .progress
                .into_iter()
                .map(progress)
                .collect::<Converted<Vec<_>>>()?;
            Some((beat.number, progress))
        }
    };
    let acks: Vec<v1::AttemptRef> = frame
        .acks
        .into_iter()
        .filter_map(|ack| ack.attempt)
        .collect();
    Ok(Frame {
        beat,
        acks: attempts(&acks)?,
        rejects: frame
            .rejects
            .into_iter()
            .map(|reject| {
                Ok((
                    attempt(reject.attempt.as_ref())?,
                    reject.code,
                    reject.message,
                ))
            })
            .collect::<Converted<_>>()?,
        checkpoints: frame
            .checkpoints
            .into_iter()
            .map(|checkpoint| {
                let data = checkpoint
                    .data
                    .ok_or_else(|| invalid("a checkpoint has no data"))?;
                let limit = drover_core::workflow::CHECKPOINT_BYTES_MAX;
                if data.text.len() > limit {
                    return Err(invalid(format!("a checkpoint has more than {limit} bytes")));
                }
                Ok((
                    attempt(checkpoint.attempt.as_ref())?,
                    checkpoint.number,
                    json(&data)?,
                ))
            })
            .collect::<Converted<_>>()?,
        violations: frame
            .violations
            .into_iter()
            .map(|violation| {
                Ok((
                    attempt(violation.attempt.as_ref())?,
                    violation.code,
                    violation.message,
                ))
            })
            .collect::<Converted<_>>()?,
        results: frame
            .results
            .into_iter()
            .map(result)
            .collect::<Converted<_>>()?,
        command_acks: frame
            .command_acks
            .into_iter()
            .map(|ack| {
                let result = match (&ack.failure, &ack.answer) {
                    (Some(found), _) => Err(failure(found)?),
                    (None, Some(answer)) => Ok(json(answer)?),
                    (None, None) => Ok(Value::Null),
                };
                Ok((ack.command, result))
            })
            .collect::<Converted<_>>()?,
        credits: frame
            .credits
            .map(|credits| credits.by_class.into_iter().collect()),
    })
}

fn progress(progress: v1::AttemptProgress) -> Converted<Progress> {
    let reported = progress.progress.unwrap_or_default();
    Ok(Progress {
        attempt: attempt(progress.attempt.as_ref())?,
        progress: view::Progress {
            done: reported.done,
            total: reported.total,
            message: reported.message.chars().take(300).collect(),
            at: None,
        },
        observing: progress.observing,
        reports: progress.reports,
    })
}

/// Versions of the protocol that this build speaks.
const PROTOCOLS: std::ops::RangeInclusive<u32> = 1..=2;

/// Reads a hello.
pub(super) fn hello(hello: v1::Hello) -> Converted<Hello> {
    let protocol = hello.protocol_max.min(*PROTOCOLS.end());
    if hello.protocol_min > protocol || !PROTOCOLS.contains(&protocol) {
        return Err(Refusal::new(
            Kind::Refused,
            "protocol-version",
            format!(
                "the worker speaks versions {} to {} of the protocol; this coordinator speaks {} to {}",
                hello.protocol_min,
                hello.protocol_max,
                PROTOCOLS.start(),
                PROTOCOLS.end()
            ),
        ));
    }
    if hello.incarnation.is_empty() || hello.spool.is_empty() {
        return Err(invalid("a hello needs an incarnation and a spool"));
    }
    Ok(Hello {
        installation: id("installation", &hello.installation)?,
        pool: id("pool", &hello.pool)?,
        worker: id("worker", &hello.worker)?,
        incarnation: Arc::from(hello.incarnation),
        spool: Arc::from(hello.spool),
        spool_counter: hello.spool_counter,
        protocol,
        build: hello.build,
        kinds: hello
            .kinds
            .iter()
            .map(declaration)
            .collect::<Converted<_>>()?,
        reach: hello.reach.into_iter().collect(),
        labels: hello.labels.into_iter().collect(),
        credits: hello.credits.map_or_else(BTreeMap::new, |credits| {
            credits.by_class.into_iter().collect()
        }),
        last_epoch: hello.last_epoch,
        hand_over: hello.hand_over,
        held: attempts(&hello.held)?,
        unacked_results: attempts(&hello.unacked_results)?,
    })
}

fn declaration(declaration: &v1::KindDeclaration) -> Converted<KindDeclaration> {
    let kind = declaration
        .kind
        .as_ref()
        .ok_or_else(|| invalid("a declaration names no kind"))?;
    let name = format!("{}/{}", kind.name, kind.version);
    let missing = |what: &str| invalid(format!("the declaration of {name} lacks {what}"));
    let kind = KindRef::parse(&name).ok_or_else(|| invalid(format!("{name:?} is no step kind")))?;
    let role = match declaration.role() {
        v1::Role::Unspecified => return Err(missing("its role")),
        v1::Role::Step => Role::Step,
        v1::Role::Guard => Role::Guard,
    };
    let compensation = match declaration.compensation() {
        v1::Compensation::Unspecified => return Err(missing("its compensation")),
        v1::Compensation::Undo => Compensation::Undo,
        v1::Compensation::RollForward => Compensation::RollForward,
        v1::Compensation::Manual => Compensation::Manual(declaration.compensation_note.clone()),
    };
    let loss_policy = match declaration.loss_policy() {
        v1::LossPolicy::Unspecified => return Err(missing("its loss policy")),
        v1::LossPolicy::StopAtPermit => LossPolicy::StopAtPermit,
        v1::LossPolicy::FinishCritical => LossPolicy::FinishCritical {
            max: duration(
                declaration
                    .finish_critical_max
                    .as_ref()
                    .ok_or_else(|| missing("finish_critical_max"))?,
            )?,
        },
        v1::LossPolicy::RaceOk => LossPolicy::RaceOk,
    };
    let timeouts = declaration
        .timeouts
        .as_ref()
        .ok_or_else(|| missing("its timeouts"))?;
    let optional = |found: &Option<prost_types::Duration>| found.as_ref().map(duration).transpose();
    let retry = declaration
        .retry
        .as_ref()
        .ok_or_else(|| missing("its retry policy"))?;
    let needed = |found: &Option<prost_types::Duration>| {
        duration(found.as_ref().ok_or_else(|| missing("a retry interval"))?)
    };
    // Infinity and what is no number have no words in JSON: stored, they could not be read again.
    let grows = retry.backoff_coefficient.is_finite() && retry.backoff_coefficient >= 1.0;
    if retry.maximum_attempts == 0 || retry.maximum_losses == 0 || !grows {
        return Err(missing("a sound retry policy"));
    }
    let schema =
        |found: &Option<v1::Json>, what: &str| json(found.as_ref().ok_or_else(|| missing(what))?);
    Ok(KindDeclaration {
        kind,
        summary: declaration.summary.clone(),
        role,
        class: declaration.class.clone(),
        reach: declaration.reach.clone(),
        effects: declaration
            .effects
            .iter()
            .map(|effect| Effect {
                name: effect.name.clone(),
                repeatable: effect.repeatable,
            })
            .collect(),
        compensation,
        loss_policy,
        timeouts: Timeouts {
            schedule_to_start: optional(&timeouts.schedule_to_start)?,
            start_to_close: optional(&timeouts.start_to_close)?,
            schedule_to_close: optional(&timeouts.schedule_to_close)?,
            heartbeat: optional(&timeouts.heartbeat)?,
        },
        retry: RetryPolicy {
            initial_interval: needed(&retry.initial_interval)?,
            maximum_interval: needed(&retry.maximum_interval)?,
            backoff_coefficient: retry.backoff_coefficient,
            maximum_attempts: retry.maximum_attempts,
            maximum_losses: retry.maximum_losses,
        },
        permissions: declaration.permissions.clone(),
        params_schema: schema(&declaration.params_schema, "its params schema")?,
        output_schema: schema(&declaration.output_schema, "its output schema")?,
    })
}
