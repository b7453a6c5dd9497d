//! Leases, acks and reports of attempts.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    decide::Turn,
    event::{Body, Certainty, Next, PauseCause, StepFailure, StopReason},
    input::{Offer, Outcome, Reply, Verdict},
    ready,
    state::{Phase, Step, Workflow},
};
use crate::{
    definition::{OnFailure, OnViolation},
    ids::{Fence, PoolName, WorkerId},
    object::ObjectRef,
};

pub(super) fn lease(
    turn: &mut Turn<'_>,
    index: usize,
    worker: WorkerId,
    incarnation: Arc<str>,
    pool: PoolName,
) -> Reply {
    if !ready::is_wanted(turn.workflow, index, turn.env) {
        return Reply::NotReady;
    }
    let fence = Fence {
        epoch: turn.env.epoch,
        counter: turn.workflow.lease_counter + 1,
    };
    let step = &turn.workflow.steps[index];
    let observe_first = step.observe_first && !step.backward && !turn.workflow.plan.is_guard(index);
    turn.emit(
        Some(index),
        Body::AttemptLeased {
            fence,
            worker,
            incarnation,
            pool,
            observe_first,
        },
    );
    Reply::Leased(Box::new(offer(turn.workflow, index)))
}

/// What the worker is asked to do under the lease in force.
fn offer(workflow: &Workflow, index: usize) -> Offer {
    let step = &workflow.steps[index];
    let node = &workflow.plan.nodes[index];
    let lease = step.lease.as_ref().expect("the step was leased just now");
    let declaration = node.kind.as_ref().expect("only work is leased");
    let id = workflow.plan.id_of(index);
    let guard = workflow.plan.definition.nodes[index].guard();
    Offer {
        step: id.clone(),
        fence: lease.fence,
        kind: declaration.kind.clone(),
        number: step.attempt,
        compensate: step.backward,
        observe_first: lease.observe_first,
        params: step
            .params
            .clone()
            .expect("a scheduled step has parameters"),
        checkpoint: step.checkpoint.clone(),
        output: step.output.clone().filter(|_| step.backward),
        object: step.object.filter(|_| step.backward),
        idempotency_prefix: format!("{}/{id}/{}", workflow.id, step.generation),
        start_to_close: node
            .timeouts
            .start_to_close
            .filter(|_| guard.is_none() || step.backward),
        loss_policy: declaration.loss_policy,
        autonomy: guard.map(|guard| guard.autonomy).filter(|_| !step.backward),
    }
}

/// Where a report's fence stands.
enum Standing {
    /// It is the lease in force.
    Current,
    /// Its attempt has ended, and its end is stored.
    Ended,
    /// A newer one counts.
    Old,
}

fn standing(workflow: &Workflow, index: usize, fence: Fence) -> Standing {
    let step = &workflow.steps[index];
    let same = step
        .lease
        .as_ref()
        .is_some_and(|lease| lease.fence == fence);
    match (same, step.phase.is_leased() && !workflow.is_ended()) {
        (true, true) => Standing::Current,
        (true, false) => Standing::Ended,
        (false, _) => Standing::Old,
    }
}

pub(super) fn ack(turn: &mut Turn<'_>, index: usize, fence: Fence) -> Reply {
    match standing(turn.workflow, index, fence) {
        Standing::Current => {
            if turn.workflow.steps[index].phase == Phase::Leased {
                turn.emit(Some(index), Body::AttemptAcked { fence });
            }
            Reply::Verdict(Verdict::Keep)
        }
        Standing::Ended | Standing::Old => Reply::Verdict(Verdict::Superseded),
    }
}

pub(super) fn unacked(turn: &mut Turn<'_>, index: usize, fence: Fence, reason: Arc<str>) -> Reply {
    if matches!(standing(turn.workflow, index, fence), Standing::Current)
        && turn.workflow.steps[index].phase == Phase::Leased
    {
        turn.emit(Some(index), Body::OfferReverted { fence, reason });
    }
    Reply::Noted
}

