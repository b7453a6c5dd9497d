//! What goes into workflows, and what people see of them.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use drover_core::{
    audit::AuditEvent,
    ids::{Fence, WorkflowId},
    lease::Need,
    plan::Plan,
    stream::StreamId,
    time::Timestamp,
    view,
    workflow::{Act, Env, Input, Live, Reply, Workflow, hold::HoldReason},
};
use tokio::sync::watch;

use super::{
    Engine, Slot,
    ended::Ended,
    matching::{QueueKey, QueueNeed},
    messages::{ActOn, Follower, Page, ToWorker},
};
use crate::{
    clock::{Clock as _, SystemClock},
    refusal::{Kind, Refusal},
};

impl Engine {
    /// Takes an input into an open workflow; `None` when there is none.
    pub(super) fn react(&mut self, id: &WorkflowId, input: Input) -> Option<Reply> {
        let Some(Slot::Open(workflow)) = self.workflows.get_mut(id) else {
            return None;
        };
        let facts = drover_core::facts::Present {
            pools: &self.pools,
            leases: &self.leases,
        };
        let env = Env {
            now: self.now,
            epoch: self.epoch,
            facts: &facts,
        };
        let before = Arc::clone(&workflow.plan);
        let decision = workflow.react(input, &env);
        let plan = Arc::clone(&workflow.plan);
        if plan.digest != before.digest {
            self.renumber(id, &before, &plan);
        }
        if !decision.events.is_empty() {
            self.streams
                .push_events(&StreamId::Workflow(id.clone()), &decision.events);
            self.metrics.events(&decision.events);
            self.effects(id, &decision.events);
        } else if !self.touched.contains(id) {
            // Time may have moved a deadline.
            self.touched.insert(id.clone());
        }
        Some(decision.reply)
    }

    /// A workflow goes on by another plan: what is kept by the indices of its steps moves to their new ones.
    fn renumber(&mut self, id: &WorkflowId, before: &Plan, plan: &Plan) {
        let number = |index: usize| plan.index_of(before.id_of(index).as_str());
        self.leases.renumber(id, number);
        let progress = std::mem::take(&mut self.progress);
        self.progress = progress
            .into_iter()
            .filter_map(|((workflow, index), reported)| {
                if workflow == *id {
                    Some(((workflow, number(index)?), reported))
                } else {
                    Some(((workflow, index), reported))
                }
            })
            .collect();
        self.queues.forget(id);
    }

    pub(super) fn act(&mut self, request: ActOn) {
        let ActOn {
            id,
            act,
            dry_run,
            actor,
            reason,
            answer,
        } = request;
        let word = act_word(&act);
        let result = self
            .check_full()
            .and_then(|()| self.open(&id).map(|_| ()))
            .and_then(|()| {
                let input = Input::Act {
                    actor: actor.clone(),
                    reason: reason.clone(),
                    act,
                };
                let reply = if dry_run {
                    let facts = self.facts();
                    let env = Env {
                        now: self.now,
                        epoch: self.epoch,
                        facts: &facts,
                    };
                    self.open(&id)?.decide(input, &env).reply
                } else {
                    self.react(&id, input)
                        .ok_or_else(|| Refusal::not_found("workflow", id.as_str()))?
                };
                match reply {
                    Reply::Done(message) => Ok(message),
                    Reply::Refused(rejection) => Err(rejection.into()),
                    Reply::Noted | Reply::Leased(_) | Reply::NotReady | Reply::Verdict(_) => {
                        Ok("nothing to do".to_owned())
                    }
                }
            });
        let result = result.and_then(|message| {
            if !dry_run {
                let entry = AuditEvent::Acted {
                    act: format!("workflow.{word}"),
                    target: id.to_string(),
                    reason,
                    message: message.clone(),
                };
                self.record_audit(&actor, entry);
            }
            Ok((self.describe(&id)?, message))
        });
        self.outbox.answer(move || drop(answer.send(result)));
    }

    pub(super) fn open(&self, id: &WorkflowId) -> Result<&Workflow, Refusal> {
        match self.workflows.get(id) {
            Some(Slot::Open(workflow)) => Ok(workflow),
            Some(Slot::Ended(ended)) => Err(Refusal::new(
                Kind::Refused,
                "ended",
                format!("{id} has ended ({}); nothing can be changed", ended.state),
            )),
            Some(Slot::Retired(entry)) => Err(self.retired(id, *entry)),
            Some(Slot::Quarantined(why)) => Err(Refusal::new(
                Kind::Refused,
                "quarantined",
                format!("{id} is quarantined: {why}"),
            )),
            None => Err(Refusal::not_found("workflow", id.as_str())),
        }
    }

    pub(super) fn describe(&self, id: &WorkflowId) -> Result<view::Workflow, Refusal> {
        match self.workflows.get(id) {
            None => Err(Refusal::not_found("workflow", id.as_str())),
            Some(Slot::Open(workflow)) => Ok(self.view(workflow)),
            Some(Slot::Retired(entry)) => Err(self.retired(id, *entry)),
            Some(Slot::Ended(ended)) => {
                match super::recover::fold(&*self.store, &self.catalog, id) {
                    Ok(workflow) => Ok(self.view(&workflow)),
                    Err(why) => {
                        tracing::error!(workflow = %id, why, "an ended workflow no longer folds");
                        Ok(ended.view(id))
                    }
                }
            }
            Some(Slot::Quarantined(why)) => Ok(quarantined(id, why)),
        }
    }

