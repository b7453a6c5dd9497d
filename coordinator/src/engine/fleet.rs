//! Workers, installations and the brake, for people.

use std::collections::BTreeMap;

use drover_core::{
    audit::AuditEvent,
    ids::{Actor, InstallationName, WorkerId, WorkflowId},
    pools::{PoolsEvent, Standing, WorkerRecord},
    view,
    workflow::{Input, Phase, Workflow},
};

use super::{
    Engine, Slot,
    messages::{BrakeReport, Command, ToWorker, WorkerAct, WorkerCommand},
};
use crate::refusal::{Kind, Refusal};

impl Engine {
    pub(super) fn workers(&self) -> Vec<view::Worker> {
        self.pools
            .workers()
            .map(|(record, standing)| self.worker_view(record, standing))
            .collect()
    }

    fn worker_view(&self, record: &WorkerRecord, standing: Standing) -> view::Worker {
        let now = self.leases.worker(&record.worker, self.live_now);
        let connected = now.as_ref().is_some_and(|now| now.connected);
        let suspect = now.as_ref().is_some_and(|now| now.suspect);
        let state = match (standing, connected) {
            (Standing::Dead, _) => view::WorkerState::Dead,
            (_, false) => view::WorkerState::Offline,
            (Standing::Serving | Standing::Draining { .. }, true) if suspect => {
                view::WorkerState::Suspect
            }
            (Standing::Draining { .. }, true) => view::WorkerState::Draining,
            (Standing::Serving, true) => view::WorkerState::Connected,
        };
        let step_name = |key: &drover_core::lease::LeaseKey| match self.workflows.get(&key.0) {
            Some(Slot::Open(workflow)) => format!("{}/{}", key.0, workflow.plan.id_of(key.1)),
            _ => key.0.to_string(),
        };
        view::Worker {
            id: record.worker.to_string(),
            installation: record.installation.to_string(),
            pool: record.pool.to_string(),
            state,
            build: record.build.clone(),
            incarnation: record.incarnation.to_string(),
            reach: record.reach.iter().cloned().collect(),
            kinds: record.kinds.iter().map(ToString::to_string).collect(),
            credits: now
                .as_ref()
                .map_or_else(BTreeMap::new, |now| now.presence.credits.clone()),
            used: now.as_ref().map_or_else(BTreeMap::new, |now| {
                now.used
                    .iter()
                    .filter(|(_, used)| **used > 0)
                    .map(|(class, used)| (class.clone(), *used))
                    .collect()
            }),
            labels: record.labels.clone(),
            last_beat_at: now.as_ref().and_then(|now| now.heard_at),
            connected_at: self.sessions.connected_at(&record.worker),
            attempts: now
                .as_ref()
                .map_or_else(Vec::new, |now| now.attempts.iter().map(step_name).collect()),
            transport: if connected {
                "stream".to_owned()
            } else {
                String::new()
            },
            waits_for: if standing.is_draining() {
                self.waits_for(&record.worker)
            } else {
                Vec::new()
            },
        }
    }

    /// What ends at a drained worker first: its attempts, and critical spans that it is in the middle of.
    fn waits_for(&self, id: &WorkerId) -> Vec<String> {
        let attempts = self
            .leases
            .leases_of(id)
            .into_iter()
            .filter_map(|(key, ..)| {
                let Some(Slot::Open(workflow)) = self.workflows.get(&key.0) else {
                    return None;
                };
                Some(format!("{}/{}", key.0, workflow.plan.id_of(key.1)))
            });
        let spans = self.critical_spans_of(id);
        let spans = spans.into_iter().map(|id| format!("{id} (critical span)"));
        attempts.chain(spans).collect()
    }

