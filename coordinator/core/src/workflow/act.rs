//! What people do to a workflow.

use std::sync::Arc;

use serde_json::Value;

use super::{
    advance::{self, PARAMS_BYTES_MAX},
    decide::Turn,
    event::{Body, PauseCause, SkipCause},
    input::{Act, Rejection, Reply},
    replan,
    state::{Course, Phase, Workflow},
};
use crate::{
    declaration::Compensation,
    definition::{Action, output_readers},
    ids::{Actor, Digest, StepId},
};

/// The largest output that is stored with its event, in bytes of JSON.
pub const OUTPUT_BYTES_MAX: usize = 256 << 10;

pub(super) type Answer = Result<String, Rejection>;

pub(super) fn act(turn: &mut Turn<'_>, actor: Actor, reason: String, act: Act) -> Reply {
    let answer = if let Course::Ended(_) = &turn.workflow.course {
        Err(Rejection::Ended {
            state: turn.workflow.state_word(),
        })
    } else {
        match act {
            Act::Pause => pause(turn, actor, reason),
            Act::Resume => resume(turn, actor, reason),
            Act::Cancel => cancel(turn, actor, reason),
            Act::Terminate => terminate(turn, actor, reason),
            Act::Retry { step, params } => retry(turn, actor, reason, step, params),
            Act::Skip { step, output } => skip(turn, actor, reason, step, output),
            Act::Approve { step, evidence } => {
                decide_gate(turn, actor, reason, step, evidence, true)
            }
            Act::Replan { plan } => replan::replan(turn, actor, reason, plan),
            Act::Reject { step, evidence } => {
                decide_gate(turn, actor, reason, step, evidence, false)
            }
        }
    };
    match answer {
        Ok(message) => Reply::Done(message),
        Err(rejection) => Reply::Refused(rejection),
    }
}

fn pause(turn: &mut Turn<'_>, actor: Actor, reason: String) -> Answer {
    if turn.workflow.pause.is_some() {
        return Ok("it was paused already".to_owned());
    }
    let body = Body::PauseRequested {
        cause: PauseCause::Operator,
        reason,
    };
    turn.emit_by(Some(actor), None, body);
    Ok(if turn.workflow.in_critical_span() {
        let last = turn.workflow.plan.critical.last().copied().unwrap_or(0);
        format!(
            "the critical span goes on; it pauses after {}",
            turn.workflow.plan.id_of(last)
        )
    } else {
        let running = running(turn.workflow);
        if running.is_empty() {
            "paused".to_owned()
        } else {
            format!(
                "paused: nothing new starts; {} ends or stops at its next safe point",
                running.join(", ")
            )
        }
    })
}

/// Steps with an attempt under way, guards left out.
fn running(workflow: &Workflow) -> Vec<String> {
    (0..workflow.steps.len())
        .filter(|&index| workflow.steps[index].phase.is_leased() && !workflow.plan.is_guard(index))
        .map(|index| workflow.plan.id_of(index).to_string())
        .collect()
}

fn resume(turn: &mut Turn<'_>, actor: Actor, reason: String) -> Answer {
    if turn.workflow.pause.is_none() {
        let hint = turn
            .workflow
            .step_waiting_for_operator()
            .map_or_else(String::new, |index| {
                let step = turn.workflow.plan.id_of(index);
                format!("; {step} waits for an operator: retry or skip it")
            });
        return Err(Rejection::NotPaused { hint });
    }
    turn.emit_by(Some(actor), None, Body::Resumed { reason });
    Ok(turn.workflow.step_waiting_for_operator().map_or_else(
        || "resumed".to_owned(),
        |index| {
            let step = turn.workflow.plan.id_of(index);
            format!("resumed, but {step} still waits for an operator: retry or skip it")
        },
    ))
}

fn not_looked(workflow: &Workflow, index: usize) -> Rejection {
    let hint = match workflow.plan.definition.nodes[index].action {
        Action::Gate(_) => {
            "what follows the gate looks only once it is approved: approve it, or look yourself and terminate the workflow"
        }
        Action::Timer(_) => {
            "what follows the timer looks once it has fired: wait, or terminate the workflow"
        }
        Action::Run { .. } | Action::ForEach(_) => "cancel once it has looked",
    };
    Rejection::NotLooked {
        step: workflow.plan.id_of(index).clone(),
        hint,
    }
}

