//! Sessions of workers: hello, frames, the end. Nothing here matters after a restart.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use drover_core::{
    ids::{Fence, KindRef, WorkerId, WorkflowId},
    lease::Presence,
    pools::{PoolsEvent, Standing, WorkerRecord},
    time::Timestamp,
    workflow::{
        Input, OUTPUT_BYTES_MAX, Outcome, Phase, Reply, Verdict,
        event::{Certainty, StepFailure},
    },
};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    Engine, Slot,
    messages::{
        Answer, AttemptRef, Command, Frame, Hello, Progress, SessionId, ToWorker, WorkerCommand,
    },
};
use crate::refusal::{Kind, Refusal};

struct Session {
    worker: WorkerId,
    to: mpsc::Sender<Vec<ToWorker>>,
    connected_at: Timestamp,
    /// Nobody is there any more; what was said to it leaves with this batch.
    over: bool,
}

/// The sessions that are up.
#[derive(Default)]
pub(super) struct Sessions {
    sessions: BTreeMap<SessionId, Session>,
    by_worker: HashMap<WorkerId, SessionId>,
    over: Vec<SessionId>,
    commands: u64,
    answers: HashMap<u64, (SessionId, Answer<Value>)>,
}

impl Sessions {
    /// The session of a worker.
    pub(super) fn of(&self, worker: &WorkerId) -> Option<SessionId> {
        self.by_worker.get(worker).copied()
    }

    /// When the session of a worker came up.
    pub(super) fn connected_at(&self, worker: &WorkerId) -> Option<Timestamp> {
        self.of(worker)
            .and_then(|session| self.sessions.get(&session))
            .map(|session| session.connected_at)
    }

    fn open(
        &mut self,
        id: SessionId,
        worker: WorkerId,
        to: mpsc::Sender<Vec<ToWorker>>,
        hand_over: bool,
        now: Timestamp,
    ) {
        if let Some(old) = self.by_worker.insert(worker.clone(), id) {
            if hand_over {
                // The worker reads the old stream to its end and closes it; what it asks there is still answered there.
                for (of, _) in self.answers.values_mut().filter(|(of, _)| *of == old) {
                    *of = id;
                }
            } else {
                // The old one is dropped, and with it its end of the queue.
                self.close(old);
            }
        }
        self.sessions.insert(
            id,
            Session {
                worker,
                to,
                connected_at: now,
                over: false,
            },
        );
    }

    /// Ends a session; gives its worker when it was the worker's newest.
    fn close(&mut self, id: SessionId) -> Option<WorkerId> {
        let session = self.sessions.get_mut(&id).filter(|session| !session.over)?;
        session.over = true;
        let worker = session.worker.clone();
        self.over.push(id);
        let lost: Vec<u64> = self
            .answers
            .iter()
            .filter(|(_, (of, _))| *of == id)
            .map(|(number, _)| *number)
            .collect();
        for number in lost {
            if let Some((_, answer)) = self.answers.remove(&number) {
                let refusal = Refusal::new(
                    Kind::Unavailable,
                    "worker-offline",
                    "the worker's session ended before it answered",
                );
                drop(answer.send(Err(refusal)));
            }
        }
        if self.by_worker.get(&worker) == Some(&id) {
            self.by_worker.remove(&worker);
            return Some(worker);
        }
        None
    }

    /// Forgets sessions that are over; their streams end when they have said what was said to them.
    pub(super) fn forget_over(&mut self) {
        for id in self.over.drain(..) {
            self.sessions.remove(&id);
        }
    }

    /// Puts words into a session's queue; false when nobody reads it.
    pub(super) fn send(&mut self, id: SessionId, messages: Vec<ToWorker>) -> bool {
        self.sessions
            .get(&id)
            .is_none_or(|session| session.to.try_send(messages).is_ok())
    }

    pub(super) fn next_command(&mut self) -> u64 {
        self.commands += 1;
        self.commands
    }

    /// A command whose answer somebody waits for.
    pub(super) fn expect_answer(&mut self, session: SessionId, answer: Answer<Value>) -> u64 {
        let number = self.next_command();
        self.answers.insert(number, (session, answer));
        number
    }
}

