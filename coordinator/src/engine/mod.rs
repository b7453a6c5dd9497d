//! The engine: the single writer.
//!
//! One task owns every state. It takes all inputs that are ready, decides, appends what was decided, makes it durable in
//! one group commit, and only then answers and speaks to workers. Nothing leaves the process before its events are
//! durable; there is no timer in that path.
//!
//! States run ahead of the disk by one batch at most, and nobody sees them before the commit. When a commit fails the
//! whole engine is dropped and begun again from what the store holds ([`crate::supervise`]): one way to recover.
//!
//! ```text
//! inputs ──► handle ──► time ──► offer ──► commit ──► answers, frames, watchers
//!            (act,      (timers, (ready    (one record a stream,
//!             report)   leases)   steps)    one sync)
//! ```

mod definitions;
mod effects;
pub mod ended;
mod fleet;
mod matching;
pub mod messages;
mod objects;
mod outbox;
mod prepared;
mod recover;
mod replan;
mod sessions;
pub mod space;
mod start;
mod streams;
mod timers;
mod workflows;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use drover_core::{
    catalog::Catalog,
    facts::Present,
    ids::{Actor, Fence, WorkflowId},
    lease::{LeaseKey, LeaseTable, LiveTime, Profile},
    pools::{Pools, PoolsEvent},
    stream::{Recorded, StreamId},
    time::Timestamp,
    view,
    workflow::Workflow,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use self::{
    ended::{ByEnd, Ended, Retention},
    matching::Queues,
    messages::{Frame, Input, SessionId},
    objects::Readings,
    outbox::Outbox,
    sessions::Sessions,
    space::Space,
    streams::Streams,
    timers::Timers,
};
use crate::{
    backup::{Mirror, Whole},
    clock::Clock,
    metrics::Metrics,
    objects::Objects,
    refusal::{Kind, Refusal},
    store::{Batch, EventStore, StoreError},
};

pub use self::recover::RecoverError;

/// The most inputs of one batch. Larger batches sync less often and answer later.
const BATCH_MAX: usize = 2048;

/// The engine looks at the clocks at least so often.
const TICK: Duration = Duration::from_millis(500);

/// Tells the free bytes below the store.
pub type FreeSpace = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// What an engine is told at the start.
pub struct Settings {
    /// How fast liveness is judged.
    pub profile: Profile,
    /// How long a cancelled attempt may take to stop by itself.
    pub cancel_grace: Duration,
    /// Below so many free bytes new workflows are refused.
    pub low_space: u64,
    /// Below so many free bytes nothing is written.
    pub full_space: u64,
    /// Free bytes on the data folder's disk; `None` when it has none.
    pub free_space: FreeSpace,
    /// How long ended workflows are kept.
    pub retention: Retention,
    /// Copies every commit.
    pub mirror: Option<Mirror>,
    /// Large outputs.
    pub objects: Arc<Objects>,
    /// Build of this program.
    pub build: String,
}

/// Why an engine ended.
pub enum Exit {
    /// It was asked to.
    Stopped,
    /// The store is empty and is to be filled from a backup.
    Restore(Box<messages::Restore>),
    /// The store failed.
    Failed(StoreError),
}

enum Slot {
    Open(Box<Workflow>),
    Ended(Box<Ended>),
    /// Its events are gone; this entry of the audit stream stands for them.
    Retired(u64),
    /// Its stream does not fold.
    Quarantined(String),
}

/// The single writer.
pub struct Engine {
    settings: Settings,
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    origin: Instant,
    started_at: Timestamp,
    now: Timestamp,
    live_now: LiveTime,
    epoch: u64,
    /// The epoch of the newest restore; 0 when there was none.
    restored_epoch: u64,
    catalog: Catalog,
    pools: Pools,
    leases: LeaseTable,
    live_deadline: Option<LiveTime>,
    workflows: BTreeMap<WorkflowId, Slot>,
    by_end: ByEnd,
    /// Held by whoever reads a snapshot of the store.
    reading: Arc<()>,
    exclusive: HashMap<Arc<str>, WorkflowId>,
    prepared: prepared::AllPrepared,
    sessions: Sessions,
    queues: Queues,
    readings: Readings,
    timers: Timers,
    progress: HashMap<LeaseKey, (Fence, view::Progress, bool)>,
    streams: Streams,
    outbox: Outbox,
    touched: BTreeSet<WorkflowId>,
    changed: BTreeSet<WorkflowId>,
    watchers: HashMap<WorkflowId, watch::Sender<Arc<view::Workflow>>>,
    followers: HashMap<StreamId, watch::Sender<u64>>,
    space: Space,
    deferred: VecDeque<(SessionId, Box<Frame>)>,
    last_mark: Timestamp,
    /// A worker that is to end once it holds nothing may hold nothing now.
    leaving_may_have_ended: bool,
}

impl Engine {
    /// Runs until told to stop, or until the store fails.
    pub async fn run(mut self, inputs: &mut mpsc::Receiver<Input>) -> Exit {
        // What was waiting before the start goes on at once.
        self.look_at_clocks();
        self.time();
        self.offer();
        if let Err(error) = self.commit() {
            return Exit::Failed(error);
        }
        loop {
            let wait = self.next_wait();
            let mut read = None;
            // Cancel-safe: a join set, a queue's recv and a timer; the arms do not await. What was read comes first: there
            // may always be inputs.
            let first = tokio::select! {
                biased;
                object = self.readings.next() => {
                    read = Some(object);
                    None
                }
                input = inputs.recv() => match input {
                    Some(input) => Some(input),
                    None => return Exit::Stopped,
                },
                () = tokio::time::sleep(wait) => None,
            };
            self.look_at_clocks();
            if let Some(read) = read {
                self.object_read(read);
            }
            let mut exit = None;
            let mut next = first;
            let mut n = 0;
            while let Some(input) = next {
                match input {
                    Input::Stop => exit = Some(Exit::Stopped),
                    Input::Restore(restore) if self.is_empty() => {
                        exit = Some(Exit::Restore(restore))
                    }
                    other => self.handle(other),
                }
                n += 1;
                next = if n < BATCH_MAX && exit.is_none() {
                    inputs.try_recv().ok()
                } else {
                    None
                };
            }
            self.time();
            self.offer();
            self.dismiss();
            if let Err(error) = self.commit() {
                return Exit::Failed(error);
            }
            if let Some(exit) = exit {
                return exit;
            }
        }
    }