fn cancel(turn: &mut Turn<'_>, actor: Actor, reason: String) -> Answer {
    if turn.workflow.is_unwinding() {
        return Err(Rejection::Unwinding);
    }
    // Whatever the lost future began, the pivot among it, would be left out of the way back.
    if matches!(&turn.workflow.pause, Some(pause) if pause.cause == PauseCause::Restored) {
        return Err(Rejection::NotResumed);
    }
    if let Some(index) = turn.workflow.not_looked() {
        return Err(not_looked(turn.workflow, index));
    }
    if turn.workflow.pivot_passed() {
        let pivot = turn
            .workflow
            .plan
            .definition
            .pivot
            .expect("a passed pivot exists");
        return Err(Rejection::PastPivot {
            pivot: turn.workflow.plan.id_of(pivot).clone(),
        });
    }
    if turn.workflow.starts.is_empty() {
        // Offers that nobody has acked never become attempts.
        for index in 0..turn.workflow.steps.len() {
            if turn.workflow.steps[index].phase == Phase::Leased {
                let fence = turn.workflow.steps[index]
                    .lease
                    .as_ref()
                    .expect("a leased step has a lease")
                    .fence;
                turn.emit(
                    Some(index),
                    Body::OfferReverted {
                        fence,
                        reason: Arc::from("cancelled"),
                    },
                );
            }
        }
        turn.emit_by(Some(actor), None, Body::Cancelled { reason });
        return Ok("cancelled: nothing had started".to_owned());
    }
    let body = Body::UnwindingStarted {
        cause: "cancel".to_owned(),
        reason,
    };
    turn.emit_by(Some(actor), None, body);
    let n = turn.workflow.starts.len();
    Ok(format!(
        "unwinding: {n} {} may have started and will be taken back",
        if n == 1 { "step" } else { "steps" }
    ))
}

fn terminate(turn: &mut Turn<'_>, actor: Actor, reason: String) -> Answer {
    if reason.is_empty() {
        return Err(Rejection::ReasonNeeded);
    }
    let unguarded: Vec<StepId> = (0..turn.workflow.steps.len())
        .filter(|&index| {
            turn.workflow.plan.is_guard(index) && turn.workflow.steps[index].phase.is_leased()
        })
        .map(|index| turn.workflow.plan.id_of(index).clone())
        .collect();
    let mut message = format!(
        "terminated as it stood; {} may have started",
        turn.workflow.starts.len()
    );
    if !unguarded.is_empty() {
        let names: Vec<&str> = unguarded.iter().map(StepId::as_str).collect();
        message = format!("{message}; NO LONGER GUARDED: {}", names.join(", "));
    }
    turn.emit_by(Some(actor), None, Body::Terminated { reason, unguarded });
    Ok(message)
}

fn find(workflow: &Workflow, step: &StepId) -> Result<usize, Rejection> {
    workflow
        .plan
        .index_of(step.as_str())
        .ok_or_else(|| Rejection::NoSuchStep { step: step.clone() })
}

fn too_large(what: &'static str, value: &Value, limit: usize) -> Result<(), Rejection> {
    let bytes = serde_json::to_vec(value).map_or(0, |text| text.len());
    if bytes > limit {
        Err(Rejection::TooLarge { what, bytes, limit })
    } else {
        Ok(())
    }
}

fn retry(
    turn: &mut Turn<'_>,
    actor: Actor,
    reason: String,
    id: StepId,
    params: Option<Value>,
) -> Answer {
    let index = find(turn.workflow, &id)?;
    let step = &turn.workflow.steps[index];
    let by_hand = matches!(
        turn.workflow.plan.compensation_of(index),
        Some(Compensation::Manual(_))
    );
    let retryable = match step.phase {
        Phase::Paused | Phase::Backoff { .. } => true,
        Phase::Stuck => !by_hand,
        Phase::Blocked
        | Phase::Ready
        | Phase::Leased
        | Phase::Running
        | Phase::Waiting { .. }
        | Phase::Items
        | Phase::Succeeded
        | Phase::Skipped
        | Phase::Failed
        | Phase::Cancelled
        | Phase::Compensated
        | Phase::Kept => false,
    };
    if !retryable {
        let state = turn.workflow.step_word(index);
        return Err(Rejection::NotRetryable { step: id, state });
    }
    if let Some(params) = &params {
        too_large("the parameters", params, PARAMS_BYTES_MAX)?;
        let problems = turn.workflow.plan.params_problems(index, params);
        if !problems.is_empty() {
            return Err(Rejection::ParamsInvalid {
                step: id,
                problems: problems.join("; "),
            });
        }
    }
    let was_scheduled = step.installation.is_some();
    let generation = step.generation + u32::from(params.is_some());
    let stored = params.clone().filter(|_| was_scheduled).map(Arc::new);
    turn.emit_by(
        Some(actor),
        Some(index),
        Body::StepRetried {
            generation,
            params: stored,
            reason,
        },
    );
    if !was_scheduled && params.is_some() {
        advance::schedule(turn, index, params);
    }
    Ok(match &turn.workflow.pause {
        Some(_) => format!("{id} will be tried again once the workflow is resumed"),
        None => format!("{id} is tried again"),
    })
}