    /// A workflow as it stands.
    pub(super) fn view(&self, workflow: &Workflow) -> view::Workflow {
        let facts = self.facts();
        let env = Env {
            now: self.now,
            epoch: self.epoch,
            facts: &facts,
        };
        workflow.describe(&env, &self.live())
    }

    /// What only the shell knows.
    pub(super) fn live(&self) -> EngineLive<'_> {
        EngineLive(self)
    }

    /// A page of workflows, ordered by id.
    pub(super) fn list(&self, after: Option<&WorkflowId>, limit: usize) -> Page {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self
            .workflows
            .range::<WorkflowId, _>((start, Bound::Unbounded))
            .filter(|(_, slot)| !matches!(slot, Slot::Retired(_)));
        let mut last = None;
        let workflows: Vec<view::Workflow> = rest
            .by_ref()
            .take(limit)
            .map(|(id, slot)| {
                last = Some(id.clone());
                match slot {
                    Slot::Open(workflow) => without_outputs(self.view(workflow)),
                    Slot::Ended(ended) => ended.view(id),
                    Slot::Quarantined(why) => quarantined(id, why),
                    Slot::Retired(_) => unreachable!("they were left out"),
                }
            })
            .collect();
        let next = last.filter(|_| rest.next().is_some());
        Page { workflows, next }
    }

    pub(super) fn watch(
        &mut self,
        id: &WorkflowId,
    ) -> Result<watch::Receiver<Arc<view::Workflow>>, Refusal> {
        if let Some(sender) = self.watchers.get(id) {
            return Ok(sender.subscribe());
        }
        let (sender, receiver) = watch::channel(Arc::new(without_outputs(self.describe(id)?)));
        if matches!(self.workflows.get(id), Some(Slot::Open(_))) {
            self.watchers.insert(id.clone(), sender);
        }
        Ok(receiver)
    }

    pub(super) fn follow(&mut self, stream: &StreamId) -> Result<Follower, Refusal> {
        let mut may_grow = true;
        if let StreamId::Workflow(id) = stream {
            match self.workflows.get(id) {
                None => return Err(Refusal::not_found("workflow", id.as_str())),
                Some(Slot::Open(_)) => {}
                Some(Slot::Retired(entry)) => return Err(self.retired(id, *entry)),
                Some(Slot::Ended(_) | Slot::Quarantined(_)) => may_grow = false,
            }
        }
        let store = Arc::clone(&self.store);
        let head = match self.followers.get(stream) {
            Some(sender) => sender.subscribe(),
            None => {
                let (sender, receiver) = watch::channel(self.streams.head(stream).seq);
                if may_grow {
                    self.followers.insert(stream.clone(), sender);
                }
                receiver
            }
        };
        Ok(Follower { store, head })
    }

    /// Offers steps that wait to workers that have credit.
    pub(super) fn offer(&mut self) {
        self.refresh();
        if self.space.is_full() {
            return;
        }
        for (key, need) in self.queues.take_keys() {
            loop {
                let wanted = Need {
                    installation: &key.installation,
                    kind: &key.kind,
                    class: &need.class,
                    reach: &need.reach,
                    critical: !key.not_critical,
                    with_object: key.with_object,
                };
                let Some((worker, presence)) = self.leases.pick(&wanted, self.live_now) else {
                    break;
                };
                let (worker, incarnation, pool) = (
                    worker.clone(),
                    Arc::clone(&presence.incarnation),
                    presence.pool.clone(),
                );
                let Some((id, step)) = self.queues.pop(&key) else {
                    break;
                };
                let input = Input::Lease {
                    step,
                    worker: worker.clone(),
                    incarnation,
                    pool,
                };
                let Some(Reply::Leased(offer)) = self.react(&id, input) else {
                    continue;
                };
                self.grant(&id, step, &worker, &offer, false, None);
                if let Some(session) = self.sessions.of(&worker) {
                    self.outbox.tell(session, ToWorker::Offer(id, offer));
                }
            }
        }
        self.refresh();
    }

    /// Looks again at every workflow that something happened to: what it wants, and when it changes by itself.
    fn refresh(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            let Some(Slot::Open(workflow)) = self.workflows.get(&id) else {
                continue;
            };
            let facts = drover_core::facts::Present {
                pools: &self.pools,
                leases: &self.leases,
            };
            let env = Env {
                now: self.now,
                epoch: self.epoch,
                facts: &facts,
            };
            for wanted in workflow.wanted(&env) {
                let declaration = workflow.plan.nodes[wanted.step]
                    .kind
                    .as_ref()
                    .expect("only work is wanted");
                let key = QueueKey {
                    not_critical: !wanted.critical,
                    with_object: wanted.with_object,
                    installation: wanted.installation,
                    kind: declaration.kind.clone(),
                };
                let need = || QueueNeed {
                    class: Arc::from(declaration.class.as_str()),
                    reach: Arc::from(declaration.reach.clone()),
                };
                self.queues.push(key, need, (id.clone(), wanted.step));
            }
            for object in workflow.wanted_objects() {
                self.readings.want(object, &id, &self.settings.objects);
            }
            self.timers.set(&id, workflow.next_deadline(&env));
            self.changed.insert(id);
        }
    }

    /// Tells watchers, and puts away what has ended. Called once everything is durable.
    pub(super) fn notify(&mut self) {
        for id in std::mem::take(&mut self.changed) {
            let Some(Slot::Open(workflow)) = self.workflows.get(&id) else {
                continue;
            };
            let ended = workflow.is_ended();
            if let Some(sender) = self.watchers.get(&id) {
                let is_watched = sender
                    .send(Arc::new(without_outputs(self.view(workflow))))
                    .is_ok();
                if !is_watched || ended {
                    self.watchers.remove(&id);
                }
            }
            if ended {
                self.put_away(&id);
            }
        }
    }

    /// An ended workflow needs no state any more; the store has it.
    fn put_away(&mut self, id: &WorkflowId) {
        let Some(Slot::Open(workflow)) = self.workflows.get(id) else {
            return;
        };
        let ended = Ended::new(workflow, self.view(workflow));
        self.metrics.ended(ended.state);
        self.timers.set(id, None);
        self.followers.remove(&StreamId::Workflow(id.clone()));
        self.keep_ended(id, ended);
    }

    /// Open workflows by state.
    pub(super) fn count_by_state(&self) -> BTreeMap<view::WorkflowState, u32> {
        let facts = self.facts();
        let env = Env {
            now: self.now,
            epoch: self.epoch,
            facts: &facts,
        };
        let mut counts = BTreeMap::new();
        for slot in self.workflows.values() {
            if let Slot::Open(workflow) = slot {
                *counts.entry(workflow.state(&env)).or_default() += 1;
            }
        }
        counts
    }
}