impl Engine {
    pub(super) fn hello(
        &mut self,
        session: SessionId,
        hello: &Hello,
        to: mpsc::Sender<Vec<ToWorker>>,
        answer: Answer<()>,
    ) {
        let result = self.check_full().and_then(|()| self.admit(hello));
        if let Err(refusal) = result {
            tracing::warn!(worker = %hello.worker, code = refusal.code, "a worker was not admitted: {refusal}");
            return self.outbox.answer(move || drop(answer.send(Err(refusal))));
        }
        let was = self
            .pools
            .worker(hello.worker.as_str())
            .map(|(known, _)| Arc::clone(&known.incarnation));
        self.record_worker(hello);
        let presence = Presence {
            installation: hello.installation.clone(),
            pool: hello.pool.clone(),
            incarnation: Arc::clone(&hello.incarnation),
            kinds: hello
                .kinds
                .iter()
                .map(|declaration| declaration.kind.clone())
                .collect(),
            reach: hello.reach.clone(),
            credits: hello.credits.clone(),
            draining: self
                .pools
                .worker(hello.worker.as_str())
                .is_some_and(|(_, standing)| standing.is_draining()),
            protocol: hello.protocol,
        };
        let hand_over = hello.hand_over
            && self.sessions.of(&hello.worker).is_some()
            && was.as_ref() == Some(&hello.incarnation);
        self.sessions
            .open(session, hello.worker.clone(), to, hand_over, self.now);
        self.leases
            .connected(&hello.worker, presence, self.live_now, self.now);
        self.live_deadline = None;
        let verdicts = self.resume(hello, hand_over);
        self.outbox.tell(
            session,
            ToWorker::Welcome {
                epoch: self.epoch,
                now: self.now,
                profile: *self.leases.profile(),
                verdicts,
                resend_kept: hello.last_epoch < self.restored_epoch,
                protocol: hello.protocol,
            },
        );
        self.repeat_commands(hello);
        self.queues.touch();
        self.outbox.answer(move || drop(answer.send(Ok(()))));
    }

    /// May this worker serve?
    fn admit(&self, hello: &Hello) -> Result<(), Refusal> {
        let refuse = |code, message: String| Err(Refusal::new(Kind::Refused, code, message));
        if hello.last_epoch > self.epoch {
            return refuse(
                "epoch-behind",
                format!(
                    "the worker has seen epoch {} and this coordinator has {}: it was restored from an old backup without a new epoch, or it is the wrong one",
                    hello.last_epoch, self.epoch
                ),
            );
        }
        for declaration in &hello.kinds {
            if let Some(known) = self.pools.kinds().get(&declaration.kind)
                && known.contract() != declaration.contract()
            {
                return refuse(
                    "kind-conflict",
                    format!(
                        "{} is declared differently by this build than before: give the new meaning a new version",
                        declaration.kind
                    ),
                );
            }
        }
        let Some((known, _)) = self.pools.worker(hello.worker.as_str()) else {
            return Ok(());
        };
        if known.installation != hello.installation {
            return refuse(
                "worker-elsewhere",
                format!(
                    "{} is known as a worker of {}: worker ids are unique",
                    hello.worker, known.installation
                ),
            );
        }
        let same_process = known.incarnation == hello.incarnation;
        let takes_over = known.spool == hello.spool && hello.spool_counter > known.spool_counter;
        if same_process || takes_over {
            return Ok(());
        }
        if known.spool == hello.spool {
            return refuse(
                "incarnation-superseded",
                format!(
                    "a newer process of {} has taken over: this one must end",
                    hello.worker
                ),
            );
        }
        // Another spool: the old process may still run somewhere. It stops by itself when its leases lapse.
        if self.leases.leases_of(&hello.worker).is_empty() {
            Ok(())
        } else {
            refuse(
                "worker-has-leases",
                format!(
                    "{} comes without the spool of its predecessor, which still holds leases: bring the spool back, wait until they expire, or declare it dead",
                    hello.worker
                ),
            )
        }
    }

    fn record_worker(&mut self, hello: &Hello) {
        for declaration in &hello.kinds {
            let is_new = self
                .pools
                .kinds()
                .get(&declaration.kind)
                .is_none_or(|known| **known != *declaration);
            if is_new {
                self.record_pools(
                    None,
                    PoolsEvent::KindAnnounced(Box::new(declaration.clone())),
                );
            }
        }
        let kinds: std::collections::BTreeSet<KindRef> = hello
            .kinds
            .iter()
            .map(|declaration| declaration.kind.clone())
            .collect();
        let record = WorkerRecord {
            worker: hello.worker.clone(),
            installation: hello.installation.clone(),
            pool: hello.pool.clone(),
            incarnation: Arc::clone(&hello.incarnation),
            spool: Arc::clone(&hello.spool),
            spool_counter: hello.spool_counter,
            build: hello.build.clone(),
            kinds,
            reach: hello.reach.clone(),
            labels: hello.labels.clone(),
        };
        let is_known = self
            .pools
            .worker(hello.worker.as_str())
            .is_some_and(|(known, standing)| *known == record && standing != Standing::Dead);
        if !is_known {
            self.record_pools(None, PoolsEvent::WorkerSeen(Box::new(record)));
        }
    }

