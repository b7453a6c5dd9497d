//! What the engine says, as it is sent to workers and clients.

use std::time::Duration;

use drover_core::{
    declaration::{Compensation, KindDeclaration, LossPolicy, Role},
    ids::{Fence, KindRef},
    time::Timestamp,
    view,
    workflow::{Offer, Verdict},
    yaml::Problem,
};
use drover_proto::v1;
use serde_json::Value;

use super::objects::object_ref;
use crate::engine::messages::{AttemptRef, Command, WorkerCommand};

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

pub(super) fn json(value: &Value) -> v1::Json {
    v1::Json {
        text: serde_json::to_vec(value).expect("JSON values serialize"),
    }
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

pub(super) fn command(command: Command) -> v1::command::Command {
    use v1::command::Command as Wire;
    match command {
        Command::Cancel {
            attempt: stopped,
            grace,
            reason,
        } => Wire::Cancel(v1::CancelAttempt {
            attempt: Some(attempt(&stopped)),
            grace: Some(duration(grace)),
            reason: reason.to_owned(),
        }),
        Command::Pause(paused) => Wire::Pause(attempt(&paused)),
        Command::Resume(resumed) => Wire::Resume(attempt(&resumed)),
        Command::Stop(stopped) => Wire::Stop(attempt(&stopped)),
        Command::Superseded(superseded) => Wire::Superseded(attempt(&superseded)),
        Command::Worker(WorkerCommand::Drain { exit }) => {
            Wire::Drain(v1::DrainWorkerCommand { exit })
        }
        Command::Worker(WorkerCommand::RefreshCredentials) => {
            Wire::RefreshCredentials(v1::RefreshCredentials {})
        }
        Command::Worker(WorkerCommand::SetLogLevel(level)) => {
            Wire::SetLogLevel(v1::SetLogLevel { level })
        }
        Command::Worker(WorkerCommand::DumpState) => Wire::DumpState(v1::DumpState {}),
    }
}

pub(super) fn offer(workflow: &str, offer: &Offer) -> v1::Offer {
    let (loss_policy, finish_critical_max) = loss_policy(offer.loss_policy);
    let mode = if offer.compensate {
        v1::OfferMode::Compensate
    } else {
        v1::OfferMode::Run
    };
    v1::Offer {
        attempt: Some(v1::AttemptRef {
            workflow: workflow.to_owned(),
            step: offer.step.to_string(),
            fence: Some(fence(offer.fence)),
        }),
        kind: Some(kind(&offer.kind)),
        number: offer.number,
        mode: mode.into(),
        observe_first: offer.observe_first,
        params: Some(json(&offer.params)),
        checkpoint: offer.checkpoint.as_deref().map(json),
        idempotency_prefix: offer.idempotency_prefix.clone(),
        start_to_close: offer.start_to_close.map(duration),
        loss_policy: loss_policy.into(),
        finish_critical_max,
        autonomy: offer.autonomy.map(duration),
        output: offer.output.as_deref().map(json),
        output_object: offer.object.as_ref().map(object_ref),
    }
}

pub(super) fn verdict(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Keep => v1::VerdictKind::Keep,
        Verdict::Superseded => v1::VerdictKind::Superseded,
        Verdict::Completed => v1::VerdictKind::Completed,
    }
    .into()
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
        not_looked: workflow.not_looked.clone(),
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
