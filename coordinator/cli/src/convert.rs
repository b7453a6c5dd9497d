//! From the wire to the JSON that people and scripts read.

use std::sync::Arc;

use drover_core::{ids::Digest, object::ObjectRef, time::Timestamp, view};
use drover_proto::v1;
use serde_json::Value;

pub(crate) fn time(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    time.map(|time| {
        Timestamp(
            time.seconds
                .saturating_mul(1_000_000)
                .saturating_add(i64::from(time.nanos) / 1000),
        )
    })
}

pub(crate) fn json(json: Option<&v1::Json>) -> Option<Value> {
    serde_json::from_slice(&json?.text).ok()
}

pub(crate) fn definition(reference: Option<v1::DefinitionRef>) -> view::DefinitionRef {
    let reference = reference.unwrap_or_default();
    view::DefinitionRef {
        name: reference.name,
        version: reference.version,
        digest: reference.digest,
    }
}

pub(crate) fn state(state: v1::WorkflowState) -> view::WorkflowState {
    use view::WorkflowState;
    match state {
        // A state from a later coordinator: nothing is known of it but that it is open.
        v1::WorkflowState::Unspecified | v1::WorkflowState::Pending => WorkflowState::Pending,
        v1::WorkflowState::Running => WorkflowState::Running,
        v1::WorkflowState::Paused => WorkflowState::Paused,
        v1::WorkflowState::Waiting => WorkflowState::Waiting,
        v1::WorkflowState::Unwinding => WorkflowState::Unwinding,
        v1::WorkflowState::Completed => WorkflowState::Completed,
        v1::WorkflowState::RolledBack => WorkflowState::RolledBack,
        v1::WorkflowState::Cancelled => WorkflowState::Cancelled,
        v1::WorkflowState::Terminated => WorkflowState::Terminated,
        v1::WorkflowState::Stuck => WorkflowState::Stuck,
        v1::WorkflowState::Removed => WorkflowState::Removed,
        v1::WorkflowState::Quarantined => WorkflowState::Quarantined,
    }
}

fn step_state(state: v1::StepState) -> view::StepState {
    use view::StepState;
    match state {
        v1::StepState::Unspecified | v1::StepState::Blocked => StepState::Blocked,
        v1::StepState::Ready => StepState::Ready,
        v1::StepState::Offered => StepState::Offered,
        v1::StepState::Observing => StepState::Observing,
        v1::StepState::Running => StepState::Running,
        v1::StepState::Waiting => StepState::Waiting,
        v1::StepState::Backoff => StepState::Backoff,
        v1::StepState::Paused => StepState::Paused,
        v1::StepState::Succeeded => StepState::Succeeded,
        v1::StepState::Failed => StepState::Failed,
        v1::StepState::Skipped => StepState::Skipped,
        v1::StepState::Cancelled => StepState::Cancelled,
        v1::StepState::Compensating => StepState::Compensating,
        v1::StepState::Compensated => StepState::Compensated,
        v1::StepState::Kept => StepState::Kept,
        v1::StepState::Stuck => StepState::Stuck,
    }
}

pub(crate) fn workflow(workflow: v1::Workflow) -> view::Workflow {
    view::Workflow {
        state: state(workflow.state()),
        definition: definition(workflow.definition),
        id: workflow.id,
        cluster: workflow.cluster,
        installation: workflow.installation,
        region: workflow.region,
        partition: workflow.partition,
        wave: workflow.wave,
        created_at: time(workflow.created_at.as_ref()),
        started_at: time(workflow.started_at.as_ref()),
        ended_at: time(workflow.ended_at.as_ref()),
        current: workflow.current,
        holds: workflow.holds.into_iter().map(hold).collect(),
        steps: workflow.steps.into_iter().map(step).collect(),
        guards: workflow.guards.into_iter().map(step).collect(),
        outcome: workflow.outcome.map(|outcome| view::Outcome {
            code: outcome.code,
            message: outcome.message,
        }),
        trace_id: workflow.trace_id,
        head: workflow.head,
        pivot_passed: workflow.pivot_passed,
        not_looked: workflow.not_looked,
    }
}

