//! May a step be leased now, and if not, why not?

use super::{
    event::PauseCause,
    hold::{Hold, HoldReason},
    input::Env,
    state::{Phase, Workflow},
};
use crate::ids::InstallationName;

/// A step that waits for a worker and for nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Index of the step.
    pub step: usize,
    /// Where it runs.
    pub installation: InstallationName,
    /// True when a draining worker may take it, too: it is inside a critical span that has begun.
    pub critical: bool,
    /// True when its offer comes with a large output, which the worker has to fetch.
    pub with_object: bool,
}

impl Workflow {
    /// True when the step's next offer comes with a large output.
    #[must_use]
    pub fn fetches_object(&self, index: usize) -> bool {
        self.steps[index].backward && self.steps[index].object.is_some()
    }

    /// The steps that may be leased now, in the order of the definition, guards first.
    #[must_use]
    pub fn wanted(&self, env: &Env<'_>) -> Vec<Wanted> {
        if self.is_ended() {
            return Vec::new();
        }
        let mut wanted: Vec<Wanted> = (0..self.steps.len())
            .filter(|&index| is_wanted(self, index, env))
            .filter_map(|index| {
                Some(Wanted {
                    step: index,
                    installation: self.steps[index].installation.clone()?,
                    critical: self.in_critical_span() && self.plan.critical.contains(&index),
                    with_object: self.fetches_object(index),
                })
            })
            .collect();
        wanted.sort_by_key(|wanted| (!self.plan.is_guard(wanted.step), wanted.step));
        wanted
    }
}

/// True when the step waits for a worker and for nothing else.
pub(super) fn is_wanted(workflow: &Workflow, index: usize, env: &Env<'_>) -> bool {
    let waits = match workflow.steps[index].phase {
        Phase::Ready => true,
        Phase::Backoff { until } => until <= env.now,
        Phase::Blocked
        | Phase::Leased
        | Phase::Running
        | Phase::Waiting { .. }
        | Phase::Items
        | Phase::Paused
        | Phase::Succeeded
        | Phase::Skipped
        | Phase::Failed
        | Phase::Cancelled
        | Phase::Compensated
        | Phase::Kept
        | Phase::Stuck => false,
    };
    waits && !workflow.is_ended() && why_not(workflow, index, env).is_none()
}

/// What keeps a step that is ready, or between attempts, from being offered; `None` when only a worker is missing.
pub(super) fn why_not(workflow: &Workflow, index: usize, env: &Env<'_>) -> Option<Hold> {
    let step = &workflow.steps[index];
    if let Phase::Backoff { until } = step.phase
        && until > env.now
    {
        return Some(Hold {
            reason: HoldReason::Backoff {
                failures: step.failures,
            },
            since: step.phase_since,
            clears_at: Some(until),
        });
    }
    let is_guard = workflow.plan.is_guard(index) && !step.backward;
    if is_guard {
        // Guards live through pause and brake.
        return None;
    }
    if let Some(hold) = held_back(workflow) {
        return Some(hold);
    }
    if env.facts.brake() && !step.backward && !workflow.in_critical_span() {
        return Some(Hold {
            reason: HoldReason::Brake,
            since: None,
            clears_at: None,
        });
    }
    let reason = guard_to_wait_for(workflow, index)?;
    Some(Hold {
        reason,
        since: step.ready_at,
        clears_at: None,
    })
}

/// Why the workflow starts nothing new.
pub(super) fn held_back(workflow: &Workflow) -> Option<Hold> {
    if workflow.in_critical_span() {
        return None;
    }
    if let Some(pause) = &workflow.pause {
        let reason = match pause.cause {
            PauseCause::Operator => HoldReason::Paused {
                actor: pause.actor.clone(),
                reason: pause.reason.clone(),
            },
            PauseCause::Violation => HoldReason::Violation {
                message: pause.reason.clone(),
            },
            PauseCause::Restored => HoldReason::Restored,
        };
        return Some(Hold {
            reason,
            since: Some(pause.since),
            clears_at: None,
        });
    }
    let index = workflow.step_holding_back()?;
    let step = &workflow.steps[index];
    let (_, failure) = step.failure.as_deref()?;
    Some(Hold {
        reason: HoldReason::StepPaused {
            step: workflow.plan.id_of(index).to_string(),
            code: failure.code.clone(),
            message: failure.message.clone(),
        },
        since: step.phase_since,
        clears_at: None,
    })
}

/// The first guard of a step's span that does not run, or of a span before it that still does: what comes after a span may
/// take away what its guard keeps. Inside a critical span nobody waits for one; compensations do not either: a guard must not
/// keep a workflow from unwinding.
fn guard_to_wait_for(workflow: &Workflow, index: usize) -> Option<HoldReason> {
    if workflow.steps[index].backward || workflow.in_critical_span() {
        return None;
    }
    let phase = |guard: &usize| workflow.steps[*guard].phase;
    let id = |guard: &usize| workflow.plan.id_of(*guard).to_string();
    let node = &workflow.plan.nodes[index];
    let mut missing = node.guards.iter();
    let mut lingering = node.guards_before.iter();
    missing
        .find(|guard| phase(guard) != Phase::Running)
        .map(|guard| HoldReason::GuardNotRunning { guard: id(guard) })
        .or_else(|| {
            lingering
                .find(|guard| phase(guard).is_leased())
                .map(|guard| HoldReason::GuardNotEnded { guard: id(guard) })
        })
}