    fn look_at_clocks(&mut self) {
        self.now = self.now.max(self.clock.now());
        let live = Instant::now().duration_since(self.origin);
        self.live_now = LiveTime(u64::try_from(live.as_micros()).unwrap_or(u64::MAX));
        self.watch_space();
    }

    fn next_wait(&self) -> Duration {
        if self.space.is_full() {
            // What is due waits for room; looking at it again and again would not bring any.
            return TICK;
        }
        let timer = self.timers.next().map(|at| self.clock.real_until(at));
        let lease = self.live_deadline.map(|at| at.since(self.live_now));
        // A timer of a scaled clock may be due in less than tokio's granularity; yield to inputs at least.
        [timer, lease]
            .into_iter()
            .flatten()
            .fold(TICK, Duration::min)
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Start(start) => self.start(*start),
            Input::Act(act) => self.act(*act),
            Input::Replan(replan) => self.replan(*replan),
            Input::Describe { id, answer } => {
                let found = self.describe(&id);
                self.outbox.answer(move || drop(answer.send(found)));
            }
            Input::List {
                after,
                limit,
                answer,
            } => {
                let page = self.list(after.as_ref(), limit);
                self.outbox.answer(move || drop(answer.send(Ok(page))));
            }
            Input::Watch { id, answer } => {
                let watched = self.watch(&id);
                self.outbox.answer(move || drop(answer.send(watched)));
            }
            Input::Follow { stream, answer } => {
                let follower = self.follow(&stream);
                self.outbox.answer(move || drop(answer.send(follower)));
            }
            Input::Register {
                text,
                dry_run,
                actor,
                answer,
            } => {
                let registered = self.register(&text, dry_run, &actor);
                self.outbox.answer(move || drop(answer.send(registered)));
            }
            Input::Validate { text, answer } => {
                let problems = self.validate(&text);
                self.outbox.answer(move || drop(answer.send(Ok(problems))));
            }
            Input::Definitions { answer } => {
                let definitions = self.catalog.definitions().cloned().collect();
                self.outbox
                    .answer(move || drop(answer.send(Ok(definitions))));
            }
            Input::Kinds { answer } => {
                let kinds = self.pools.kinds().values().cloned().collect();
                self.outbox.answer(move || drop(answer.send(Ok(kinds))));
            }
            Input::Workers { answer } => {
                let workers = self.workers();
                self.outbox.answer(move || drop(answer.send(Ok(workers))));
            }
            Input::Worker {
                id,
                act,
                dry_run,
                actor,
                reason,
                answer,
            } => {
                let done = self.act_on_worker(&id, act, dry_run, &actor, &reason);
                self.outbox.answer(move || drop(answer.send(done)));
            }
            Input::Command {
                id,
                command,
                actor,
                reason,
                answer,
            } => {
                self.command_worker(&id, command, &actor, &reason, answer);
            }
            Input::Installations { answer } => {
                let installations = self.installations();
                self.outbox
                    .answer(move || drop(answer.send(Ok(installations))));
            }
            Input::Brake { answer } => {
                let report = self.brake_report();
                self.outbox.answer(move || drop(answer.send(Ok(report))));
            }
            Input::SetBrake {
                on,
                dry_run,
                actor,
                reason,
                answer,
            } => {
                let report = self.set_brake(on, dry_run, &actor, &reason);
                self.outbox.answer(move || drop(answer.send(report)));
            }
            Input::Snapshot {
                actor,
                audit,
                answer,
            } => self.snapshot(&actor, audit, answer),
            Input::Status { answer } => {
                let status = self.status();
                self.outbox.answer(move || drop(answer.send(Ok(status))));
            }
            Input::Hello {
                session,
                hello,
                to,
                answer,
            } => self.hello(session, &hello, to, answer),
            Input::Frame { session, frame } => self.frame(session, frame),
            Input::Closed { session } => self.closed(session),
            Input::Restore(restore) => {
                let refusal = Refusal::new(
                    Kind::Refused,
                    "store-not-empty",
                    "this coordinator already holds definitions or workflows: restore into an empty data folder",
                );
                self.outbox
                    .answer(move || drop(restore.answer.send(Err(refusal))));
            }
            // Handled by the loop.
            Input::Stop => {}
        }
    }