fn hold(hold: v1::Hold) -> view::Hold {
    view::Hold {
        code: hold.code,
        message: hold.message,
        since: time(hold.since.as_ref()),
        clears_at: time(hold.clears_at.as_ref()),
        unblock: hold.unblock,
        step: hold.step,
    }
}

fn step(step: v1::Step) -> view::Step {
    view::Step {
        state: step_state(step.state()),
        id: step.id,
        kind: step.kind,
        attempt: step.attempt,
        attempts_allowed: step.attempts_allowed,
        worker: step.worker,
        fence: step.fence,
        lease_expires_at: time(step.lease_expires_at.as_ref()),
        scheduled_at: time(step.scheduled_at.as_ref()),
        started_at: time(step.started_at.as_ref()),
        ended_at: time(step.ended_at.as_ref()),
        progress: step.progress.map(|progress| view::Progress {
            done: progress.done,
            total: progress.total,
            message: progress.message,
            at: time(progress.at.as_ref()),
        }),
        next: step.next.and_then(|next| {
            Some(view::NextEvent {
                at: time(next.at.as_ref())?,
                what: next.what,
            })
        }),
        last_error: step.last_error.map(|failure| view::Failure {
            certainty: certainty(failure.certainty()).to_owned(),
            code: failure.code,
            message: failure.message,
            attempt: failure.attempt,
        }),
        compensation: step
            .compensation
            .map(|compensation| view::StepCompensation {
                kind: match compensation.kind() {
                    v1::Compensation::Unspecified => "",
                    v1::Compensation::Undo => "undo",
                    v1::Compensation::RollForward => "roll-forward",
                    v1::Compensation::Manual => "manual",
                }
                .to_owned(),
                state: compensation.state,
            }),
        unblock: step.unblock,
        output: json(step.output.as_ref()).map(Arc::new),
        output_object: step.output_object.and_then(|object| {
            Some(ObjectRef {
                digest: Digest::parse(&object.digest)?,
                size: object.size,
            })
        }),
        evidence: step.evidence,
    }
}

fn certainty(certainty: v1::Certainty) -> &'static str {
    match certainty {
        v1::Certainty::Unspecified => "",
        v1::Certainty::Transient => "transient",
        v1::Certainty::Refused => "refused",
        v1::Certainty::Failed => "failed",
        v1::Certainty::Cancelled => "cancelled",
        v1::Certainty::Gone => "gone",
    }
}

pub(crate) fn worker(worker: v1::Worker) -> view::Worker {
    view::Worker {
        state: match worker.state() {
            v1::WorkerState::Connected => view::WorkerState::Connected,
            v1::WorkerState::Suspect => view::WorkerState::Suspect,
            v1::WorkerState::Unspecified | v1::WorkerState::Offline => view::WorkerState::Offline,
            v1::WorkerState::Draining => view::WorkerState::Draining,
            v1::WorkerState::Dead => view::WorkerState::Dead,
        },
        id: worker.id,
        installation: worker.installation,
        pool: worker.pool,
        build: worker.build,
        incarnation: worker.incarnation,
        reach: worker.reach,
        kinds: worker.kinds,
        credits: worker.credits.into_iter().collect(),
        used: worker.used.into_iter().collect(),
        labels: worker.labels.into_iter().collect(),
        last_beat_at: time(worker.last_beat_at.as_ref()),
        connected_at: time(worker.connected_at.as_ref()),
        attempts: worker.attempts,
        transport: worker.transport,
        waits_for: worker.waits_for,
    }
}

pub(crate) fn installation(installation: v1::Installation) -> view::Installation {
    view::Installation {
        name: installation.name,
        region: installation.region,
        partition: installation.partition,
        pools: installation
            .pools
            .into_iter()
            .map(|pool| view::Pool {
                name: pool.name,
                workers: pool.workers,
                workers_connected: pool.workers_connected,
                reach: pool.reach,
                silent_since: time(pool.silent_since.as_ref()),
            })
            .collect(),
        open_workflows: installation.open_workflows,
    }
}

pub(crate) fn brake(brake: v1::Brake) -> view::Brake {
    view::Brake {
        on: brake.on,
        since: time(brake.since.as_ref()),
        actor: brake.actor.map_or_else(String::new, |actor| actor.name),
        reason: brake.reason,
        running: brake.running,
        exempt: brake.exempt,
    }
}
