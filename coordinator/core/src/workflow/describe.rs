//! What people see of a workflow.

use serde_json::Value;

use super::{
    event::Certainty,
    hold::{self, Hold, HoldReason},
    input::Env,
    ready,
    state::{Course, End, Phase, Step, Workflow},
};
use crate::{
    declaration::Compensation,
    definition::{Action, Gate},
    ids::{Digest, Fence},
    time::Timestamp,
    view,
};

/// What only the shell knows of running attempts and waiting steps.
pub trait Live {
    /// What the step's code reported last, and whether it still looks before it acts.
    fn progress(
        &self,
        workflow: &Workflow,
        step: usize,
        fence: Fence,
    ) -> Option<(view::Progress, bool)>;
    /// When the lease expires, on the liveness clock.
    fn lease_expires_at(&self, workflow: &Workflow, step: usize) -> Option<Timestamp>;
    /// Why no worker takes a step that waits for one.
    fn why_no_worker(&self, workflow: &Workflow, step: usize) -> Option<HoldReason>;
}

/// Nothing is known: for offline views.
pub struct NotLive;

impl Live for NotLive {
    fn progress(&self, _: &Workflow, _: usize, _: Fence) -> Option<(view::Progress, bool)> {
        None
    }

    fn lease_expires_at(&self, _: &Workflow, _: usize) -> Option<Timestamp> {
        None
    }

    fn why_no_worker(&self, _: &Workflow, _: usize) -> Option<HoldReason> {
        None
    }
}

impl Workflow {
    /// The workflow for people and scripts.
    #[must_use]
    pub fn describe(&self, env: &Env<'_>, live: &dyn Live) -> view::Workflow {
        let mut steps = Vec::new();
        let mut guards = Vec::new();
        let mut holds = Vec::new();
        let mut current = Vec::new();
        let of_all = ready::held_back(self).filter(|_| !self.is_ended());
        if let Some(hold) = &of_all {
            holds.push(self.hold_view(hold, None));
        }
        for index in self.plan.definition.reading_order() {
            let hold = self.step_hold(index, env, live);
            if self.is_open(index) {
                current.push(self.plan.id_of(index).to_string());
            }
            // What holds the whole workflow stands once at its head, not at each step.
            if let Some(hold) = hold.as_ref().filter(|hold| Some(*hold) != of_all.as_ref()) {
                holds.push(self.hold_view(hold, Some(index)));
            }
            let view = self.step_view(index, env, live, hold.as_ref());
            if self.plan.is_guard(index) {
                guards.push(view)
            } else {
                steps.push(view)
            }
        }
        let created = &self.created;
        let definition = &self.plan.definition;
        view::Workflow {
            id: self.id.to_string(),
            definition: view::DefinitionRef {
                name: definition.name.to_string(),
                version: definition.version,
                digest: self.plan.definition_digest.to_string(),
            },
            state: self.state(env),
            cluster: self.input_text("cluster"),
            installation: created.installation.to_string(),
            region: self.input_text("region"),
            partition: self.input_text("partition"),
            wave: self.input_text("wave"),
            created_at: Some(self.created_at),
            started_at: self.started_at,
            ended_at: self.ended_at,
            current,
            holds,
            steps,
            guards,
            outcome: self.outcome(),
            trace_id: self.trace_id(),
            head: self.head,
            pivot_passed: self.pivot_passed(),
            not_looked: self
                .not_looked()
                .filter(|_| !self.is_ended())
                .map_or_else(String::new, |index| self.plan.id_of(index).to_string()),
        }
    }

    fn input_text(&self, key: &str) -> String {
        self.created
            .input
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self, env: &Env<'_>) -> view::WorkflowState {
        use view::WorkflowState;
        match &self.course {
            Course::Ended(End::Completed) => return WorkflowState::Completed,
            Course::Ended(End::RolledBack) => return WorkflowState::RolledBack,
            Course::Ended(End::Cancelled) => return WorkflowState::Cancelled,
            Course::Ended(End::Terminated { .. }) => return WorkflowState::Terminated,
            Course::Ended(End::Removed { .. }) => return WorkflowState::Removed,
            Course::Forward | Course::Unwinding { .. } => {}
        }
        if self.steps.iter().any(|step| step.phase == Phase::Stuck) {
            return WorkflowState::Stuck;
        }
        if self.is_held_back() || self.step_holding_back().is_some() {
            return WorkflowState::Paused;
        }
        if self.is_unwinding() {
            return WorkflowState::Unwinding;
        }
        if self.starts.is_empty() {
            return WorkflowState::Pending;
        }
        let moves = (0..self.steps.len()).any(|index| {
            let step = &self.steps[index];
            let is_step = !self.plan.is_guard(index);
            is_step
                && (step.phase.is_leased()
                    || ready::is_wanted(self, index, env)
                    || matches!(step.phase, Phase::Backoff { .. }))
        });
        if moves {
            WorkflowState::Running
        } else if self.step_waiting_for_operator().is_some() {
            WorkflowState::Paused
        } else {
            WorkflowState::Waiting
        }
    }

