//! [`Workflow::apply`]: the only thing that changes a workflow, when it runs and when it is recovered.

use std::{sync::Arc, time::Duration};

use super::{
    event::{Body, Event, Next, PauseCause, SkipCause, StepFailure, StopReason},
    state::{Course, End, Lease, Pause, Phase, Step, Workflow},
};
use crate::{
    ids::{Actor, Digest, Fence},
    time::Timestamp,
};

impl Workflow {
    /// Takes one event into the state.
    ///
    /// # Panics
    /// When the event is illegal in this state. In the engine that is a bug; in a stored stream it is damage, and the
    /// caller quarantines the stream.
    pub fn apply(&mut self, event: &Event) {
        assert_eq!(event.seq, self.head + 1, "events come in order");
        assert!(!self.is_ended(), "{:?} after the end", event.body);
        self.head = event.seq;
        let index = event.step.as_ref().map(|id| {
            self.plan
                .index_of(id.as_str())
                .unwrap_or_else(|| panic!("{id} is not a step of {:?}", self.plan))
        });
        match index {
            None => self.apply_to_workflow(event),
            Some(index) => {
                if let Body::ItemsKnown { items } = &event.body {
                    let plan = self
                        .plan
                        .with_items(index, items)
                        .expect("items were checked before they became known");
                    self.steps
                        .resize_with(plan.definition.nodes.len(), Step::default);
                    self.plan = Arc::new(plan);
                }
                self.apply_to_start_order(index, event);
                let before = self.steps[index].phase;
                self.steps[index].apply(event, self.observe_all);
                let step = &mut self.steps[index];
                if step.phase != before {
                    step.phase_since = Some(event.at);
                }
            }
        }
    }

    fn apply_to_workflow(&mut self, event: &Event) {
        match &event.body {
            Body::PauseRequested { cause, reason } => {
                if self.pause.is_none() {
                    self.pause = Some(Pause {
                        cause: *cause,
                        since: event.at,
                        actor: event.actor.clone(),
                        reason: reason.clone(),
                    });
                }
            }
            Body::Resumed { .. } => self.resume(event.at),
            Body::UnwindingStarted { cause, .. } => {
                assert!(self.course == Course::Forward, "unwinding starts once");
                self.course = Course::Unwinding {
                    since: event.at,
                    cause: cause.clone(),
                };
                if event.actor.is_some() {
                    // Whoever cancels a paused workflow wants it taken back now.
                    self.pause = None;
                }
                for (index, step) in self.steps.iter_mut().enumerate() {
                    // Guards that may have acted go on until their turn to be taken back comes.
                    if !self.plan.is_guard(index) || step.acked == step.refused {
                        step.give_up();
                    }
                }
            }
            Body::Completed {} => self.end(event.at, End::Completed),
            Body::RolledBack {} => self.end(event.at, End::RolledBack),
            Body::Cancelled { .. } => self.end(event.at, End::Cancelled),
            Body::Terminated { reason, .. } => {
                self.end(
                    event.at,
                    End::Terminated {
                        reason: reason.clone(),
                    },
                );
            }
            Body::Removed { message } => self.end(
                event.at,
                End::Removed {
                    message: message.clone(),
                },
            ),
            Body::Restored { .. } => {
                self.observe_all = true;
                for step in &mut self.steps {
                    step.forget_lease(event.at);
                }
                self.pause = Some(Pause {
                    cause: PauseCause::Restored,
                    since: event.at,
                    actor: event.actor.clone(),
                    reason: String::new(),
                });
            }
            Body::Replanned { .. } => {
                panic!("the caller hands over the plan: see Workflow::replan")
            }
            Body::Created(_)
            | Body::StepScheduled { .. }
            | Body::StepNotScheduled { .. }
            | Body::StepSkipped { .. }
            | Body::StepCancelled {}
            | Body::StepRetried { .. }
            | Body::StepTimedOut { .. }
            | Body::AttemptLeased { .. }
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
            | Body::ViolationSeen { .. }
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
            | Body::AttemptCompensated { .. }
            | Body::StepKept {}
            | Body::ManualCompensationNeeded { .. } => {
                panic!("{:?} is not about the workflow as a whole", event.body)
            }
        }
    }

    fn resume(&mut self, at: Timestamp) {
        let pause = self
            .pause
            .take()
            .expect("only a paused workflow is resumed");
        let paused_for = at.since(pause.since);
        for step in &mut self.steps {
            if step
                .scheduled_at
                .is_some_and(|scheduled| scheduled <= pause.since)
                && step.ended_at.is_none()
            {
                step.paused_for += paused_for;
                if step.phase == Phase::Ready {
                    step.ready_at = Some(at);
                }
            }
        }
    }