    /// What the passing of time brings.
    fn time(&mut self) {
        if self.space.is_full() {
            return;
        }
        self.retire();
        for id in self.timers.due(self.now) {
            self.react(&id, drover_core::workflow::Input::Tick);
        }
        if self.live_deadline.is_none_or(|at| at <= self.live_now) {
            for finding in self.leases.due(self.live_now) {
                self.found(finding);
            }
            self.live_deadline = self.leases.next_deadline(self.live_now);
        }
    }

    /// Makes everything durable, then lets it go.
    fn commit(&mut self) -> Result<(), StoreError> {
        let idle_mark = self.now.since(self.last_mark) >= Duration::from_secs(1);
        if self.streams.is_clean() && self.outbox.is_empty() && !idle_mark {
            self.sessions.forget_over();
            return Ok(());
        }
        if (!self.streams.is_clean() || idle_mark) && !self.space.is_full() {
            let began = Instant::now();
            let batch = self.streams.take(self.now);
            self.store.append(&batch)?;
            self.streams.committed(&batch);
            self.copy(&batch);
            self.last_mark = self.now;
            self.metrics.committed(batch.records.len(), began.elapsed());
            for (stream, record) in &batch.records {
                if let Some(follower) = self.followers.get(stream)
                    && follower.send(record.head().seq).is_err()
                {
                    self.followers.remove(stream);
                }
            }
        }
        let sessions = &mut self.sessions;
        let mut hung = Vec::new();
        self.outbox.release(|session, messages| {
            if !sessions.send(session, messages) {
                hung.push(session);
            }
        });
        for session in hung {
            tracing::warn!(
                session = session.0,
                "a worker does not read its session; closing it"
            );
            self.closed(session);
        }
        self.sessions.forget_over();
        self.notify();
        Ok(())
    }