    /// One verdict for each held attempt; leases that the worker does not know of are lost, unless it may learn of them on
    /// the stream before.
    fn resume(&mut self, hello: &Hello, hand_over: bool) -> Vec<(AttemptRef, Verdict)> {
        let mut verdicts = Vec::new();
        for attempt in &hello.held {
            // A worker that runs an attempt has taken its offer: this is its ack, when the first one got lost.
            let verdict = match self.locate(attempt) {
                Some(step) => self.verdict_of(
                    &attempt.workflow,
                    Input::Ack {
                        step,
                        fence: attempt.fence,
                    },
                ),
                None => Verdict::Superseded,
            };
            verdicts.push((attempt.clone(), verdict));
        }
        if hand_over {
            return verdicts;
        }
        let known = |id: &WorkflowId, step: &drover_core::ids::StepId| {
            let same = |attempt: &AttemptRef| attempt.workflow == *id && attempt.step == *step;
            hello.held.iter().any(same) || hello.unacked_results.iter().any(same)
        };
        for ((id, step), fence, acked) in self.leases.leases_of(&hello.worker) {
            let Some(Slot::Open(workflow)) = self.workflows.get(&id) else {
                continue;
            };
            if known(&id, workflow.plan.id_of(step)) {
                continue;
            }
            let reason: Arc<str> = Arc::from(if acked {
                "worker-restarted"
            } else {
                "offer-lost"
            });
            self.react(
                &id,
                Input::LeaseLost {
                    step,
                    fence,
                    reason,
                },
            );
        }
        verdicts
    }

    /// Commands that may have been lost with the stream before.
    fn repeat_commands(&mut self, hello: &Hello) {
        for attempt in &hello.held {
            let Some(step) = self.locate(attempt) else {
                continue;
            };
            let Some(Slot::Open(workflow)) = self.workflows.get(&attempt.workflow) else {
                continue;
            };
            let state = &workflow.steps[step];
            let Some(lease) = state
                .lease
                .as_ref()
                .filter(|lease| lease.fence == attempt.fence)
            else {
                continue;
            };
            if state.phase != Phase::Running {
                continue;
            }
            let key = (attempt.workflow.clone(), step);
            match lease.stopping {
                Some(reason) => {
                    let fence = lease.fence;
                    self.ask_to_stop(&key, fence, reason);
                }
                None => self.pause_if_asked(&key),
            }
        }
        if self
            .pools
            .worker(hello.worker.as_str())
            .is_some_and(|(_, standing)| standing.is_draining())
            && let Some(session) = self.sessions.of(&hello.worker)
        {
            let number = self.sessions.next_command();
            let command = Command::Worker(WorkerCommand::Drain { exit: false });
            self.outbox
                .tell(session, ToWorker::Command(number, command));
            self.leaving_may_have_ended = true;
        }
    }

    /// The index of an attempt's step in an open workflow.
    fn locate(&self, attempt: &AttemptRef) -> Option<usize> {
        match self.workflows.get(&attempt.workflow)? {
            Slot::Open(workflow) => workflow.plan.index_of(attempt.step.as_str()),
            Slot::Ended(_) | Slot::Retired(_) | Slot::Quarantined(_) => None,
        }
    }

    fn verdict_of(&mut self, id: &WorkflowId, input: Input) -> Verdict {
        match self.react(id, input) {
            Some(Reply::Verdict(verdict)) => verdict,
            _ => Verdict::Superseded,
        }
    }