    fn end(&mut self, at: Timestamp, end: End) {
        self.course = Course::Ended(end);
        self.ended_at = Some(at);
        self.pause = None;
    }

    fn apply_to_start_order(&mut self, index: usize, event: &Event) {
        let Body::AttemptLeased { fence, .. } = &event.body else {
            if matches!(event.body, Body::AttemptAcked { .. }) {
                self.started_at.get_or_insert(event.at);
                if !self.steps[index].backward && !self.starts.contains(&index) {
                    self.starts.push(index);
                }
            }
            return;
        };
        assert!(fence.counter > self.lease_counter, "fences grow");
        self.lease_counter = fence.counter;
    }
}

impl Step {
    fn lease_of(&mut self, fence: Fence) -> &mut Lease {
        let lease = self.lease.as_deref_mut().expect("the attempt has a lease");
        assert_eq!(
            lease.fence, fence,
            "only the lease in force can change the step"
        );
        lease
    }

    /// Who has approved a gate on this evidence.
    pub(super) fn votes(&self, evidence: Digest) -> &[Actor] {
        if self.evidence == Some(evidence) {
            &self.approvals
        } else {
            &[]
        }
    }

    fn expect(&self, phases: &[Phase], event: &Event) {
        assert!(
            phases.contains(&self.phase),
            "{:?} is illegal in {:?}",
            event.body,
            self.phase
        );
    }

