//! What follows from the state alone: steps whose needs are met, guards whose span has ended, the end; and, while
//! unwinding, the next step to take back.

use std::sync::Arc;

use serde_json::Value;

use super::{
    attempt,
    decide::Turn,
    event::{Body, Certainty, SkipCause, StepFailure, StopReason},
    items, objects,
    state::{Phase, Workflow},
};
use crate::{declaration::Compensation, definition::Action, ids::InstallationName};

/// The largest parameters, in bytes of JSON.
pub const PARAMS_BYTES_MAX: usize = 64 << 10;

pub(super) fn forward(turn: &mut Turn<'_>) {
    if !turn.workflow.is_held_back() {
        for index in 0..turn.workflow.steps.len() {
            if !turn.workflow.plan.is_guard(index) && needs_are_met(turn.workflow, index) {
                begin(turn, index);
            }
        }
        for index in 0..turn.workflow.steps.len() {
            begin_guard(turn, index);
        }
    }
    for index in 0..turn.workflow.steps.len() {
        items::end(turn, index);
        end_guard(turn, index);
    }
    let all_ended = (0..turn.workflow.steps.len()).all(|index| has_ended(turn.workflow, index));
    if all_ended {
        turn.emit(None, Body::Completed {});
    }
}

pub(super) fn needs_are_met(workflow: &Workflow, index: usize) -> bool {
    workflow.steps[index].phase == Phase::Blocked
        && workflow.plan.definition.nodes[index]
            .needs
            .iter()
            .all(|&need| workflow.steps[need].phase.satisfies_needs())
        && items::has_room(workflow, index)
}

fn has_ended(workflow: &Workflow, index: usize) -> bool {
    let phase = workflow.steps[index].phase;
    phase.satisfies_needs()
        || (workflow.plan.is_guard(index)
            && (phase == Phase::Cancelled || never_begins(workflow, index)))
}

/// A guard whose span was passed over.
fn never_begins(workflow: &Workflow, index: usize) -> bool {
    workflow.steps[index].phase == Phase::Blocked && span_has_ended(workflow, index)
}

fn span_has_ended(workflow: &Workflow, index: usize) -> bool {
    workflow.plan.definition.nodes[index]
        .guard()
        .is_some_and(|guard| workflow.steps[guard.until].phase.satisfies_needs())
}

/// A guard starts with the first step of its span, which waits for it.
fn begin_guard(turn: &mut Turn<'_>, index: usize) {
    let workflow = &*turn.workflow;
    let Some(guard) = workflow.plan.definition.nodes[index].guard() else {
        return;
    };
    let has_begun = workflow.steps[guard.from].phase != Phase::Blocked;
    if has_begun
        && workflow.steps[index].phase == Phase::Blocked
        && !span_has_ended(workflow, index)
        && !objects::lacks(workflow, index)
    {
        schedule(turn, index, None);
    }
}

fn begin(turn: &mut Turn<'_>, index: usize) {
    if objects::lacks(turn.workflow, index) {
        return;
    }
    let plan = Arc::clone(&turn.workflow.plan);
    let node = &plan.definition.nodes[index];
    if let Some(when) = &node.when {
        match when.evaluate(&turn.workflow.scope(index)) {
            Ok(Value::Bool(true)) => {}
            Ok(Value::Bool(false)) => {
                let body = Body::StepSkipped {
                    cause: SkipCause::When,
                    output: None,
                    reason: String::new(),
                };
                return turn.emit(Some(index), body);
            }
            Ok(other) => {
                let message = format!("`when` must be true or false and is {other}");
                return not_scheduled(turn, index, "expression-failed", message);
            }
            Err(error) => {
                return not_scheduled(turn, index, "expression-failed", error.to_string());
            }
        }
    }
    match &node.action {
        Action::Run { .. } => schedule(turn, index, None),
        Action::Gate(gate) => {
            let evidence = turn.workflow.evidence_digest(index);
            let expires_at = turn.env.now.after(gate.expires);
            turn.emit(
                Some(index),
                Body::GateOpened {
                    expires_at,
                    evidence,
                },
            );
        }
        Action::Timer(duration) => {
            let fires_at = turn.env.now.after(*duration);
            turn.emit(Some(index), Body::TimerStarted { fires_at });
        }
        Action::ForEach(for_each) => match items::items(turn.workflow, index, for_each) {
            Ok(items) => turn.emit(Some(index), Body::ItemsKnown { items }),
            Err((code, message)) => not_scheduled(turn, index, code, message),
        },
    }
}

