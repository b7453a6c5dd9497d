//! Wire and domain, both ways. Total: what is missing on the wire is an error, never a default.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use drover_core::{
    declaration::{Compensation, Effect, KindDeclaration, LossPolicy, RetryPolicy, Role, Timeouts},
    ids::{Fence, KindRef},
    time::Timestamp,
    view,
    workflow::{
        Outcome, Verdict,
        event::{Certainty, StepFailure},
    },
    yaml::Problem,
};
use drover_proto::v1;
use serde_json::Value;

use super::{
    id,
    objects::{object_ref, read_ref},
};
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

/// What the coordinator's disks refuse, and why.
pub(super) fn stored_failure(code: &str, message: String) -> v1::Failure {
    v1::Failure {
        code: code.to_owned(),
        certainty: v1::Certainty::Refused.into(),
        message,
        attempt: 0,
        retry_after: None,
    }
}

pub(super) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.0.div_euclid(1_000_000),
        nanos: i32::try_from(time.0.rem_euclid(1_000_000) * 1000).unwrap_or(0),
    }
}

fn optional(time: Option<Timestamp>) -> Option<prost_types::Timestamp> {
    time.map(timestamp)
}

pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

fn read_duration(duration: &prost_types::Duration) -> Converted<Duration> {
    Duration::try_from(*duration).map_err(|_| invalid("a duration is negative"))
}

pub(super) fn json(value: &Value) -> v1::Json {
    v1::Json {
        text: serde_json::to_vec(value).expect("JSON values serialize"),
    }
}

pub(super) fn read_json(json: &v1::Json) -> Converted<Value> {
    if json.text.len() > JSON_BYTES_MAX {
        return Err(invalid(format!(
            "a JSON text has {} bytes; at most {JSON_BYTES_MAX} are allowed",
            json.text.len()
        )));
    }
    serde_json::from_slice(&json.text).map_err(|error| invalid(format!("not JSON: {error}")))
}

pub(super) fn fence(fence: Fence) -> v1::Fence {
    v1::Fence {
        epoch: fence.epoch,
        counter: fence.counter,
    }
}

pub(super) fn attempt(attempt: &AttemptRef) -> v1::AttemptRef {
    v1::AttemptRef {
        workflow: attempt.workflow.to_string(),
        step: attempt.step.to_string(),
        fence: Some(fence(attempt.fence)),
    }
}