    fn apply(&mut self, event: &Event, observe_all: bool) {
        use Phase::{Blocked, Leased, Ready, Running};
        match &event.body {
            Body::StepScheduled {
                installation,
                params,
            } => {
                self.expect(&[Blocked], event);
                self.installation = Some(installation.clone());
                self.params = Some(Arc::clone(params));
                self.schedule(event.at);
                self.observe_first = observe_all;
            }
            Body::StepNotScheduled { failure } => {
                self.expect(&[Blocked], event);
                self.wait_for_operator(failure.clone());
            }
            Body::StepSkipped { output, cause, .. } => {
                if *cause == SkipCause::When {
                    self.expect(&[Blocked], event);
                } else {
                    assert!(!self.phase.is_leased(), "a running step is not skipped");
                }
                self.output = output.as_ref().map(Arc::clone);
                self.object = None;
                // By an operator, while it is taken back: whatever was left has been dealt with by hand.
                self.end(
                    if self.backward {
                        Phase::Kept
                    } else {
                        Phase::Skipped
                    },
                    event.at,
                );
            }
            Body::StepCancelled {} => {
                assert!(!self.phase.is_leased(), "a running step is stopped first");
                self.end(Phase::Cancelled, event.at);
            }
            Body::StepRetried {
                generation, params, ..
            } => {
                self.generation = *generation;
                if let Some(params) = params {
                    self.params = Some(Arc::clone(params));
                }
                self.failures = 0;
                self.losses = 0;
                self.paused_for = Duration::ZERO;
                self.ended_at = None;
                if self.installation.is_none() {
                    // A gate, or a step whose parameters had no value: its turn comes again.
                    self.phase = Blocked;
                } else {
                    self.observe_first = !self.backward;
                    self.scheduled_at = Some(event.at);
                    self.ready(event.at);
                }
            }
            Body::StepTimedOut { failure } => {
                assert!(
                    matches!(self.phase, Ready | Phase::Backoff { .. }),
                    "only what waits times out"
                );
                if self.backward {
                    self.failure = Some(Box::new((self.attempt, failure.clone())));
                    self.phase = Phase::Stuck;
                } else {
                    self.wait_for_operator(failure.clone());
                }
            }
            Body::AttemptLeased {
                fence,
                worker,
                incarnation,
                pool,
                observe_first,
            } => {
                assert!(
                    matches!(self.phase, Ready | Phase::Backoff { .. }),
                    "only what is ready is leased"
                );
                self.phase = Leased;
                self.attempt += 1;
                self.lease = Some(Box::new(Lease {
                    fence: *fence,
                    worker: worker.clone(),
                    incarnation: Arc::clone(incarnation),
                    pool: pool.clone(),
                    leased_at: event.at,
                    acked_at: None,
                    observe_first: *observe_first,
                    stopping: None,
                    checkpoint: 0,
                    violation: None,
                }));
            }
            Body::OfferReverted { fence, .. } => {
                self.expect(&[Leased], event);
                self.lease_of(*fence);
                self.attempt -= 1;
                self.ready(event.at);
            }
            Body::AttemptAcked { fence } => {
                self.expect(&[Leased], event);
                self.lease_of(*fence).acked_at = Some(event.at);
                self.phase = Running;
                self.started_at.get_or_insert(event.at);
                if !self.backward {
                    self.acked += 1;
                }
            }
            Body::LookEnded { fence } => {
                self.expect(&[Running], event);
                self.lease_of(*fence);
                self.found_undone = true;
            }
            Body::CheckpointStored {
                fence,
                number,
                data,
            } => {
                self.expect(&[Running], event);
                self.lease_of(*fence).checkpoint = *number;
                self.checkpoint = Some(Arc::clone(data));
            }
            Body::AttemptStopping { fence, reason } => {
                self.expect(&[Running], event);
                self.lease_of(*fence).stopping = Some(*reason);
            }
            Body::AttemptYielded { fence } => {
                self.expect(&[Running], event);
                self.lease_of(*fence);
                self.observe_first = true;
                self.ready(event.at);
            }
            Body::AttemptSucceeded {
                fence,
                output,
                object,
                observed,
            } => {
                self.expect(&[Running], event);
                self.lease_of(*fence);
                self.found_undone |= observe_all && !observed;
                self.object = *object;
                self.output = object.is_none().then(|| Arc::clone(output));
                self.end(Phase::Succeeded, event.at);
            }
            Body::AttemptFailed {
                fence,
                failure,
                then,
            } => {
                self.expect(&[Running], event);
                self.lease_of(*fence);
                self.failures += 1;
                if failure.certainty == super::event::Certainty::Refused && !self.backward {
                    self.refused += 1;
                }
                self.failure = Some(Box::new((self.attempt, failure.clone())));
                self.follow(*then, event.at);
            }
            Body::AttemptCancelled { fence } => {
                self.expect(&[Running], event);
                self.lease_of(*fence);
                self.follow(Next::Stop, event.at);
            }
            Body::AttemptLost {
                fence,
                reason,
                then,
            } => {
                self.expect(&[Running], event);
                let stopping = self.lease_of(*fence).stopping;
                self.losses = self.losses_with(event.at);
                self.observe_first = true;
                if matches!(then, Next::Pause | Next::Stick | Next::Fail) {
                    let failure = if stopping == Some(StopReason::ScheduleToClose) {
                        StepFailure::timed_out(StopReason::ScheduleToClose)
                    } else {
                        StepFailure::worker_lost(self.losses, reason)
                    };
                    self.failure = Some(Box::new((self.attempt, failure)));
                }
                self.follow(*then, event.at);
            }
            Body::ViolationSeen { fence, code, .. } => {
                self.expect(&[Running], event);
                self.lease_of(*fence).violation = Some(code.clone());
            }
            Body::GuardEnded {} => {
                assert!(!self.phase.is_leased(), "a running guard is asked to stop");
                self.end(Phase::Succeeded, event.at);
            }
            Body::GateOpened {
                expires_at,
                evidence,
            } => {
                self.expect(&[Blocked], event);
                self.scheduled_at = Some(event.at);
                self.evidence = Some(*evidence);
                self.failure = None;
                self.phase = Phase::Waiting { until: *expires_at };
            }
            Body::GateExpired { expires_at } => {
                assert!(
                    matches!(self.phase, Phase::Waiting { .. }),
                    "only an open gate expires"
                );
                self.approvals.clear();
                self.phase = Phase::Waiting { until: *expires_at };
            }
            Body::GateVoted { evidence, .. } => {
                assert!(
                    matches!(self.phase, Phase::Waiting { .. } | Phase::Paused),
                    "only an open gate is approved"
                );
                if self.evidence != Some(*evidence) {
                    self.evidence = Some(*evidence);
                    self.approvals.clear();
                }
                self.approvals.extend(event.actor.clone());
            }
            Body::GateApproved { evidence, .. } => {
                assert!(
                    matches!(self.phase, Phase::Waiting { .. } | Phase::Paused),
                    "only an open gate is approved"
                );
                self.evidence = Some(*evidence);
                self.approvals.extend(event.actor.clone());
                self.end(Phase::Succeeded, event.at);
            }
            Body::GateRejected { reason } => {
                assert!(
                    matches!(self.phase, Phase::Waiting { .. }),
                    "only an open gate is rejected"
                );
                let who = event
                    .actor
                    .as_ref()
                    .map_or_else(|| "somebody".to_owned(), ToString::to_string);
                let why = if reason.is_empty() {
                    String::new()
                } else {
                    format!(": {reason}")
                };
                self.wait_for_operator(StepFailure::new(
                    "gate-rejected",
                    super::event::Certainty::Refused,
                    format!("{who} rejected the gate{why}"),
                ));
            }
            Body::TimerStarted { fires_at } => {
                self.expect(&[Blocked], event);
                self.scheduled_at = Some(event.at);
                self.phase = Phase::Waiting { until: *fires_at };
            }
            Body::TimerFired {} => {
                assert!(
                    matches!(self.phase, Phase::Waiting { .. }),
                    "only a started timer fires"
                );
                self.end(Phase::Succeeded, event.at);
            }
            Body::ItemsKnown { .. } => {
                self.expect(&[Blocked], event);
                self.scheduled_at = Some(event.at);
                self.failure = None;
                self.phase = Phase::Items;
            }
            Body::ItemsEnded {} => {
                self.expect(&[Phase::Items], event);
                self.end(Phase::Succeeded, event.at);
            }
            Body::CompensationScheduled {} => {
                assert!(
                    !self.phase.is_leased(),
                    "a running step is stopped before it is taken back"
                );
                *self = Self {
                    backward: true,
                    acked: self.acked,
                    refused: self.refused,
                    generation: self.generation,
                    installation: self.installation.take(),
                    params: self.params.take(),
                    output: self.output.take(),
                    object: self.object.take(),
                    checkpoint: self.checkpoint.take(),
                    started_at: None,
                    ..Self::default()
                };
                self.schedule(event.at);
            }
            Body::AttemptCompensated { fence } => {
                self.expect(&[Running], event);
                self.lease_of(*fence);
                self.end(Phase::Compensated, event.at);
            }
            Body::StepKept {} => {
                self.backward = true;
                self.end(Phase::Kept, event.at);
            }
            Body::ManualCompensationNeeded { note } => {
                self.backward = true;
                self.failure = Some(Box::new((
                    0,
                    StepFailure::new(
                        "manual-compensation",
                        super::event::Certainty::Failed,
                        note.clone(),
                    ),
                )));
                self.phase = Phase::Stuck;
            }
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
            | Body::Restored { .. } => panic!("{:?} is not about a step", event.body),
        }
    }