/// Evaluates where a step runs and with what, unless the parameters are given.
pub(super) fn schedule(turn: &mut Turn<'_>, index: usize, given: Option<Value>) {
    match evaluate(turn.workflow, index, given) {
        Ok((installation, params)) => {
            turn.emit(
                Some(index),
                Body::StepScheduled {
                    installation,
                    params: Arc::new(params),
                },
            );
        }
        Err((code, message)) => not_scheduled(turn, index, code, message),
    }
}

fn not_scheduled(turn: &mut Turn<'_>, index: usize, code: &str, message: String) {
    let failure = StepFailure::new(code, Certainty::Refused, message);
    turn.emit(Some(index), Body::StepNotScheduled { failure });
}

type Evaluated = Result<(InstallationName, Value), (&'static str, String)>;

fn evaluate(workflow: &Workflow, index: usize, given: Option<Value>) -> Evaluated {
    let node = &workflow.plan.definition.nodes[index];
    let installation = match &node.placement {
        None => workflow.created.installation.clone(),
        Some(template) => {
            let value = template
                .evaluate(&workflow.scope(index))
                .map_err(|error| ("expression-failed", error.to_string()))?;
            let text = value.as_str().unwrap_or_default();
            InstallationName::new(text)
                .map_err(|error| ("expression-failed", format!("placement: {error}")))?
        }
    };
    let params = match (given, &node.action) {
        (Some(params), _) => params,
        (None, Action::Run { with, .. }) => with
            .evaluate(&workflow.scope(index))
            .map_err(|error| ("expression-failed", error.to_string()))?,
        (None, Action::Gate(_) | Action::Timer(_) | Action::ForEach(_)) => Value::Null,
    };
    let bytes = serde_json::to_vec(&params).map_or(0, |text| text.len());
    if bytes > PARAMS_BYTES_MAX {
        let message =
            format!("the parameters have {bytes} bytes; at most {PARAMS_BYTES_MAX} are allowed");
        return Err(("params-too-large", message));
    }
    let problems = workflow.plan.params_problems(index, &params);
    if problems.is_empty() {
        Ok((installation, params))
    } else {
        Err(("params-invalid", problems.join("; ")))
    }
}

fn end_guard(turn: &mut Turn<'_>, index: usize) {
    let workflow = &*turn.workflow;
    if !workflow.plan.is_guard(index) || !span_has_ended(workflow, index) {
        return;
    }
    match workflow.steps[index].phase {
        Phase::Running => attempt::stop(turn, index, StopReason::SpanEnded),
        Phase::Ready | Phase::Backoff { .. } | Phase::Paused => {
            turn.emit(Some(index), Body::GuardEnded {})
        }
        // Leased: its ack or the revert of the offer comes first.
        Phase::Leased
        | Phase::Blocked
        | Phase::Waiting { .. }
        | Phase::Items
        | Phase::Succeeded
        | Phase::Skipped
        | Phase::Failed
        | Phase::Cancelled
        | Phase::Compensated
        | Phase::Kept
        | Phase::Stuck => {}
    }
}

/// Takes steps back in reverse order of their first ack, one at a time. A guard goes on until its turn comes.
pub(super) fn unwind(turn: &mut Turn<'_>) {
    let n = turn.workflow.steps.len();
    for index in 0..n {
        let step = &turn.workflow.steps[index];
        if step.backward || (turn.workflow.plan.is_guard(index) && step.acked > step.refused) {
            continue;
        }
        match step.phase {
            Phase::Leased => {
                let fence = step
                    .lease
                    .as_ref()
                    .expect("a leased step has a lease")
                    .fence;
                let reason = Arc::from("cancelled");
                turn.emit(Some(index), Body::OfferReverted { fence, reason });
                turn.emit(Some(index), Body::StepCancelled {});
            }
            Phase::Running => attempt::stop(turn, index, StopReason::Cancelled),
            Phase::Ready | Phase::Backoff { .. } | Phase::Paused => {
                turn.emit(Some(index), Body::StepCancelled {});
            }
            Phase::Blocked
            | Phase::Waiting { .. }
            | Phase::Items
            | Phase::Succeeded
            | Phase::Skipped
            | Phase::Failed
            | Phase::Cancelled
            | Phase::Compensated
            | Phase::Kept
            | Phase::Stuck => {}
        }
    }
    let still_running = (0..n).any(|index| {
        let step = &turn.workflow.steps[index];
        !step.backward && step.phase.is_leased() && !turn.workflow.plan.is_guard(index)
    });
    if still_running {
        return;
    }
    let next = turn
        .workflow
        .starts
        .iter()
        .rev()
        .copied()
        .find(|&index| !is_taken_back(turn.workflow, index));
    match next {
        Some(index) => take_back(turn, index),
        None => end(turn),
    }
}

fn is_taken_back(workflow: &Workflow, index: usize) -> bool {
    let step = &workflow.steps[index];
    let never_acted = step.refused > 0 && step.refused == step.acked;
    match step.phase {
        Phase::Compensated | Phase::Kept => true,
        Phase::Blocked
        | Phase::Ready
        | Phase::Leased
        | Phase::Running
        | Phase::Waiting { .. }
        | Phase::Backoff { .. }
        | Phase::Items
        | Phase::Paused
        | Phase::Succeeded
        | Phase::Skipped
        | Phase::Failed
        | Phase::Cancelled
        | Phase::Stuck => never_acted && !step.backward && !step.phase.is_leased(),
    }
}

fn take_back(turn: &mut Turn<'_>, index: usize) {
    let step = &turn.workflow.steps[index];
    if step.backward {
        // Its compensation runs, waits for a worker, or is stuck.
        return;
    }
    if step.phase == Phase::Running {
        // Only a guard runs here.
        return attempt::stop(turn, index, StopReason::SpanEnded);
    }
    if step.phase == Phase::Leased {
        return;
    }
    let plan = Arc::clone(&turn.workflow.plan);
    match plan.compensation_of(index) {
        Some(Compensation::Undo) => turn.emit(Some(index), Body::CompensationScheduled {}),
        Some(Compensation::Manual(note)) => {
            turn.emit(
                Some(index),
                Body::ManualCompensationNeeded { note: note.clone() },
            );
        }
        Some(Compensation::RollForward) | None => turn.emit(Some(index), Body::StepKept {}),
    }
}

fn end(turn: &mut Turn<'_>) {
    // A guard that was never acked may still hold an offer.
    let leased = turn
        .workflow
        .steps
        .iter()
        .position(|step| step.phase == Phase::Leased);
    if let Some(index) = leased {
        let fence = turn.workflow.steps[index]
            .lease
            .as_ref()
            .expect("a leased step has a lease")
            .fence;
        return turn.emit(
            Some(index),
            Body::OfferReverted {
                fence,
                reason: Arc::from("cancelled"),
            },
        );
    }
    if turn.workflow.starts.is_empty() {
        turn.emit(
            None,
            Body::Cancelled {
                reason: String::new(),
            },
        );
    } else {
        turn.emit(None, Body::RolledBack {});
    }
}