    pub(super) fn frame(&mut self, session: SessionId, mut frame: Box<Frame>) {
        let Some(worker) = self
            .sessions
            .sessions
            .get(&session)
            .map(|session| session.worker.clone())
        else {
            return;
        };
        if self.leases.heard(&worker, self.live_now, self.now) {
            self.queues.touch();
            // It is a witness again: whoever has been silent for a TTL is found now.
            self.live_deadline = None;
        }
        if let Some((number, progress)) = frame.beat.take() {
            for progress in progress {
                self.progressed(progress);
            }
            self.outbox.tell(session, ToWorker::BeatReply { number });
        }
        if let Some(credits) = frame.credits.take() {
            self.leases.set_credits(&worker, credits);
            self.queues.touch();
        }
        if self.space.is_full() {
            // Nothing can be stored: it waits here, and in the worker's spool.
            self.deferred.push_back((session, frame));
            return;
        }
        for attempt in frame.acks {
            let verdict = match self.locate(&attempt) {
                Some(step) => self.verdict_of(
                    &attempt.workflow,
                    Input::Ack {
                        step,
                        fence: attempt.fence,
                    },
                ),
                None => Verdict::Superseded,
            };
            self.outbox
                .tell(session, ToWorker::AckReply(attempt, verdict));
        }
        for (attempt, code, message) in frame.rejects {
            tracing::warn!(%worker, workflow = %attempt.workflow, step = %attempt.step, code, message, "an offer was rejected");
            if let Some(step) = self.locate(&attempt) {
                let reason: Arc<str> = Arc::from(format!("rejected:{code}"));
                self.react(
                    &attempt.workflow,
                    Input::Unacked {
                        step,
                        fence: attempt.fence,
                        reason,
                    },
                );
            }
        }
        for (attempt, number, data) in frame.checkpoints {
            let verdict = match self.locate(&attempt) {
                Some(step) => {
                    let input = Input::Checkpoint {
                        step,
                        fence: attempt.fence,
                        number,
                        data,
                    };
                    self.verdict_of(&attempt.workflow, input)
                }
                None => Verdict::Superseded,
            };
            self.outbox.tell(
                session,
                ToWorker::CheckpointAck(attempt, number, verdict == Verdict::Keep),
            );
        }
        for (attempt, code, message) in frame.violations {
            if let Some(step) = self.locate(&attempt) {
                self.react(
                    &attempt.workflow,
                    Input::Violation {
                        step,
                        fence: attempt.fence,
                        code,
                        message,
                    },
                );
            }
        }
        for (attempt, outcome) in frame.results {
            self.result(session, attempt, outcome);
        }
        for (number, result) in frame.command_acks {
            self.command_acked(number, result);
        }
    }

    fn progressed(&mut self, progress: Progress) {
        let Some(step) = self.locate(&progress.attempt) else {
            return;
        };
        let key = (progress.attempt.workflow.clone(), step);
        self.leases.reported(
            &key,
            progress.attempt.fence,
            progress.reports,
            self.live_now,
        );
        if !progress.observing {
            self.look_ended(&progress.attempt.workflow, step, progress.attempt.fence);
        }
        let mut view = progress.progress;
        view.at = Some(self.now);
        self.progress
            .insert(key, (progress.attempt.fence, view, progress.observing));
        if self.watchers.contains_key(&progress.attempt.workflow) {
            self.changed.insert(progress.attempt.workflow);
        }
    }

    /// An attempt acts. Only after a restore is it written down that it looked before.
    fn look_ended(&mut self, id: &WorkflowId, step: usize, fence: Fence) {
        if let Some(Slot::Open(workflow)) = self.workflows.get(id)
            && workflow.observe_all
            && !workflow.steps[step].found_undone
        {
            self.react(id, Input::LookEnded { step, fence });
        }
    }

    fn result(&mut self, session: SessionId, attempt: AttemptRef, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Output { output, observed } => {
                let bytes = serde_json::to_vec(&output).map_or(0, |text| text.len());
                if bytes > OUTPUT_BYTES_MAX {
                    Outcome::Failure {
                        failure: StepFailure::new(
                            "output-too-large",
                            Certainty::Failed,
                            format!(
                                "the output has {bytes} bytes; at most {OUTPUT_BYTES_MAX} travel in a result, larger ones are uploaded first"
                            ),
                        ),
                        retry_after: None,
                    }
                } else {
                    Outcome::Output { output, observed }
                }
            }
            other @ (Outcome::Object { .. }
            | Outcome::Failure { .. }
            | Outcome::Yielded
            | Outcome::Compensated) => other,
        };
        let verdict = match self.locate(&attempt) {
            Some(step) => {
                let input = Input::Result {
                    step,
                    fence: attempt.fence,
                    outcome,
                };
                self.verdict_of(&attempt.workflow, input)
            }
            None if matches!(
                self.workflows.get(&attempt.workflow),
                Some(Slot::Ended(_) | Slot::Retired(_))
            ) =>
            {
                Verdict::Completed
            }
            None => Verdict::Superseded,
        };
        self.outbox
            .tell(session, ToWorker::ResultAck(attempt, verdict));
    }

    fn command_acked(&mut self, number: u64, result: Result<Value, StepFailure>) {
        let Some((_, answer)) = self.sessions.answers.remove(&number) else {
            return;
        };
        let result = result.map_err(|failure| {
            Refusal::new(
                Kind::Unavailable,
                "command-failed",
                format!("the worker could not: {}", failure.message),
            )
        });
        self.outbox.answer(move || drop(answer.send(result)));
    }

    pub(super) fn closed(&mut self, session: SessionId) {
        if let Some(worker) = self.sessions.close(session) {
            self.leases.disconnected(&worker, self.now);
            self.deferred.retain(|(of, _)| *of != session);
        }
    }
}