    fn schedule(&mut self, at: Timestamp) {
        self.scheduled_at = Some(at);
        self.paused_for = Duration::ZERO;
        self.ready(at);
    }

    fn ready(&mut self, at: Timestamp) {
        self.phase = Phase::Ready;
        self.ready_at = Some(at);
    }

    fn end(&mut self, phase: Phase, at: Timestamp) {
        self.phase = phase;
        self.ended_at = Some(at);
    }

    fn wait_for_operator(&mut self, failure: StepFailure) {
        self.failure = Some(Box::new((self.attempt, failure)));
        self.phase = Phase::Paused;
    }

    fn follow(&mut self, next: Next, at: Timestamp) {
        match next {
            Next::Retry { at: until } => {
                self.observe_first = !self.backward;
                self.ready_at = Some(until);
                self.phase = if until > at {
                    Phase::Backoff { until }
                } else {
                    Phase::Ready
                };
            }
            Next::Pause => self.phase = Phase::Paused,
            Next::Fail => self.end(Phase::Failed, at),
            Next::Stick => self.phase = Phase::Stuck,
            Next::Stop => self.end(Phase::Cancelled, at),
        }
    }

    /// The workflow unwinds: what has no attempt under way will have none. Steps that may have started keep what their
    /// compensation needs.
    fn give_up(&mut self) {
        match self.phase {
            Phase::Blocked
            | Phase::Ready
            | Phase::Waiting { .. }
            | Phase::Items
            | Phase::Backoff { .. }
            | Phase::Paused => {
                self.phase = Phase::Cancelled;
            }
            Phase::Leased
            | Phase::Running
            | Phase::Succeeded
            | Phase::Skipped
            | Phase::Failed
            | Phase::Cancelled
            | Phase::Compensated
            | Phase::Kept
            | Phase::Stuck => {}
        }
    }

    /// The store was restored: whoever held the lease held it of another future.
    fn forget_lease(&mut self, at: Timestamp) {
        if self.phase.is_leased() {
            self.ready(at);
            self.phase_since = Some(at);
        }
        self.observe_first = !self.backward;
        self.found_undone = false;
    }
}
