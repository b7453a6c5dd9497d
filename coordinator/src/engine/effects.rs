//! What follows outside of a workflow from the events that were decided inside it: leases, commands, keys.

use std::sync::Arc;

use drover_core::{
    declaration::LossPolicy,
    ids::{Fence, WorkerId, WorkflowId},
    lease::{Finding, LeaseKey},
    pools::PoolsEvent,
    workflow::{
        Input, Offer, Phase, Workflow,
        event::{Body, Event, StopReason},
    },
};

use super::{
    Engine, Slot,
    messages::{AttemptRef, Command, ToWorker},
};

impl Engine {
    /// Follows new events of a workflow.
    pub(super) fn effects(&mut self, id: &WorkflowId, events: &[Event]) {
        self.touched.insert(id.clone());
        // A lease or a critical span may have ended.
        self.leaving_may_have_ended = true;
        let Some(Slot::Open(workflow)) = self.workflows.get(id) else {
            return;
        };
        let plan = Arc::clone(&workflow.plan);
        for event in events {
            let key = event
                .step
                .as_ref()
                .and_then(|step| plan.index_of(step.as_str()))
                .map(|index| (id.clone(), index));
            match (&event.body, key) {
                (Body::AttemptAcked { .. }, Some(key)) => {
                    self.leases.acked(&key, self.live_now);
                    self.pause_if_asked(&key);
                }
                (
                    Body::AttemptYielded { .. }
                    | Body::AttemptSucceeded { .. }
                    | Body::AttemptFailed { .. }
                    | Body::AttemptCancelled { .. }
                    | Body::AttemptCompensated { .. },
                    Some(key),
                ) => self.free(&key),
                (
                    Body::OfferReverted { fence, .. } | Body::AttemptLost { fence, .. },
                    Some(key),
                ) => {
                    // The worker may be there after all, or come back.
                    let holder = self.holder(&key);
                    self.free(&key);
                    if let Some(worker) = holder {
                        self.command_attempt(&worker, &key, *fence, Command::Superseded);
                    }
                }
                (Body::AttemptStopping { fence, reason }, Some(key)) => {
                    self.ask_to_stop(&key, *fence, *reason)
                }
                (Body::PauseRequested { .. }, None) => self.tell_running(id, Command::Pause),
                (Body::Resumed { .. }, None) if self.pools.brake.is_none() => {
                    self.tell_running(id, Command::Resume);
                }
                (
                    Body::Completed {}
                    | Body::Cancelled { .. }
                    | Body::RolledBack {}
                    | Body::Terminated { .. }
                    | Body::Removed { .. }
                    | Body::Restored { .. },
                    None,
                ) => self.free_all(id),
                _ => {}
            }
        }
    }

    /// A lease was granted.
    pub(super) fn grant(
        &mut self,
        id: &WorkflowId,
        step: usize,
        worker: &WorkerId,
        offer: &Offer,
        acked: bool,
        grace: Option<std::time::Duration>,
    ) {
        let Some(Slot::Open(workflow)) = self.workflows.get(id) else {
            return;
        };
        let node = &workflow.plan.nodes[step];
        let class: Arc<str> = node
            .kind
            .as_ref()
            .map_or_else(|| Arc::from(""), |kind| Arc::from(kind.class.as_str()));
        let finish_critical = match offer.loss_policy {
            LossPolicy::FinishCritical { max } => Some(max),
            LossPolicy::StopAtPermit | LossPolicy::RaceOk => None,
        };
        let heartbeat = node.timeouts.heartbeat;
        let key = (id.clone(), step);
        self.leases.grant(
            worker,
            key,
            offer.fence,
            &class,
            finish_critical,
            heartbeat,
            acked,
            grace,
            self.live_now,
        );
        // The offer must be acked in time.
        self.live_deadline = None;
        self.metrics.offered();
    }

    fn holder(&self, key: &LeaseKey) -> Option<WorkerId> {
        let Some(Slot::Open(workflow)) = self.workflows.get(&key.0) else {
            return None;
        };
        workflow.steps[key.1]
            .lease
            .as_ref()
            .map(|lease| lease.worker.clone())
    }

    /// The attempt, or the offer, has ended: its credit is free.
    fn free(&mut self, key: &LeaseKey) {
        self.leases.ended(key);
        self.progress.remove(key);
        self.queues.touch();
    }

    /// Nothing of the workflow counts any more.
    fn free_all(&mut self, id: &WorkflowId) {
        let Some(Slot::Open(workflow)) = self.workflows.get(id) else {
            return;
        };
        if workflow.is_ended()
            && let Some(key) = &workflow.created.exclusive
        {
            self.exclusive.remove(key);
        }
        let held: Vec<(LeaseKey, Fence, WorkerId)> = workflow
            .steps
            .iter()
            .enumerate()
            .filter_map(|(index, step)| {
                let lease = step.lease.as_ref()?;
                Some(((id.clone(), index), lease.fence, lease.worker.clone()))
            })
            .collect();
        for (key, fence, worker) in held {
            if self.leases.expires_in(&key, self.live_now).is_some() {
                self.free(&key);
                self.command_attempt(&worker, &key, fence, Command::Superseded);
            }
        }
    }