fn skip(
    turn: &mut Turn<'_>,
    actor: Actor,
    reason: String,
    id: StepId,
    output: Option<Value>,
) -> Answer {
    let index = find(turn.workflow, &id)?;
    let workflow = &*turn.workflow;
    let step = &workflow.steps[index];
    let refuse = |hint| Rejection::NotSkippable {
        step: id.clone(),
        state: workflow.step_word(index),
        hint,
    };
    match step.phase {
        Phase::Leased | Phase::Running => {
            return Err(refuse(
                ": pause the workflow or wait until the attempt has ended",
            ));
        }
        Phase::Succeeded
        | Phase::Skipped
        | Phase::Failed
        | Phase::Cancelled
        | Phase::Compensated
        | Phase::Kept => return Err(refuse(": it has ended")),
        Phase::Items => return Err(refuse(": skip the steps of its items")),
        Phase::Stuck => {}
        // Skipping ahead would let what follows begin before what comes first.
        Phase::Blocked if !advance::needs_are_met(workflow, index) => {
            return Err(refuse(
                ": its turn has not come; pause the workflow and skip it when it is next",
            ));
        }
        Phase::Blocked
        | Phase::Ready
        | Phase::Waiting { .. }
        | Phase::Backoff { .. }
        | Phase::Paused => {
            if workflow.is_unwinding() && !step.backward {
                return Err(refuse(": the workflow unwinds"));
            }
        }
    }
    if !step.backward {
        if workflow.plan.definition.pivot == Some(index) {
            return Err(refuse(
                ": it is the pivot; without it the migration has not happened",
            ));
        }
        if workflow.plan.is_guard(index) {
            return Err(refuse(
                ": it is a guard; its span must not go on without it",
            ));
        }
        let readers = output_readers(&workflow.plan.definition, index);
        if !readers.is_empty() && output.is_none() {
            let names: Vec<&str> = readers.iter().map(|node| node.id.as_str()).collect();
            return Err(Rejection::OutputNeeded {
                step: id,
                readers: names.join(", "),
            });
        }
    }
    if let Some(output) = &output {
        too_large("the output", output, OUTPUT_BYTES_MAX)?;
    }
    let taken_back = step.backward;
    let body = Body::StepSkipped {
        cause: SkipCause::Operator,
        output: output.map(Arc::new),
        reason,
    };
    turn.emit_by(Some(actor), Some(index), body);
    Ok(if taken_back {
        format!("{id} counts as taken back by hand")
    } else {
        format!("{id} is skipped; nothing of it will be taken back unless it had started")
    })
}

fn decide_gate(
    turn: &mut Turn<'_>,
    actor: Actor,
    reason: String,
    id: StepId,
    seen: Option<Digest>,
    approve: bool,
) -> Answer {
    let index = find(turn.workflow, &id)?;
    let plan = Arc::clone(&turn.workflow.plan);
    let Action::Gate(gate) = &plan.definition.nodes[index].action else {
        return Err(Rejection::NotAGate { step: id });
    };
    let phase = turn.workflow.steps[index].phase;
    let open = matches!(phase, Phase::Waiting { .. }) || (approve && phase == Phase::Paused);
    if !open {
        let state = turn.workflow.step_word(index);
        return Err(Rejection::GateNotOpen { step: id, state });
    }
    let now = turn.workflow.evidence_digest(index);
    if seen.is_some_and(|seen| seen != now) {
        return Err(Rejection::EvidenceChanged { step: id, now });
    }
    if approve {
        let step = &turn.workflow.steps[index];
        let votes = step.votes(now);
        if votes.contains(&actor) {
            return Err(Rejection::AlreadyApproved { step: id, actor });
        }
        let missing = (gate.quorum as usize).saturating_sub(votes.len() + 1);
        let evidence = now;
        if missing > 0 {
            let vote = Body::GateVoted { evidence, reason };
            turn.emit_by(Some(actor), Some(index), vote);
            return Ok(format!(
                "{id} has your approval; {missing} more of {} needed, from other people",
                gate.quorum
            ));
        }
        let approved = Body::GateApproved { evidence, reason };
        turn.emit_by(Some(actor), Some(index), approved);
        Ok(format!("{id} is approved"))
    } else {
        turn.emit_by(Some(actor), Some(index), Body::GateRejected { reason });
        Ok(format!(
            "{id} is rejected; the workflow is paused until it is approved or cancelled"
        ))
    }
}