pub(super) fn checkpoint(
    turn: &mut Turn<'_>,
    index: usize,
    fence: Fence,
    number: u64,
    data: Value,
) -> Reply {
    if !matches!(standing(turn.workflow, index, fence), Standing::Current)
        || turn.workflow.steps[index].phase != Phase::Running
    {
        return Reply::Verdict(Verdict::Superseded);
    }
    let newest = turn.workflow.steps[index]
        .lease
        .as_ref()
        .map_or(0, |lease| lease.checkpoint);
    if number > newest {
        turn.emit(
            Some(index),
            Body::CheckpointStored {
                fence,
                number,
                data: Arc::new(data),
            },
        );
    }
    Reply::Verdict(Verdict::Keep)
}

/// The attempt has looked, and acts now. Who wants to know is whoever takes back what was begun since a restore.
pub(super) fn look_ended(turn: &mut Turn<'_>, index: usize, fence: Fence) -> Reply {
    let workflow = &*turn.workflow;
    let step = &workflow.steps[index];
    if let Standing::Current = standing(workflow, index, fence)
        && step.phase == Phase::Running
        && !step.backward
        && !step.found_undone
        && workflow.observe_all
        && step.lease.as_ref().is_some_and(|lease| lease.observe_first)
    {
        turn.emit(Some(index), Body::LookEnded { fence });
    }
    Reply::Noted
}

pub(super) fn violation(
    turn: &mut Turn<'_>,
    index: usize,
    fence: Fence,
    code: String,
    message: String,
) -> Reply {
    let Standing::Current = standing(turn.workflow, index, fence) else {
        return Reply::Verdict(Verdict::Superseded);
    };
    let Some(guard) = turn.workflow.plan.definition.nodes[index].guard().copied() else {
        return Reply::Verdict(Verdict::Keep);
    };
    let step = &turn.workflow.steps[index];
    let known = step
        .lease
        .as_ref()
        .and_then(|lease| lease.violation.as_deref())
        == Some(code.as_str());
    if step.phase == Phase::Running && !known {
        turn.emit(
            Some(index),
            Body::ViolationSeen {
                fence,
                code,
                message: message.clone(),
            },
        );
        if guard.on_violation == OnViolation::Pause && turn.workflow.pause.is_none() {
            turn.emit(
                None,
                Body::PauseRequested {
                    cause: PauseCause::Violation,
                    reason: message,
                },
            );
        }
    }
    Reply::Verdict(Verdict::Keep)
}

pub(super) fn result(turn: &mut Turn<'_>, index: usize, fence: Fence, outcome: Outcome) -> Reply {
    match standing(turn.workflow, index, fence) {
        Standing::Current => {}
        Standing::Ended => return Reply::Verdict(Verdict::Completed),
        Standing::Old => return Reply::Verdict(Verdict::Superseded),
    }
    if turn.workflow.steps[index].phase == Phase::Leased {
        // The ack got lost or travels in the same frame; a result says more.
        turn.emit(Some(index), Body::AttemptAcked { fence });
    }
    let step = &turn.workflow.steps[index];
    let stopping = step.lease.as_ref().and_then(|lease| lease.stopping);
    match (outcome, step.backward) {
        (Outcome::Output { output, observed }, false) => {
            succeeded(turn, index, fence, output, None, observed, stopping)
        }
        (Outcome::Object { object, observed }, false) => {
            let object = Some(object);
            succeeded(turn, index, fence, Value::Null, object, observed, stopping)
        }
        (Outcome::Compensated, true) => turn.emit(Some(index), Body::AttemptCompensated { fence }),
        (Outcome::Yielded, _) => match stopping {
            None => turn.emit(Some(index), Body::AttemptYielded { fence }),
            Some(reason) => stopped(turn, index, fence, reason),
        },
        (
            Outcome::Failure {
                failure,
                retry_after,
            },
            _,
        ) => {
            failed(turn, index, fence, failure, retry_after, stopping);
        }
        (Outcome::Output { .. } | Outcome::Object { .. }, true) | (Outcome::Compensated, false) => {
            let failure = StepFailure::new(
                "protocol",
                Certainty::Failed,
                "the worker reported the end of something it was not asked to do",
            );
            failed(turn, index, fence, failure, None, stopping);
        }
    }
    Reply::Verdict(Verdict::Keep)
}

