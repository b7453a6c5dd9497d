//! What happens because its time has come, and when the next such time is.

use std::time::Duration;

use super::{
    attempt,
    decide::Turn,
    event::{Body, Certainty, StepFailure, StopReason},
    input::Env,
    state::{Phase, Step, Workflow},
};
use crate::{definition::Action, time::Timestamp};

pub(super) fn due(turn: &mut Turn<'_>) {
    for index in 0..turn.workflow.steps.len() {
        let workflow = &*turn.workflow;
        let step = &workflow.steps[index];
        let now = turn.env.now;
        match step.phase {
            Phase::Waiting { until } if until <= now => waited(turn, index),
            Phase::Ready | Phase::Backoff { .. } => {
                if let Some((_, which)) =
                    next_while_waiting(workflow, index, turn.env).filter(|(at, _)| *at <= now)
                {
                    let failure = StepFailure::new(
                        which,
                        Certainty::Transient,
                        format!("the {which} timeout passed and no attempt was running"),
                    );
                    turn.emit(Some(index), Body::StepTimedOut { failure });
                }
            }
            Phase::Running => {
                if let Some((_, reason)) =
                    next_while_running(workflow, index, turn.env).filter(|(at, _)| *at <= now)
                {
                    attempt::stop(turn, index, reason);
                }
            }
            Phase::Waiting { .. }
            | Phase::Items
            | Phase::Blocked
            | Phase::Leased
            | Phase::Paused
            | Phase::Succeeded
            | Phase::Skipped
            | Phase::Failed
            | Phase::Cancelled
            | Phase::Compensated
            | Phase::Kept
            | Phase::Stuck => {}
        }
    }
}

fn waited(turn: &mut Turn<'_>, index: usize) {
    match &turn.workflow.plan.definition.nodes[index].action {
        Action::Gate(gate) => {
            let expires_at = turn.env.now.after(gate.expires);
            turn.emit(Some(index), Body::GateExpired { expires_at });
        }
        // A pause suspends timers: this one fires when the workflow is resumed.
        Action::Timer(_) if turn.workflow.is_held_back() => {}
        Action::Timer(_) => turn.emit(Some(index), Body::TimerFired {}),
        Action::Run { .. } | Action::ForEach(_) => unreachable!("work never waits"),
    }
}

/// The timeout that ends a step while no attempt of it runs. While the workflow is held back none does.
fn next_while_waiting(
    workflow: &Workflow,
    index: usize,
    env: &Env<'_>,
) -> Option<(Timestamp, &'static str)> {
    if workflow.is_held_back() || env.facts.brake() {
        return None;
    }
    let step = &workflow.steps[index];
    let timeouts = &workflow.plan.nodes[index].timeouts;
    let to_start = timeouts
        .schedule_to_start
        .zip(step.ready_at)
        .map(|(timeout, since)| {
            (
                deadline(step, since, timeout, Duration::ZERO, env),
                "schedule-to-start",
            )
        });
    let to_close = timeouts
        .schedule_to_close
        .zip(step.scheduled_at)
        .map(|(timeout, since)| {
            (
                deadline(step, since, timeout, step.paused_for, env),
                "schedule-to-close",
            )
        });
    to_start.into_iter().chain(to_close).min()
}

/// The timeout that ends the attempt under way.
fn next_while_running(
    workflow: &Workflow,
    index: usize,
    env: &Env<'_>,
) -> Option<(Timestamp, StopReason)> {
    let step = &workflow.steps[index];
    let lease = step
        .lease
        .as_ref()
        .filter(|lease| lease.stopping.is_none())?;
    if workflow.plan.is_guard(index) && !step.backward {
        return None;
    }
    let timeouts = &workflow.plan.nodes[index].timeouts;
    let one = timeouts
        .start_to_close
        .zip(lease.acked_at)
        .map(|(timeout, since)| {
            (
                deadline(step, since, timeout, Duration::ZERO, env),
                StopReason::StartToClose,
            )
        });
    let all = timeouts
        .schedule_to_close
        .zip(step.scheduled_at)
        .map(|(timeout, since)| {
            (
                deadline(step, since, timeout, step.paused_for, env),
                StopReason::ScheduleToClose,
            )
        });
    one.into_iter().chain(all).min_by_key(|(at, _)| *at)
}

/// `since + timeout`, later by the time that is charged to nobody.
fn deadline(
    step: &Step,
    since: Timestamp,
    timeout: Duration,
    paused_for: Duration,
    env: &Env<'_>,
) -> Timestamp {
    let worker = step
        .lease
        .as_ref()
        .filter(|_| step.phase == Phase::Running)
        .map(|lease| &lease.worker);
    let uncharged = step
        .installation
        .as_ref()
        .map_or(Duration::ZERO, |installation| {
            env.facts.uncharged(installation, worker, since, env.now)
        });
    since.after(timeout).after(uncharged).after(paused_for)
}

impl Workflow {
    /// The next domain time at which time alone would change something; `None` when only an input can.
    #[must_use]
    pub fn next_deadline(&self, env: &Env<'_>) -> Option<Timestamp> {
        if self.is_ended() {
            return None;
        }
        (0..self.steps.len())
            .filter_map(|index| self.next_of_step(index, env))
            .map(|(at, _)| at)
            .min()
    }

    /// The next thing that time alone would do to a step, and what it is.
    #[must_use]
    pub fn next_of_step(&self, index: usize, env: &Env<'_>) -> Option<(Timestamp, &'static str)> {
        let step = &self.steps[index];
        match step.phase {
            Phase::Waiting { until } => match &self.plan.definition.nodes[index].action {
                Action::Gate(_) => Some((until, "gate expires")),
                Action::Timer(_) => (!self.is_held_back()).then_some((until, "timer fires")),
                Action::Run { .. } | Action::ForEach(_) => None,
            },
            Phase::Backoff { until } => {
                let timeout = next_while_waiting(self, index, env);
                let retry = (until > env.now).then_some((until, "retry"));
                retry.into_iter().chain(timeout).min()
            }
            Phase::Ready => next_while_waiting(self, index, env),
            Phase::Running => {
                next_while_running(self, index, env).map(|(at, reason)| (at, reason.as_str()))
            }
            Phase::Blocked
            | Phase::Leased
            | Phase::Items
            | Phase::Paused
            | Phase::Succeeded
            | Phase::Skipped
            | Phase::Failed
            | Phase::Cancelled
            | Phase::Compensated
            | Phase::Kept
            | Phase::Stuck => None,
        }
    }
}