    /// Hands a durable batch to the continuous backup.
    fn copy(&self, batch: &Batch) {
        let Some(mirror) = &self.settings.mirror else {
            return;
        };
        mirror.committed(batch, self.epoch, self.now, || Whole {
            store: Arc::downgrade(&self.store),
            heads: self.streams.heads(),
            quarantined: self
                .workflows
                .iter()
                .filter(|(_, slot)| matches!(slot, Slot::Quarantined(_)))
                .map(|(id, _)| StreamId::Workflow(id.clone()))
                .collect(),
            epoch: self.epoch,
            at: self.now,
        });
    }

    /// Its epoch, and how many workflows are open.
    #[must_use]
    pub fn epoch_and_open(&self) -> (u64, u64) {
        let open = self
            .workflows
            .values()
            .filter(|slot| matches!(slot, Slot::Open(_)))
            .count();
        (self.epoch, open as u64)
    }

    /// Nothing was ever started or registered here.
    fn is_empty(&self) -> bool {
        self.workflows.is_empty()
            && self.catalog.head == 0
            && self.streams.head(&StreamId::Audit).seq == 0
    }

    /// Records something about workers or installations.
    fn record_pools(&mut self, actor: Option<Actor>, body: PoolsEvent) {
        let event = Recorded {
            seq: self.pools.head + 1,
            at: self.now,
            actor,
            body,
        };
        self.pools.apply(&event);
        self.streams.push(&StreamId::Pools, &event);
    }

    /// Records what a person did.
    fn record_audit(&mut self, actor: &Actor, body: drover_core::audit::AuditEvent) {
        let seq = self.streams.next_seq(&StreamId::Audit);
        let event = Recorded {
            seq,
            at: self.now,
            actor: Some(actor.clone()),
            body,
        };
        self.streams.push(&StreamId::Audit, &event);
    }

    /// The facts of this moment.
    fn facts(&self) -> Present<'_> {
        Present {
            pools: &self.pools,
            leases: &self.leases,
        }
    }

    fn status(&self) -> messages::Status {
        messages::Status {
            epoch: self.epoch,
            started_at: self.started_at,
            now: self.now,
            free_bytes: self.space.free,
            storage: self
                .space
                .refusal()
                .map(|refusal| (refusal.code, refusal.message)),
        }
    }

    fn snapshot(
        &mut self,
        actor: &Actor,
        audit: Option<drover_core::audit::AuditEvent>,
        answer: messages::Answer<messages::Snapshot>,
    ) {
        if let Some(entry) = audit
            && !self.space.is_full()
        {
            self.record_audit(actor, entry);
        }
        // Heads as of now, without what this batch will add: those records are durable.
        let snapshot = messages::Snapshot {
            store: Arc::clone(&self.store),
            heads: self.streams.heads(),
            epoch: self.epoch,
            now: self.now,
            reading: Arc::clone(&self.reading),
        };
        self.outbox.answer(move || drop(answer.send(Ok(snapshot))));
    }
}