fn succeeded(
    turn: &mut Turn<'_>,
    index: usize,
    fence: Fence,
    output: Value,
    object: Option<ObjectRef>,
    observed: bool,
    stopping: Option<StopReason>,
) {
    let may_end = matches!(
        stopping,
        Some(StopReason::SpanEnded | StopReason::Cancelled)
    );
    if turn.workflow.plan.is_guard(index) && !may_end {
        let failure = StepFailure::new(
            "guard-ended",
            Certainty::Transient,
            "the guard ended although its span has not",
        );
        return failed(turn, index, fence, failure, None, None);
    }
    turn.emit(
        Some(index),
        Body::AttemptSucceeded {
            fence,
            output: Arc::new(output),
            object,
            observed,
        },
    );
}

fn failed(
    turn: &mut Turn<'_>,
    index: usize,
    fence: Fence,
    failure: StepFailure,
    retry_after: Option<Duration>,
    stopping: Option<StopReason>,
) {
    match (stopping, failure.certainty) {
        (Some(reason), Certainty::Cancelled) => return stopped(turn, index, fence, reason),
        // The worker gave the attempt back: it shuts down.
        (None, Certainty::Cancelled) => {
            return turn.emit(Some(index), Body::AttemptYielded { fence });
        }
        (Some(StopReason::Cancelled | StopReason::SpanEnded), _) => {
            return turn.emit(
                Some(index),
                Body::AttemptFailed {
                    fence,
                    failure,
                    then: Next::Stop,
                },
            );
        }
        (
            Some(StopReason::StartToClose | StopReason::ScheduleToClose | StopReason::Heartbeat)
            | None,
            _,
        ) => {}
    }
    let workflow = &*turn.workflow;
    let gone = failure.certainty == Certainty::Gone
        && !workflow.is_unwinding()
        && !workflow.may_have_mutated();
    let then = if gone {
        Next::Fail
    } else {
        next(workflow, index, &failure, retry_after, turn)
    };
    let message = failure.message.clone();
    let body = Body::AttemptFailed {
        fence,
        failure,
        then,
    };
    if gone {
        turn.emit(Some(index), body);
        turn.emit(None, Body::Removed { message });
    } else {
        end(turn, index, body, then);
    }
}

/// Ends the attempt under way. What follows may be the way back of the whole workflow.
fn end(turn: &mut Turn<'_>, index: usize, body: Body, then: Next) {
    turn.emit(Some(index), body);
    if then == Next::Fail {
        let step = &turn.workflow.steps[index];
        let failure = step.failure.as_deref();
        let reason = failure.map_or_else(String::new, |(_, failure)| failure.message.clone());
        let cause = turn.workflow.plan.id_of(index).to_string();
        turn.emit(None, Body::UnwindingStarted { cause, reason });
    }
}

/// The attempt ended because it was asked to.
fn stopped(turn: &mut Turn<'_>, index: usize, fence: Fence, reason: StopReason) {
    match reason {
        StopReason::Cancelled => turn.emit(Some(index), Body::AttemptCancelled { fence }),
        StopReason::SpanEnded if turn.workflow.steps[index].backward => {
            turn.emit(Some(index), Body::AttemptCancelled { fence });
        }
        StopReason::SpanEnded => {
            turn.emit(
                Some(index),
                Body::AttemptSucceeded {
                    fence,
                    output: Arc::new(Value::Null),
                    object: None,
                    observed: false,
                },
            );
        }
        StopReason::StartToClose | StopReason::ScheduleToClose | StopReason::Heartbeat => {
            let failure = StepFailure::timed_out(reason);
            let then = if reason == StopReason::ScheduleToClose {
                give_up(turn.workflow, index)
            } else {
                next(turn.workflow, index, &failure, None, turn)
            };
            let body = Body::AttemptFailed {
                fence,
                failure,
                then,
            };
            end(turn, index, body, then);
        }
    }
}