fn read_attempt(attempt: Option<&v1::AttemptRef>) -> Converted<AttemptRef> {
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

pub(super) fn verdict(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Keep => v1::VerdictKind::Keep,
        Verdict::Superseded => v1::VerdictKind::Superseded,
        Verdict::Completed => v1::VerdictKind::Completed,
    }
    .into()
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

fn read_failure(failure: &v1::Failure) -> Converted<StepFailure> {
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

fn read_result(result: v1::AttemptResult) -> Converted<(AttemptRef, Outcome)> {
    let attempt = read_attempt(result.attempt.as_ref())?;
    let outcome = match result.outcome {
        None => return Err(invalid("a result has no outcome")),
        Some(v1::attempt_result::Outcome::Output(output)) => Outcome::Output {
            output: read_json(&output)?,
            observed: result.observed_done,
        },
        Some(v1::attempt_result::Outcome::OutputObject(object)) => Outcome::Object {
            object: read_ref(Some(&object))?,
            observed: result.observed_done,
        },
        Some(v1::attempt_result::Outcome::Failure(failure)) => Outcome::Failure {
            failure: read_failure(&failure)?,
            retry_after: failure
                .retry_after
                .as_ref()
                .map(read_duration)
                .transpose()?,
        },
        Some(v1::attempt_result::Outcome::Yielded(v1::Yielded {})) => Outcome::Yielded,
        Some(v1::attempt_result::Outcome::Compensated(v1::Compensated {})) => Outcome::Compensated,
    };
    Ok((attempt, outcome))
}

/// Reads a frame that is no hello.
pub(super) fn read_frame(frame: v1::WorkerFrame) -> Converted<Frame> {
    let each = |attempts: &[v1::AttemptRef]| -> Converted<Vec<AttemptRef>> {
        attempts
            .iter()
            .map(|attempt| read_attempt(Some(attempt)))
            .collect()
    };
    let beat = match frame.beat {
        None => None,
        Some(beat) => {
            let progress = beat
                .progress
                .into_iter()
                .map(read_progress)
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
        acks: each(&acks)?,
        rejects: frame
            .rejects
            .into_iter()
            .map(|reject| {
                Ok((
                    read_attempt(reject.attempt.as_ref())?,
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
                    read_attempt(checkpoint.attempt.as_ref())?,
                    checkpoint.number,
                    read_json(&data)?,
                ))
            })
            .collect::<Converted<_>>()?,
        violations: frame
            .violations
            .into_iter()
            .map(|violation| {
                Ok((
                    read_attempt(violation.attempt.as_ref())?,
                    violation.code,
                    violation.message,
                ))
            })
            .collect::<Converted<_>>()?,
        results: frame
            .results
            .into_iter()
            .map(read_result)
            .collect::<Converted<_>>()?,
        command_acks: frame
            .command_acks
            .into_iter()
            .map(|ack| {
                let result = match (&ack.failure, &ack.answer) {
                    (Some(failure), _) => Err(read_failure(failure)?),
                    (None, Some(answer)) => Ok(read_json(answer)?),
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

fn read_progress(progress: v1::AttemptProgress) -> Converted<Progress> {
    let reported = progress.progress.unwrap_or_default();
    Ok(Progress {
        attempt: read_attempt(progress.attempt.as_ref())?,
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
pub(super) fn read_hello(hello: v1::Hello) -> Converted<Hello> {
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
    let attempts = |attempts: &[v1::AttemptRef]| -> Converted<Vec<AttemptRef>> {
        attempts
            .iter()
            .map(|attempt| read_attempt(Some(attempt)))
            .collect()
    };
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
            .map(read_declaration)
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

fn read_declaration(declaration: &v1::KindDeclaration) -> Converted<KindDeclaration> {
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
            max: read_duration(
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
    let optional =
        |duration: &Option<prost_types::Duration>| duration.as_ref().map(read_duration).transpose();
    let retry = declaration
        .retry
        .as_ref()
        .ok_or_else(|| missing("its retry policy"))?;
    let needed = |duration: &Option<prost_types::Duration>| {
        read_duration(
            duration
                .as_ref()
                .ok_or_else(|| missing("a retry interval"))?,
        )
    };
    // Infinity and what is no number have no words in JSON: stored, they could not be read again.
    let grows = retry.backoff_coefficient.is_finite() && retry.backoff_coefficient >= 1.0;
    if retry.maximum_attempts == 0 || retry.maximum_losses == 0 || !grows {
        return Err(missing("a sound retry policy"));
    }
    let schema = |json: &Option<v1::Json>, what: &str| {
        read_json(json.as_ref().ok_or_else(|| missing(what))?)
    };
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

pub(super) fn loss_policy(policy: LossPolicy) -> (v1::LossPolicy, Option<prost_types::Duration>) {
    match policy {
        LossPolicy::StopAtPermit => (v1::LossPolicy::StopAtPermit, None),
        LossPolicy::FinishCritical { max } => (v1::LossPolicy::FinishCritical, Some(duration(max))),
        LossPolicy::RaceOk => (v1::LossPolicy::RaceOk, None),
    }
}

pub(super) fn kind(kind: &KindRef) -> v1::KindRef {
    v1::KindRef {
        name: kind.name.to_string(),
        version: kind.version,
    }
}

pub(super) fn declaration(declaration: &KindDeclaration) -> v1::KindDeclaration {
    let (policy, finish_critical_max) = loss_policy(declaration.loss_policy);
    let (compensation, note) = match &declaration.compensation {
        Compensation::Undo => (v1::Compensation::Undo, String::new()),
        Compensation::RollForward => (v1::Compensation::RollForward, String::new()),
        Compensation::Manual(note) => (v1::Compensation::Manual, note.clone()),
    };
    let role = match declaration.role {
        Role::Step => v1::Role::Step,
        Role::Guard => v1::Role::Guard,
    };
    v1::KindDeclaration {
        kind: Some(kind(&declaration.kind)),
        summary: declaration.summary.clone(),
        role: role.into(),
        class: declaration.class.clone(),
        reach: declaration.reach.clone(),
        effects: declaration
            .effects
            .iter()
            .map(|effect| v1::Effect {
                name: effect.name.clone(),
                repeatable: effect.repeatable,
            })
            .collect(),
        compensation: compensation.into(),
        compensation_note: note,
        loss_policy: policy.into(),
        finish_critical_max,
        timeouts: Some(v1::Timeouts {
            schedule_to_start: declaration.timeouts.schedule_to_start.map(duration),
            start_to_close: declaration.timeouts.start_to_close.map(duration),
            schedule_to_close: declaration.timeouts.schedule_to_close.map(duration),
            heartbeat: declaration.timeouts.heartbeat.map(duration),
        }),
        retry: Some(v1::RetryPolicy {
            initial_interval: Some(duration(declaration.retry.initial_interval)),
            maximum_interval: Some(duration(declaration.retry.maximum_interval)),
            backoff_coefficient: declaration.retry.backoff_coefficient,
            maximum_attempts: declaration.retry.maximum_attempts,
            maximum_losses: declaration.retry.maximum_losses,
        }),
        permissions: declaration.permissions.clone(),
        params_schema: Some(json(&declaration.params_schema)),
        output_schema: Some(json(&declaration.output_schema)),
    }
}

pub(super) fn workflow_state(state: view::WorkflowState) -> v1::WorkflowState {
    use view::WorkflowState;
    match state {
        WorkflowState::Pending => v1::WorkflowState::Pending,
        WorkflowState::Running => v1::WorkflowState::Running,
        WorkflowState::Paused => v1::WorkflowState::Paused,
        WorkflowState::Waiting => v1::WorkflowState::Waiting,
        WorkflowState::Unwinding => v1::WorkflowState::Unwinding,
        WorkflowState::Completed => v1::WorkflowState::Completed,
        WorkflowState::RolledBack => v1::WorkflowState::RolledBack,
        WorkflowState::Cancelled => v1::WorkflowState::Cancelled,
        WorkflowState::Terminated => v1::WorkflowState::Terminated,
        WorkflowState::Stuck => v1::WorkflowState::Stuck,
        WorkflowState::Removed => v1::WorkflowState::Removed,
        WorkflowState::Quarantined => v1::WorkflowState::Quarantined,
    }
}

fn step_state(state: view::StepState) -> v1::StepState {
    use view::StepState;
    match state {
        StepState::Blocked => v1::StepState::Blocked,
        StepState::Ready => v1::StepState::Ready,
        StepState::Offered => v1::StepState::Offered,
        StepState::Observing => v1::StepState::Observing,
        StepState::Running => v1::StepState::Running,
        StepState::Waiting => v1::StepState::Waiting,
        StepState::Backoff => v1::StepState::Backoff,
        StepState::Paused => v1::StepState::Paused,
        StepState::Succeeded => v1::StepState::Succeeded,
        StepState::Failed => v1::StepState::Failed,
        StepState::Skipped => v1::StepState::Skipped,
        StepState::Cancelled => v1::StepState::Cancelled,
        StepState::Compensating => v1::StepState::Compensating,
        StepState::Compensated => v1::StepState::Compensated,
        StepState::Kept => v1::StepState::Kept,
        StepState::Stuck => v1::StepState::Stuck,
    }
}

pub(super) fn definition_ref(reference: &view::DefinitionRef) -> v1::DefinitionRef {
    v1::DefinitionRef {
        name: reference.name.clone(),
        version: reference.version,
        digest: reference.digest.clone(),
    }
}

pub(super) fn workflow(workflow: &view::Workflow) -> v1::Workflow {
    v1::Workflow {
        id: workflow.id.clone(),
        definition: Some(definition_ref(&workflow.definition)),
        state: workflow_state(workflow.state).into(),
        cluster: workflow.cluster.clone(),
        installation: workflow.installation.clone(),
        region: workflow.region.clone(),
        partition: workflow.partition.clone(),
        wave: workflow.wave.clone(),
        created_at: optional(workflow.created_at),
        started_at: optional(workflow.started_at),
        ended_at: optional(workflow.ended_at),
        current: workflow.current.clone(),
        holds: workflow.holds.iter().map(hold).collect(),
        steps: workflow.steps.iter().map(step).collect(),
        guards: workflow.guards.iter().map(step).collect(),
        outcome: workflow.outcome.as_ref().map(|outcome| v1::Outcome {
            code: outcome.code.clone(),
            message: outcome.message.clone(),
        }),
        trace_id: workflow.trace_id.clone(),
        head: workflow.head,
        pivot_passed: workflow.pivot_passed,
    }
}

fn hold(hold: &view::Hold) -> v1::Hold {
    v1::Hold {
        code: hold.code.clone(),
        message: hold.message.clone(),
        since: optional(hold.since),
        clears_at: optional(hold.clears_at),
        unblock: hold.unblock.clone(),
        step: hold.step.clone(),
    }
}

fn step(step: &view::Step) -> v1::Step {
    v1::Step {
        id: step.id.clone(),
        kind: step.kind.clone(),
        state: step_state(step.state).into(),
        attempt: step.attempt,
        attempts_allowed: step.attempts_allowed,
        worker: step.worker.clone(),
        fence: step.fence.clone(),
        lease_expires_at: optional(step.lease_expires_at),
        scheduled_at: optional(step.scheduled_at),
        started_at: optional(step.started_at),
        ended_at: optional(step.ended_at),
        progress: step.progress.as_ref().map(|progress| v1::Progress {
            done: progress.done,
            total: progress.total,
            message: progress.message.clone(),
            at: optional(progress.at),
        }),
        next: step.next.as_ref().map(|next| v1::NextEvent {
            what: next.what.clone(),
            at: Some(timestamp(next.at)),
        }),
        last_error: step.last_error.as_ref().map(failure),
        compensation: step.compensation.as_ref().map(|compensation| {
            let kind = match compensation.kind.as_str() {
                "undo" => v1::Compensation::Undo,
                "roll-forward" => v1::Compensation::RollForward,
                _ => v1::Compensation::Manual,
            };
            v1::StepCompensation {
                kind: kind.into(),
                state: compensation.state.clone(),
            }
        }),
        unblock: step.unblock.clone(),
        output: step.output.as_deref().map(json),
        output_object: step.output_object.as_ref().map(object_ref),
        evidence: step.evidence.clone(),
    }
}

fn failure(failure: &view::Failure) -> v1::Failure {
    let certainty = match failure.certainty.as_str() {
        "transient" => v1::Certainty::Transient,
        "refused" => v1::Certainty::Refused,
        "cancelled" => v1::Certainty::Cancelled,
        "gone" => v1::Certainty::Gone,
        _ => v1::Certainty::Failed,
    };
    v1::Failure {
        code: failure.code.clone(),
        certainty: certainty.into(),
        message: failure.message.clone(),
        attempt: failure.attempt,
        retry_after: None,
    }
}

pub(super) fn worker(worker: &view::Worker) -> v1::Worker {
    let state = match worker.state {
        view::WorkerState::Connected => v1::WorkerState::Connected,
        view::WorkerState::Suspect => v1::WorkerState::Suspect,
        view::WorkerState::Offline => v1::WorkerState::Offline,
        view::WorkerState::Draining => v1::WorkerState::Draining,
        view::WorkerState::Dead => v1::WorkerState::Dead,
    };
    v1::Worker {
        id: worker.id.clone(),
        installation: worker.installation.clone(),
        pool: worker.pool.clone(),
        state: state.into(),
        build: worker.build.clone(),
        incarnation: worker.incarnation.clone(),
        reach: worker.reach.clone(),
        kinds: worker.kinds.clone(),
        credits: worker.credits.clone().into_iter().collect(),
        used: worker.used.clone().into_iter().collect(),
        labels: worker.labels.clone().into_iter().collect(),
        last_beat_at: optional(worker.last_beat_at),
        connected_at: optional(worker.connected_at),
        attempts: worker.attempts.clone(),
        transport: worker.transport.clone(),
        waits_for: worker.waits_for.clone(),
    }
}

pub(super) fn installation(installation: &view::Installation) -> v1::Installation {
    v1::Installation {
        name: installation.name.clone(),
        region: installation.region.clone(),
        partition: installation.partition.clone(),
        pools: installation
            .pools
            .iter()
            .map(|pool| v1::Pool {
                name: pool.name.clone(),
                workers: pool.workers,
                workers_connected: pool.workers_connected,
                reach: pool.reach.clone(),
                silent_since: optional(pool.silent_since),
            })
            .collect(),
        open_workflows: installation.open_workflows,
    }
}

pub(super) fn brake(brake: &view::Brake) -> v1::Brake {
    v1::Brake {
        on: brake.on,
        since: optional(brake.since),
        actor: (!brake.actor.is_empty()).then(|| v1::Actor {
            name: brake.actor.clone(),
        }),
        reason: brake.reason.clone(),
        running: brake.running,
        exempt: brake.exempt,
    }
}

pub(super) fn problem(problem: &Problem) -> v1::Problem {
    v1::Problem {
        line: problem.position.line,
        column: problem.position.column,
        code: problem.code.to_owned(),
        message: problem.message.clone(),
    }
}