    /// Workflows inside their critical span whose newest attempt there was this worker's: between two of its steps, too.
    fn critical_spans_of(&self, id: &WorkerId) -> Vec<WorkflowId> {
        let is_its = |workflow: &Workflow| {
            let leases = workflow.plan.critical.iter();
            let newest = leases
                .filter_map(|&step| workflow.steps[step].lease.as_ref())
                .max_by_key(|lease| lease.fence);
            workflow.in_critical_span() && newest.is_some_and(|lease| lease.worker == *id)
        };
        self.workflows
            .iter()
            .filter(|(_, slot)| matches!(slot, Slot::Open(workflow) if is_its(workflow)))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Sends workers home that are to end once they hold nothing, and hold nothing.
    pub(super) fn dismiss(&mut self) {
        if !std::mem::take(&mut self.leaving_may_have_ended) {
            return;
        }
        let leaving: Vec<WorkerId> = self
            .pools
            .workers()
            .filter(|(_, standing)| *standing == Standing::Draining { exit: true })
            .map(|(record, _)| record.worker.clone())
            .filter(|id| self.waits_for(id).is_empty())
            .collect();
        for id in leaving {
            self.tell_to_drain(&id, true);
        }
    }

    fn tell_to_drain(&mut self, id: &WorkerId, exit: bool) {
        if let Some(session) = self.sessions.of(id) {
            let number = self.sessions.next_command();
            let command = Command::Worker(WorkerCommand::Drain { exit });
            self.outbox
                .tell(session, ToWorker::Command(number, command));
        }
    }

    pub(super) fn act_on_worker(
        &mut self,
        id: &WorkerId,
        act: WorkerAct,
        dry_run: bool,
        actor: &Actor,
        reason: &str,
    ) -> Result<(view::Worker, String), Refusal> {
        if self.pools.worker(id.as_str()).is_none() {
            return Err(Refusal::not_found("worker", id.as_str()));
        }
        let (word, message) = match act {
            WorkerAct::Describe => ("", String::new()),
            WorkerAct::Drain { exit } => ("worker.drain", self.drain(id, exit, dry_run, actor)?),
            WorkerAct::Undrain => ("worker.undrain", self.undrain(id, dry_run, actor)?),
            WorkerAct::DeclareDead => (
                "worker.declare-dead",
                self.declare_dead(id, dry_run, actor)?,
            ),
        };
        if act != WorkerAct::Describe && !dry_run {
            let entry = AuditEvent::Acted {
                act: word.to_owned(),
                target: id.to_string(),
                reason: reason.to_owned(),
                message: message.clone(),
            };
            self.record_audit(actor, entry);
        }
        let (record, standing) = self.pools.worker(id.as_str()).expect("it was found above");
        Ok((self.worker_view(record, standing), message))
    }

    fn drain(
        &mut self,
        id: &WorkerId,
        exit: bool,
        dry_run: bool,
        actor: &Actor,
    ) -> Result<String, Refusal> {
        self.check_full()?;
        self.check_alive(id)?;
        if !dry_run {
            let worker = id.clone();
            self.record_pools(
                Some(actor.clone()),
                PoolsEvent::WorkerDraining { worker, exit },
            );
            self.leases.set_draining(id, true);
            self.tell_to_drain(id, false);
            self.leaving_may_have_ended = true;
        }
        let then = if exit {
            "ends"
        } else {
            "stays idle until it is restarted or undrained"
        };
        let waits_for = self.waits_for(id);
        Ok(if waits_for.is_empty() {
            format!("{id} takes nothing new, holds nothing and {then}")
        } else {
            format!(
                "{id} takes nothing new, finishes {} and then {then}",
                waits_for.join(", ")
            )
        })
    }

    fn undrain(&mut self, id: &WorkerId, dry_run: bool, actor: &Actor) -> Result<String, Refusal> {
        self.check_full()?;
        self.check_alive(id)?;
        if !dry_run {
            let worker = id.clone();
            self.record_pools(Some(actor.clone()), PoolsEvent::WorkerUndrained { worker });
            self.leases.set_draining(id, false);
            self.queues.touch();
        }
        Ok(format!("{id} takes steps again"))
    }

    fn check_alive(&self, id: &WorkerId) -> Result<(), Refusal> {
        match self.pools.worker(id.as_str()) {
            Some((_, Standing::Dead)) => Err(Refusal::new(
                Kind::Refused,
                "worker-dead",
                format!("{id} was declared dead: it serves again once it is started"),
            )),
            Some((_, Standing::Serving | Standing::Draining { .. })) | None => Ok(()),
        }
    }

    fn declare_dead(
        &mut self,
        id: &WorkerId,
        dry_run: bool,
        actor: &Actor,
    ) -> Result<String, Refusal> {
        self.check_full()?;
        if self
            .leases
            .worker(id, self.live_now)
            .is_some_and(|now| now.connected && !now.suspect)
        {
            return Err(Refusal::new(
                Kind::Refused,
                "worker-connected",
                format!(
                    "{id} is connected and its beats arrive: drain it, or stop its process first"
                ),
            ));
        }
        let leases = self.leases.leases_of(id);
        if !dry_run {
            self.record_pools(
                Some(actor.clone()),
                PoolsEvent::WorkerDeclaredDead { worker: id.clone() },
            );
            for ((workflow, step), fence, _) in &leases {
                let reason = "declared-dead".into();
                self.react(
                    workflow,
                    Input::LeaseLost {
                        step: *step,
                        fence: *fence,
                        reason,
                    },
                );
            }
        }
        Ok(format!(
            "{id} is dead; {} attempts go to others",
            leases.len()
        ))
    }

    pub(super) fn command_worker(
        &mut self,
        id: &WorkerId,
        command: WorkerCommand,
        actor: &Actor,
        reason: &str,
        answer: super::messages::Answer<serde_json::Value>,
    ) {
        let Some(session) = self.sessions.of(id) else {
            let refusal = if self.pools.worker(id.as_str()).is_none() {
                Refusal::not_found("worker", id.as_str())
            } else {
                Refusal::new(
                    Kind::Unavailable,
                    "worker-offline",
                    format!("{id} is not connected"),
                )
            };
            return self.outbox.answer(move || drop(answer.send(Err(refusal))));
        };
        let word = match &command {
            WorkerCommand::RefreshCredentials => "worker.refresh-credentials",
            WorkerCommand::SetLogLevel(_) => "worker.set-log-level",
            WorkerCommand::DumpState => "worker.dump-state",
            WorkerCommand::Drain { .. } => "worker.drain",
        };
        if !self.space.is_full() {
            let entry = AuditEvent::Acted {
                act: word.to_owned(),
                target: id.to_string(),
                reason: reason.to_owned(),
                message: String::new(),
            };
            self.record_audit(actor, entry);
        }
        let number = self.sessions.expect_answer(session, answer);
        self.outbox
            .tell(session, ToWorker::Command(number, Command::Worker(command)));
    }

    pub(super) fn installations(&self) -> Vec<view::Installation> {
        let mut installations: BTreeMap<InstallationName, view::Installation> = BTreeMap::new();
        for (record, _) in self.pools.workers() {
            let silent_since = self.pools.silent_since(&record.installation);
            let entry = installations
                .entry(record.installation.clone())
                .or_insert_with(|| view::Installation {
                    name: record.installation.to_string(),
                    region: String::new(),
                    partition: String::new(),
                    pools: Vec::new(),
                    open_workflows: 0,
                });
            for (key, field) in [
                ("region", &mut entry.region),
                ("partition", &mut entry.partition),
            ] {
                if let Some(label) = record.labels.get(key) {
                    field.clone_from(label);
                }
            }
            let connected = self
                .leases
                .worker(&record.worker, self.live_now)
                .is_some_and(|now| now.connected);
            let position = entry
                .pools
                .iter()
                .position(|pool| pool.name == record.pool.as_str());
            let position = position.unwrap_or_else(|| {
                entry.pools.push(view::Pool {
                    name: record.pool.to_string(),
                    workers: 0,
                    workers_connected: 0,
                    reach: record.reach.iter().cloned().collect(),
                    silent_since,
                });
                entry.pools.len() - 1
            });
            entry.pools[position].workers += 1;
            entry.pools[position].workers_connected += u32::from(connected);
        }
        for slot in self.workflows.values() {
            if let Slot::Open(workflow) = slot
                && let Some(entry) = installations.get_mut(&workflow.created.installation)
            {
                entry.open_workflows += 1;
            }
        }
        installations.into_values().collect()
    }

    pub(super) fn brake_report(&self) -> BrakeReport {
        let mut running = 0;
        let mut exempt = 0;
        for slot in self.workflows.values() {
            let Slot::Open(workflow) = slot else { continue };
            let reached = Self::reached_by_pause(workflow).len();
            let all = workflow
                .steps
                .iter()
                .filter(|step| step.phase == Phase::Running)
                .count();
            running += all;
            exempt += all - reached;
        }
        let brake = self.pools.brake.as_ref();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        BrakeReport {
            brake: view::Brake {
                on: brake.is_some(),
                since: brake.map(|brake| brake.since),
                actor: brake
                    .and_then(|brake| brake.actor.as_ref())
                    .map_or_else(String::new, ToString::to_string),
                reason: brake.map_or_else(String::new, |brake| brake.reason.clone()),
                running: count(running),
                exempt: count(exempt),
            },
            workflows: self.count_by_state(),
        }
    }

    pub(super) fn set_brake(
        &mut self,
        on: bool,
        dry_run: bool,
        actor: &Actor,
        reason: &str,
    ) -> Result<BrakeReport, Refusal> {
        self.check_full()?;
        if on != self.pools.brake.is_some() && !dry_run {
            let reason = reason.to_owned();
            let (word, event, command): (_, _, fn(_) -> Command) = if on {
                (
                    "brake.on",
                    PoolsEvent::BrakeOn {
                        reason: reason.clone(),
                    },
                    Command::Pause,
                )
            } else {
                (
                    "brake.off",
                    PoolsEvent::BrakeOff {
                        reason: reason.clone(),
                    },
                    Command::Resume,
                )
            };
            self.record_pools(Some(actor.clone()), event);
            let entry = AuditEvent::Acted {
                act: word.to_owned(),
                target: "fleet".to_owned(),
                reason,
                message: String::new(),
            };
            self.record_audit(actor, entry);
            let open: Vec<_> = self
                .workflows
                .iter()
                .filter(|(_, slot)| matches!(slot, Slot::Open(workflow) if on || workflow.pause.is_none()))
                .map(|(id, _)| id.clone())
                .collect();
            for id in open {
                self.tell_running(&id, command);
                self.touched.insert(id);
            }
        }
        Ok(self.brake_report())
    }
}