pub(super) fn lost(turn: &mut Turn<'_>, index: usize, fence: Fence, reason: Arc<str>) -> Reply {
    let Standing::Current = standing(turn.workflow, index, fence) else {
        return Reply::Noted;
    };
    let step = &turn.workflow.steps[index];
    if step.phase == Phase::Leased {
        turn.emit(Some(index), Body::OfferReverted { fence, reason });
        return Reply::Noted;
    }
    let stopping = step.lease.as_ref().and_then(|lease| lease.stopping);
    let then = match stopping {
        Some(StopReason::Cancelled) => Next::Stop,
        Some(StopReason::SpanEnded) if step.backward => Next::Stop,
        Some(StopReason::ScheduleToClose) => give_up(turn.workflow, index),
        Some(StopReason::SpanEnded | StopReason::StartToClose | StopReason::Heartbeat) | None => {
            let allowed = turn.workflow.plan.nodes[index].retry.maximum_losses;
            // A guard lives as long as its span, however many workers that takes.
            let lives_on = turn.workflow.plan.is_guard(index) && !step.backward;
            if lives_on || step.losses_with(turn.env.now) <= allowed {
                Next::Retry { at: turn.env.now }
            } else {
                give_up(turn.workflow, index)
            }
        }
    };
    let body = Body::AttemptLost {
        fence,
        reason,
        then,
    };
    end(turn, index, body, then);
    Reply::Noted
}

pub(super) fn heartbeat_timed_out(turn: &mut Turn<'_>, index: usize, fence: Fence) -> Reply {
    if let Standing::Current = standing(turn.workflow, index, fence) {
        stop(turn, index, StopReason::Heartbeat);
    }
    Reply::Noted
}

/// Asks a running attempt to stop; a later reason does not replace an earlier one, except that unwinding does.
pub(super) fn stop(turn: &mut Turn<'_>, index: usize, reason: StopReason) {
    let step: &Step = &turn.workflow.steps[index];
    let Some(lease) = step.lease.as_ref().filter(|_| step.phase == Phase::Running) else {
        return;
    };
    let replaces = match (lease.stopping, reason) {
        (None, _) => true,
        (Some(StopReason::Cancelled), _) => false,
        (Some(_), StopReason::Cancelled) => true,
        // It was asked kindly, and its code hangs.
        (Some(StopReason::SpanEnded), StopReason::Heartbeat) => true,
        (Some(_), _) => false,
    };
    if replaces {
        let fence = lease.fence;
        turn.emit(Some(index), Body::AttemptStopping { fence, reason });
    }
}

/// What follows a failure of the attempt under way.
fn next(
    workflow: &Workflow,
    index: usize,
    failure: &StepFailure,
    retry_after: Option<Duration>,
    turn: &Turn<'_>,
) -> Next {
    let step = &workflow.steps[index];
    let policy = &workflow.plan.nodes[index].retry;
    let failures = step.failures + 1;
    if failure.certainty == Certainty::Transient && failures < policy.maximum_attempts {
        let wait = policy
            .interval(failures, spread(workflow, index, failures))
            .max(retry_after.unwrap_or_default());
        return Next::Retry {
            at: turn.env.now.after(wait),
        };
    }
    give_up(workflow, index)
}

fn give_up(workflow: &Workflow, index: usize) -> Next {
    let unwinds = workflow.plan.definition.nodes[index].on_failure == OnFailure::Unwind;
    if workflow.steps[index].backward {
        Next::Stick
    } else if unwinds
        && !workflow.pivot_passed()
        && !workflow.is_unwinding()
        && workflow.not_looked().is_none()
    {
        Next::Fail
    } else {
        Next::Pause
    }
}

/// A number that spreads the waits of many workflows, and is the same whenever it is computed.
fn spread(workflow: &Workflow, index: usize, failures: u32) -> u64 {
    let text = format!("{}/{}/{failures}", workflow.id, workflow.plan.id_of(index));
    let digest = crate::ids::Digest::of(text.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.0[..8]);
    u64::from_be_bytes(bytes)
}