/// Outputs are for the one workflow that is described, not for lists, nor for each look of whoever watches.
fn without_outputs(mut view: view::Workflow) -> view::Workflow {
    for step in view.steps.iter_mut().chain(&mut view.guards) {
        step.output = None;
    }
    view
}

fn quarantined(id: &WorkflowId, why: &str) -> view::Workflow {
    view::Workflow {
        id: id.to_string(),
        definition: view::DefinitionRef::default(),
        state: view::WorkflowState::Quarantined,
        cluster: String::new(),
        installation: String::new(),
        region: String::new(),
        partition: String::new(),
        wave: String::new(),
        created_at: None,
        started_at: None,
        ended_at: None,
        current: Vec::new(),
        holds: vec![view::Hold {
            code: "quarantined".to_owned(),
            message: format!("its stream is damaged: {why}"),
            since: None,
            clears_at: None,
            unblock: "restore the store from a backup; the other workflows run on".to_owned(),
            step: String::new(),
        }],
        steps: Vec::new(),
        guards: Vec::new(),
        outcome: Some(view::Outcome {
            code: "quarantined".to_owned(),
            message: why.to_owned(),
        }),
        trace_id: String::new(),
        head: 0,
        pivot_passed: false,
        not_looked: String::new(),
    }
}

fn act_word(act: &Act) -> &'static str {
    match act {
        Act::Pause => "pause",
        Act::Resume => "resume",
        Act::Cancel => "cancel",
        Act::Terminate => "terminate",
        Act::Retry { .. } => "retry",
        Act::Skip { .. } => "skip",
        Act::Approve { .. } => "approve",
        Act::Reject { .. } => "reject",
        Act::Replan { .. } => "replan",
    }
}

/// What the engine knows of running attempts and waiting steps.
pub(super) struct EngineLive<'a>(&'a Engine);

impl Live for EngineLive<'_> {
    fn progress(
        &self,
        workflow: &Workflow,
        step: usize,
        fence: Fence,
    ) -> Option<(view::Progress, bool)> {
        let (known, progress, observing) = self.0.progress.get(&(workflow.id.clone(), step))?;
        (*known == fence).then(|| (progress.clone(), *observing))
    }

    fn lease_expires_at(&self, workflow: &Workflow, step: usize) -> Option<Timestamp> {
        let remaining = self
            .0
            .leases
            .expires_in(&(workflow.id.clone(), step), self.0.live_now)?;
        Some(SystemClock.now().after(remaining))
    }

    fn why_no_worker(&self, workflow: &Workflow, step: usize) -> Option<HoldReason> {
        let declaration = workflow.plan.nodes[step].kind.as_ref()?;
        let need = Need {
            installation: workflow.steps[step].installation.as_ref()?,
            kind: &declaration.kind,
            class: &declaration.class,
            reach: &declaration.reach,
            critical: workflow.in_critical_span() && workflow.plan.critical.contains(&step),
            with_object: workflow.fetches_object(step),
        };
        self.0.leases.why_nobody(&need, self.0.live_now)
    }
}