    pub(super) fn ask_to_stop(&mut self, key: &LeaseKey, fence: Fence, reason: StopReason) {
        let Some(worker) = self.holder(key) else {
            return;
        };
        let grace = self.settings.cancel_grace;
        self.command_attempt(&worker, key, fence, |attempt| match reason {
            StopReason::SpanEnded => Command::Stop(attempt),
            StopReason::Cancelled
            | StopReason::StartToClose
            | StopReason::ScheduleToClose
            | StopReason::Heartbeat => Command::Cancel {
                attempt,
                grace,
                reason: reason.as_str(),
            },
        });
    }

    /// Steps of a workflow that a pause reaches: running forward, no guard, outside of a critical span.
    pub(super) fn reached_by_pause(workflow: &Workflow) -> Vec<(usize, Fence, WorkerId)> {
        if workflow.in_critical_span() {
            return Vec::new();
        }
        (0..workflow.steps.len())
            .filter(|&index| {
                let step = &workflow.steps[index];
                step.phase == Phase::Running && !step.backward && !workflow.plan.is_guard(index)
            })
            .filter_map(|index| {
                let lease = workflow.steps[index].lease.as_ref()?;
                lease
                    .stopping
                    .is_none()
                    .then(|| (index, lease.fence, lease.worker.clone()))
            })
            .collect()
    }

    /// Tells every attempt of a workflow that a pause reaches.
    pub(super) fn tell_running(&mut self, id: &WorkflowId, command: fn(AttemptRef) -> Command) {
        let Some(Slot::Open(workflow)) = self.workflows.get(id) else {
            return;
        };
        for (index, fence, worker) in Self::reached_by_pause(workflow) {
            self.command_attempt(&worker, &(id.clone(), index), fence, command);
        }
    }

    /// An attempt that began while a pause or the brake came is told at once.
    pub(super) fn pause_if_asked(&mut self, key: &LeaseKey) {
        let Some(Slot::Open(workflow)) = self.workflows.get(&key.0) else {
            return;
        };
        if workflow.pause.is_none() && self.pools.brake.is_none() {
            return;
        }
        let reached = Self::reached_by_pause(workflow)
            .into_iter()
            .find(|(index, ..)| *index == key.1);
        if let Some((_, fence, worker)) = reached {
            self.command_attempt(&worker, key, fence, Command::Pause);
        }
    }

    /// Says something about an attempt to the worker that has it, when it is connected.
    pub(super) fn command_attempt(
        &mut self,
        worker: &WorkerId,
        key: &LeaseKey,
        fence: Fence,
        command: impl FnOnce(AttemptRef) -> Command,
    ) {
        let Some(Slot::Open(workflow)) = self.workflows.get(&key.0) else {
            return;
        };
        let attempt = AttemptRef {
            workflow: key.0.clone(),
            step: workflow.plan.id_of(key.1).clone(),
            fence,
        };
        let Some(session) = self.sessions.of(worker) else {
            return;
        };
        let number = self.sessions.next_command();
        self.outbox
            .tell(session, ToWorker::Command(number, command(attempt)));
    }

    /// Follows what liveness found out.
    pub(super) fn found(&mut self, finding: Finding) {
        match finding {
            Finding::Unacked {
                key: (id, step),
                fence,
            } => {
                self.react(
                    &id,
                    Input::Unacked {
                        step,
                        fence,
                        reason: Arc::from("not-acked"),
                    },
                );
            }
            Finding::Expired {
                key: (id, step),
                fence,
            } => {
                tracing::warn!(workflow = %id, step, %fence, "a lease expired");
                self.react(
                    &id,
                    Input::LeaseLost {
                        step,
                        fence,
                        reason: Arc::from("lease-expired"),
                    },
                );
            }
            Finding::HeartbeatTimedOut {
                key: (id, step),
                fence,
            } => {
                self.react(&id, Input::HeartbeatTimedOut { step, fence });
            }
            Finding::Silent(installation) => {
                // One alert an installation, however many migrations run there.
                tracing::error!(%installation, "no worker of the installation is heard; its steps wait, nothing is lost");
                self.record_pools(None, PoolsEvent::SilenceBegan { installation });
            }
            Finding::Heard(installation) => {
                tracing::info!(%installation, "a worker of the installation is heard again");
                self.record_pools(None, PoolsEvent::SilenceEnded { installation });
                self.queues.touch();
            }
        }
    }
}
