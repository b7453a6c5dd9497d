//! One turn of a workflow: due time happens, the input is handled, and whatever follows from the state is added until
//! nothing does.
//!
//! A turn works on the state by applying each event as it is decided, so a later rule sees what an earlier one did; the
//! caller makes the events durable before anything leaves the process, and folds the stream again when it cannot.

use std::sync::Arc;

use super::{
    act, advance, attempt, due,
    event::{Body, Created, Event},
    input::{Env, Input, Reply},
    objects,
    state::{Course, Workflow},
};
use crate::{ids::Actor, plan::Plan};

/// What a turn came to.
#[derive(Clone, Debug)]
pub struct Decision {
    /// New events, in order, already applied to the state that made them.
    pub events: Vec<Event>,
    /// What to answer.
    pub reply: Reply,
}

impl Workflow {
    /// The first turn of a new workflow. The caller has validated the input and knows that id and exclusive key are free.
    #[must_use]
    pub fn create(
        created: Created,
        actor: Actor,
        plan: Arc<Plan>,
        env: &Env<'_>,
    ) -> (Self, Decision) {
        let event = Event {
            seq: 1,
            at: env.now,
            step: None,
            attempt: None,
            actor: Some(actor),
            body: Body::Created(Box::new(created)),
        };
        let mut workflow = Self::begin(&event, plan);
        let mut decision = workflow.react(Input::Tick, env);
        decision.events.insert(0, event);
        (workflow, decision)
    }

    /// Takes an input and applies what follows.
    pub fn react(&mut self, input: Input, env: &Env<'_>) -> Decision {
        let mut turn = Turn {
            workflow: self,
            env,
            events: Vec::new(),
        };
        turn.settle();
        let reply = turn.handle(input);
        turn.settle();
        let events = turn.events;
        self.put_down();
        Decision { events, reply }
    }

    /// What [`Workflow::react`] would come to. Changes nothing.
    #[must_use]
    pub fn decide(&self, input: Input, env: &Env<'_>) -> Decision {
        self.clone().react(input, env)
    }
}

/// A turn under way.
pub(super) struct Turn<'a> {
    pub(super) workflow: &'a mut Workflow,
    pub(super) env: &'a Env<'a>,
    pub(super) events: Vec<Event>,
}

impl Turn<'_> {
    /// Decides on an event, by the engine itself.
    pub(super) fn emit(&mut self, step: Option<usize>, body: Body) {
        self.emit_by(None, step, body);
    }

    /// Decides on an event, for somebody.
    pub(super) fn emit_by(&mut self, actor: Option<Actor>, step: Option<usize>, body: Body) {
        let attempt = step.filter(|_| about_attempt(&body)).map(|index| {
            let leasing = matches!(body, Body::AttemptLeased { .. });
            self.workflow.steps[index].attempt + u32::from(leasing)
        });
        let event = Event {
            seq: self.workflow.head + 1,
            at: self.env.now,
            step: step.map(|index| self.workflow.plan.id_of(index).clone()),
            attempt,
            actor,
            body,
        };
        self.workflow.apply(&event);
        self.events.push(event);
    }

    /// Decides that the workflow goes on by another plan.
    pub(super) fn emit_replanned(&mut self, actor: Actor, reason: String, plan: &Arc<Plan>) {
        let event = Event {
            seq: self.workflow.head + 1,
            at: self.env.now,
            step: None,
            attempt: None,
            actor: Some(actor),
            body: Body::Replanned {
                definition: Arc::clone(&plan.definition.name),
                version: plan.definition.version,
                definition_digest: plan.definition_digest,
                plan: plan.digest,
                reason,
            },
        };
        self.workflow.replan(&event, plan);
        self.events.push(event);
    }

    fn handle(&mut self, input: Input) -> Reply {
        match input {
            Input::Tick => Reply::Noted,
            Input::Lease {
                step,
                worker,
                incarnation,
                pool,
            } => attempt::lease(self, step, worker, incarnation, pool),
            Input::Ack { step, fence } => attempt::ack(self, step, fence),
            Input::Unacked {
                step,
                fence,
                reason,
            } => attempt::unacked(self, step, fence, reason),
            Input::LookEnded { step, fence } => attempt::look_ended(self, step, fence),
            Input::Checkpoint {
                step,
                fence,
                number,
                data,
            } => attempt::checkpoint(self, step, fence, number, data),
            Input::Violation {
                step,
                fence,
                code,
                message,
            } => attempt::violation(self, step, fence, code, message),
            Input::Result {
                step,
                fence,
                outcome,
            } => attempt::result(self, step, fence, outcome),
            Input::LeaseLost {
                step,
                fence,
                reason,
            } => attempt::lost(self, step, fence, reason),
            Input::HeartbeatTimedOut { step, fence } => {
                attempt::heartbeat_timed_out(self, step, fence)
            }
            Input::ObjectUnreadable { object, message } => {
                objects::unreadable(self, object, &message);
                Reply::Noted
            }
            Input::Restored { head } => {
                if !self.workflow.is_ended() {
                    let epoch = self.env.epoch;
                    self.emit(None, Body::Restored { epoch, head });
                }
                Reply::Noted
            }
            Input::Act { actor, reason, act } => act::act(self, actor, reason, act),
        }
    }

    /// Adds what follows from time and state, until nothing does.
    fn settle(&mut self) {
        loop {
            let before = self.events.len();
            if !self.workflow.is_ended() {
                due::due(self);
            }
            match &self.workflow.course {
                Course::Ended(_) => {}
                Course::Forward => advance::forward(self),
                Course::Unwinding { .. } => advance::unwind(self),
            }
            if self.events.len() == before {
                return;
            }
        }
    }
}

/// True for events that belong to the attempt under way.
fn about_attempt(body: &Body) -> bool {
    match body {
        Body::AttemptLeased { .. }
        | Body::OfferReverted { .. }
        | Body::AttemptAcked { .. }
        | Body::LookEnded { .. }
        | Body::CheckpointStored { .. }
        | Body::AttemptStopping { .. }
        | Body::AttemptYielded { .. }
        | Body::AttemptSucceeded { .. }
        | Body::AttemptFailed { .. }
        | Body::AttemptCancelled { .. }
        | Body::AttemptLost { .. }
        | Body::AttemptCompensated { .. }
        | Body::ViolationSeen { .. } => true,
        Body::Created(_)
        | Body::PauseRequested { .. }
        | Body::Resumed { .. }
        | Body::UnwindingStarted { .. }
        | Body::Completed {}
        | Body::Cancelled { .. }
        | Body::RolledBack {}
        | Body::Terminated { .. }
        | Body::Removed { .. }
        | Body::Replanned { .. }
        | Body::Restored { .. }
        | Body::StepScheduled { .. }
        | Body::StepNotScheduled { .. }
        | Body::StepSkipped { .. }
        | Body::StepCancelled {}
        | Body::StepRetried { .. }
        | Body::StepTimedOut { .. }
        | Body::GuardEnded {}
        | Body::GateOpened { .. }
        | Body::GateExpired { .. }
        | Body::GateVoted { .. }
        | Body::GateApproved { .. }
        | Body::GateRejected { .. }
        | Body::TimerStarted { .. }
        | Body::TimerFired {}
        | Body::ItemsKnown { .. }
        | Body::ItemsEnded {}
        | Body::CompensationScheduled {}
        | Body::StepKept {}
        | Body::ManualCompensationNeeded { .. } => false,
    }
}