    /// The word for an ended workflow, or for one that has not.
    pub(super) fn state_word(&self) -> &'static str {
        match &self.course {
            Course::Forward => "Running",
            Course::Unwinding { .. } => "Unwinding",
            Course::Ended(End::Completed) => "Completed",
            Course::Ended(End::RolledBack) => "RolledBack",
            Course::Ended(End::Cancelled) => "Cancelled",
            Course::Ended(End::Terminated { .. }) => "Terminated",
            Course::Ended(End::Removed { .. }) => "Removed",
        }
    }

    /// The word for where a step is.
    pub(super) fn step_word(&self, index: usize) -> &'static str {
        self.step_state(index, false).as_str()
    }

    fn step_state(&self, index: usize, observing: bool) -> view::StepState {
        use view::StepState;
        let step = &self.steps[index];
        if step.backward {
            match step.phase {
                Phase::Ready | Phase::Leased | Phase::Running | Phase::Backoff { .. } => {
                    return StepState::Compensating;
                }
                Phase::Blocked
                | Phase::Waiting { .. }
                | Phase::Items
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
        match step.phase {
            Phase::Blocked => StepState::Blocked,
            Phase::Ready => StepState::Ready,
            Phase::Leased => StepState::Offered,
            Phase::Running if observing => StepState::Observing,
            Phase::Running | Phase::Items => StepState::Running,
            Phase::Waiting { .. } => StepState::Waiting,
            Phase::Backoff { .. } => StepState::Backoff,
            Phase::Paused => StepState::Paused,
            Phase::Succeeded => StepState::Succeeded,
            Phase::Skipped => StepState::Skipped,
            Phase::Failed => StepState::Failed,
            Phase::Cancelled => StepState::Cancelled,
            Phase::Compensated => StepState::Compensated,
            Phase::Kept => StepState::Kept,
            Phase::Stuck => StepState::Stuck,
        }
    }

    fn is_open(&self, index: usize) -> bool {
        if self.is_ended() {
            return false;
        }
        match self.steps[index].phase {
            Phase::Ready
            | Phase::Leased
            | Phase::Running
            | Phase::Waiting { .. }
            | Phase::Backoff { .. }
            | Phase::Paused
            | Phase::Stuck => true,
            Phase::Blocked
            | Phase::Items
            | Phase::Succeeded
            | Phase::Skipped
            | Phase::Failed
            | Phase::Cancelled
            | Phase::Compensated
            | Phase::Kept => false,
        }
    }

    fn step_hold(&self, index: usize, env: &Env<'_>, live: &dyn Live) -> Option<Hold> {
        if self.is_ended() {
            return None;
        }
        let step = &self.steps[index];
        let hold = |reason| {
            Some(Hold {
                reason,
                since: step.phase_since,
                clears_at: None,
            })
        };
        match step.phase {
            Phase::Ready | Phase::Backoff { .. } => ready::why_not(self, index, env)
                .or_else(|| live.why_no_worker(self, index).and_then(hold)),
            Phase::Waiting { until } => {
                let reason = match &self.plan.definition.nodes[index].action {
                    Action::Gate(gate) => HoldReason::GateWaiting {
                        approvers: approvers(gate, step),
                    },
                    Action::Timer(_) | Action::Run { .. } | Action::ForEach(_) => HoldReason::Timer,
                };
                let clears_at = matches!(reason, HoldReason::Timer).then_some(until);
                Some(Hold {
                    reason,
                    since: step.phase_since,
                    clears_at,
                })
            }
            Phase::Paused => step.failure.as_deref().and_then(|(_, failure)| {
                hold(HoldReason::StepPaused {
                    step: self.plan.id_of(index).to_string(),
                    code: failure.code.clone(),
                    message: failure.message.clone(),
                })
            }),
            Phase::Stuck => step.failure.as_deref().and_then(|(_, failure)| {
                hold(HoldReason::Stuck {
                    step: self.plan.id_of(index).to_string(),
                    message: failure.message.clone(),
                })
            }),
            Phase::Blocked
            | Phase::Leased
            | Phase::Running
            | Phase::Items
            | Phase::Succeeded
            | Phase::Skipped
            | Phase::Failed
            | Phase::Cancelled
            | Phase::Compensated
            | Phase::Kept => None,
        }
    }

    fn unblock(&self, index: Option<usize>, reason: &HoldReason) -> String {
        let step = &index.map_or_else(
            || "STEP".to_owned(),
            |index| hold::for_a_shell(self.plan.id_of(index).as_str()),
        );
        let rejected =
            matches!(reason, HoldReason::StepPaused { code, .. } if code == "gate-rejected");
        match reason {
            HoldReason::GateWaiting { .. } => {
                format!("drover workflow approve {} {step} (or reject)", self.id)
            }
            HoldReason::StepPaused { .. } if rejected => {
                format!(
                    "drover workflow approve {} {step}, or cancel the workflow",
                    self.id
                )
            }
            HoldReason::Backoff { .. } => {
                format!(
                    "wait for the next attempt, or: drover workflow retry {} {step}",
                    self.id
                )
            }
            HoldReason::StepPaused { step, .. } if self.pivot_passed() => {
                format!(
                    "fix the cause, then: drover workflow retry {} {step}",
                    self.id
                )
            }
            HoldReason::Paused { .. }
            | HoldReason::Violation { .. }
            | HoldReason::Restored
            | HoldReason::StepPaused { .. }
            | HoldReason::Brake
            | HoldReason::GuardNotRunning { .. }
            | HoldReason::GuardNotEnded { .. }
            | HoldReason::Timer
            | HoldReason::Stuck { .. }
            | HoldReason::NoReach { .. }
            | HoldReason::KindUnserved { .. }
            | HoldReason::BuildTooOld { .. }
            | HoldReason::WorkerOffline { .. }
            | HoldReason::NoCredit { .. }
            | HoldReason::Draining { .. } => reason.unblock(self.id.as_str()),
        }
    }

    fn hold_view(&self, hold: &Hold, index: Option<usize>) -> view::Hold {
        let step = if let HoldReason::StepPaused { step, .. } = &hold.reason {
            // One step holds all of it.
            step.clone()
        } else {
            index.map_or_else(String::new, |index| self.plan.id_of(index).to_string())
        };
        view::Hold {
            code: hold.reason.code().to_owned(),
            message: hold.reason.message(),
            since: hold.since,
            clears_at: hold.clears_at,
            unblock: self.unblock(index, &hold.reason),
            step,
        }
    }

    fn step_view(
        &self,
        index: usize,
        env: &Env<'_>,
        live: &dyn Live,
        hold: Option<&Hold>,
    ) -> view::Step {
        let step = &self.steps[index];
        let node = &self.plan.definition.nodes[index];
        let kind = match &node.action {
            Action::Run { kind, .. } => kind.to_string(),
            Action::Gate(_) => "gate".to_owned(),
            Action::Timer(_) => "timer".to_owned(),
            Action::ForEach(_) => "forEach".to_owned(),
        };
        let running = step.phase == Phase::Running && !self.is_ended();
        let reported = step
            .lease
            .as_ref()
            .filter(|_| running)
            .and_then(|lease| live.progress(self, index, lease.fence));
        let observing = match (&reported, &step.lease) {
            (Some((_, observing)), _) => *observing,
            (None, Some(lease)) => lease.observe_first,
            (None, None) => false,
        };
        // One that is under way, or ended well, is one of those that are allowed; lost ones and those handed back are not.
        let this_one =
            step.phase.is_leased() || matches!(step.phase, Phase::Succeeded | Phase::Compensated);
        let uncounted = step
            .attempt
            .saturating_sub(step.failures + u32::from(this_one));
        view::Step {
            id: node.id.to_string(),
            kind,
            state: self.step_state(index, observing),
            attempt: step.attempt,
            attempts_allowed: if node.kind().is_some() {
                self.plan.nodes[index].retry.maximum_attempts + uncounted
            } else {
                0
            },
            worker: step
                .lease
                .as_ref()
                .map_or_else(String::new, |lease| lease.worker.to_string()),
            fence: step
                .lease
                .as_ref()
                .map_or_else(String::new, |lease| lease.fence.to_string()),
            lease_expires_at: live
                .lease_expires_at(self, index)
                .filter(|_| step.phase.is_leased()),
            scheduled_at: step.scheduled_at,
            started_at: step.started_at,
            ended_at: step.ended_at,
            progress: reported
                .map(|(progress, _)| progress)
                .or_else(|| self.items_progress(index)),
            next: self
                .next_of_step(index, env)
                .filter(|_| !self.is_ended())
                .map(|(at, what)| view::NextEvent {
                    what: what.to_owned(),
                    at,
                }),
            last_error: step
                .failure
                .as_deref()
                .map(|(attempt, failure)| view::Failure {
                    code: failure.code.clone(),
                    certainty: certainty_word(failure.certainty).to_owned(),
                    message: failure.message.clone(),
                    attempt: *attempt,
                }),
            compensation: self
                .plan
                .compensation_of(index)
                .map(|declared| view::StepCompensation {
                    kind: match declared {
                        Compensation::Undo => "undo",
                        Compensation::RollForward => "roll-forward",
                        Compensation::Manual(_) => "manual",
                    }
                    .to_owned(),
                    state: compensation_state(step).to_owned(),
                }),
            unblock: hold.map_or_else(String::new, |hold| self.unblock(Some(index), &hold.reason)),
            output: step.output.clone(),
            output_object: step.object,
            evidence: step
                .evidence
                .map_or_else(String::new, |digest| digest.to_string()),
        }
    }

    /// How many items of a `forEach` have ended.
    fn items_progress(&self, index: usize) -> Option<view::Progress> {
        if self.steps[index].phase != Phase::Items {
            return None;
        }
        let steps: Vec<usize> = self.plan.definition.steps_of(index).collect();
        let per_item = self.plan.definition.nodes[index].body().len();
        let items = steps.chunks(per_item);
        let total = items.len();
        let ended = items.filter(|item| {
            item.iter()
                .all(|&step| self.steps[step].phase.satisfies_needs())
        });
        Some(view::Progress {
            done: ended.count() as u64,
            total: total as u64,
            message: "items".to_owned(),
            at: None,
        })
    }

    fn outcome(&self) -> Option<view::Outcome> {
        let Course::Ended(end) = &self.course else {
            return None;
        };
        let (code, message) = match end {
            End::Completed => ("completed", "every step has ended".to_owned()),
            End::RolledBack => (
                "rolled-back",
                "everything that may have started was taken back or kept on purpose".to_owned(),
            ),
            End::Cancelled => (
                "cancelled",
                "cancelled before anything had started".to_owned(),
            ),
            End::Terminated { reason } => ("terminated", reason.clone()),
            End::Removed { message } => ("removed", message.clone()),
        };
        Some(view::Outcome {
            code: code.to_owned(),
            message,
        })
    }

    /// The trace id: derived, so that it is the same however often it is computed.
    #[must_use]
    pub fn trace_id(&self) -> String {
        let text = format!("drover/trace/{}/{}", self.id, self.created_at);
        Digest::of(text.as_bytes()).to_string()[..32].to_owned()
    }
}

/// Who is asked, and how many have approved already.
fn approvers(gate: &Gate, step: &Step) -> String {
    let roles = gate.approvers.join(", ");
    if gate.quorum == 1 {
        return roles;
    }
    let given = if step.approvals.is_empty() {
        "nobody has approved yet".to_owned()
    } else {
        let names: Vec<String> = step.approvals.iter().map(ToString::to_string).collect();
        format!("approved by {}", names.join(", "))
    };
    format!("{roles} ({} people; {given})", gate.quorum)
}

fn certainty_word(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Transient => "transient",
        Certainty::Refused => "refused",
        Certainty::Failed => "failed",
        Certainty::Cancelled => "cancelled",
        Certainty::Gone => "gone",
    }
}

fn compensation_state(step: &Step) -> &'static str {
    match (step.backward, step.phase) {
        (_, Phase::Compensated) => "done",
        (_, Phase::Kept) => "kept",
        (_, Phase::Stuck) => "stuck",
        (true, _) => "running",
        (false, _) if step.acked > step.refused => "pending",
        (false, _) => "none",
    }
}
