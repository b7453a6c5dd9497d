//! The agent: one task that owns what the worker knows. It takes offers, watches over attempts, keeps results until the
//! coordinator has them, beats, and carries commands out. Links come and go; attempts do not notice.

mod attempts;
mod commands;
mod frames;
mod links;
mod uploads;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use drover_proto::v1;
use drover_step_api::{Clock, Registry};
use tokio::{
    sync::mpsc,
    task::{Id, JoinSet},
    time::Instant,
};
use tokio_util::task::TaskTracker;

use self::{attempts::Running, links::Link, uploads::Uploads};
use crate::{
    config::Config,
    execute::Ended,
    host::FromAttempt,
    lease::Leases,
    link::LinkEvent,
    metrics::Metrics,
    ports::PortsSource,
    retry::Waits,
    spool::{AttemptKey, Spool, SpoolError},
    surroundings::{Dial, Surroundings},
};

/// Until a welcome says otherwise.
const FIRST_BEAT: Duration = Duration::from_secs(5);

/// The version of the protocol that has objects: outputs too large for a frame.
const OBJECT_PROTOCOL: u32 = 2;

/// How long the last results may take to be acked once every attempt has ended.
const LAST_ACKS: Duration = Duration::from_secs(2);

/// Why a worker ended.
#[derive(Debug)]
pub enum End {
    /// It was told to.
    Stopped,
    /// A newer process of the same worker has taken over.
    Superseded,
    /// Its spool cannot be written: results would be lost.
    Spool(SpoolError),
}

/// What comes into the agent.
pub(crate) enum Input {
    /// From the link.
    Link(LinkEvent),
    /// From an attempt.
    Attempt(FromAttempt),
    /// An attempt's grace is over.
    Abort(AttemptKey),
    /// A command was carried out.
    Answer(v1::CommandAck),
    /// An upload that was refused for the time being may be tried again.
    UploadAgain,
    /// End, after everything has ended.
    Stop,
}

/// Talks to a running agent.
#[derive(Clone)]
pub struct Handle(mpsc::UnboundedSender<Input>);

impl Handle {
    /// Takes nothing new, lets attempts end or hands them back, then ends.
    pub fn stop(&self) {
        // The agent is gone already, otherwise.
        drop(self.0.send(Input::Stop));
    }
}

/// The worker's one owner of state.
pub(crate) struct Agent<P> {
    config: Arc<Config>,
    registry: Arc<Registry<P>>,
    ports: Arc<dyn PortsSource<P>>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    spool: Spool,
    incarnation: String,
    kinds: Vec<v1::KindDeclaration>,
    leases: Arc<Leases>,
    lease_ttl: Duration,
    beat_interval: Duration,
    attempts: BTreeMap<(String, String), Running>,
    tasks: JoinSet<Option<Ended>>,
    by_task: HashMap<Id, AttemptKey>,
    helpers: TaskTracker,
    pending: v1::WorkerFrame,
    uploads: Uploads,
    /// The stream that words go out on.
    link: Option<Link>,
    /// The one that is to replace it, until it is welcomed.
    successor: Option<Link>,
    /// The one that was replaced, until its last words have come.
    retiring: Option<Link>,
    /// Streams so far.
    generation: u64,
    beats: BTreeMap<u64, Instant>,
    beat: u64,
    dial: Arc<dyn Dial>,
    waits: Waits,
    reconnect_jitter: Duration,
    reconnect_at: Option<Instant>,
    stopping: Option<Instant>,
    inputs: mpsc::UnboundedSender<Input>,
}

impl<P: Send + Sync + 'static> Agent<P> {
    pub(crate) fn new(
        config: Arc<Config>,
        registry: Arc<Registry<P>>,
        ports: Arc<dyn PortsSource<P>>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        spool: Spool,
        surroundings: Surroundings,
    ) -> (Self, Handle, mpsc::UnboundedReceiver<Input>) {
        let (inputs, queue) = mpsc::unbounded_channel();
        let handle = Handle(inputs.clone());
        let kinds = crate::kinds::declarations(&registry);
        let Surroundings { dial, chance } = surroundings;
        let incarnation = chance.id().to_string();
        let waits = Waits::new(config.reconnect.0, config.reconnect.1, chance);
        let now = Instant::now();
        let agent = Self {
            config,
            registry,
            ports,
            clock,
            metrics,
            spool,
            incarnation,
            kinds,
            leases: Arc::new(Leases::default()),
            lease_ttl: Duration::ZERO,
            beat_interval: FIRST_BEAT,
            attempts: BTreeMap::new(),
            tasks: JoinSet::new(),
            by_task: HashMap::new(),
            helpers: TaskTracker::new(),
            pending: v1::WorkerFrame::default(),
            uploads: Uploads::default(),
            link: None,
            successor: None,
            retiring: None,
            generation: 0,
            beats: BTreeMap::new(),
            beat: 0,
            dial,
            waits,
            reconnect_jitter: Duration::ZERO,
            reconnect_at: Some(now),
            stopping: None,
            inputs,
        };
        (agent, handle, queue)
    }

    /// Runs until told to stop.
    pub(crate) async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Input>) -> End {
        let mut next_beat = Instant::now() + self.beat_interval;
        loop {
            let far = Instant::now() + Duration::from_secs(3600);
            let reconnect_at = self.reconnect_at.unwrap_or(far);
            let deadline = self.stopping.unwrap_or(far);
            // All arms are cancel-safe: a queue, a join set and timers; bodies do not await.
            let input = tokio::select! {
                biased;
                input = queue.recv() => input,
                Some(ended) = self.tasks.join_next_with_id() => {
                    if let Err(error) = self.task_ended(ended) {
                        return End::Spool(error);
                    }
                    None
                }
                () = tokio::time::sleep_until(reconnect_at) => {
                    self.connect();
                    None
                }
                () = tokio::time::sleep_until(next_beat) => {
                    self.add_beat();
                    None
                }
                () = tokio::time::sleep_until(deadline) => {
                    if self.attempts.is_empty() {
                        return End::Stopped;
                    }
                    self.abort_all();
                    self.stopping = Some(Instant::now() + LAST_ACKS);
                    None
                }
            };
            let mut next = input;
            while let Some(input) = next {
                match self.handle(input) {
                    Ok(None) => {}
                    Ok(Some(end)) => return end,
                    Err(error) => return End::Spool(error),
                }
                next = queue.try_recv().ok();
            }
            self.flush();
            next_beat = next_beat.min(Instant::now() + self.beat_interval);
            if next_beat <= Instant::now() {
                next_beat = Instant::now() + self.beat_interval;
            }
            if self.stopping.is_some()
                && self.attempts.is_empty()
                && self.spool.unacked().is_empty()
            {
                return End::Stopped;
            }
        }
    }

    fn handle(&mut self, input: Input) -> Result<Option<End>, SpoolError> {
        match input {
            Input::Link(LinkEvent::Up { generation, to }) => self.link_up(generation, to),
            Input::Link(LinkEvent::Frame { generation, frame }) => {
                self.link_said(generation, *frame)?;
            }
            Input::Link(LinkEvent::Down { generation, status }) => {
                return Ok(self.link_down(generation, &status));
            }
            Input::Attempt(from) => self.attempt_said(from),
            Input::Abort(key) => self.abort(&key),
            Input::Answer(ack) => self.pending.command_acks.push(ack),
            Input::UploadAgain => self.next_upload()?,
            Input::Stop => self.begin_to_stop(),
        }
        Ok(None)
    }

    fn hello(&self, hand_over: bool) -> v1::Hello {
        let credits = if self.stopping.is_some() {
            BTreeMap::new()
        } else {
            self.config.credits.clone()
        };
        v1::Hello {
            installation: self.config.installation.clone(),
            pool: self.config.pool.clone(),
            worker: self.config.id.clone(),
            incarnation: self.incarnation.clone(),
            spool: self.spool.id().to_owned(),
            spool_counter: self.spool.counter(),
            protocol_min: 1,
            protocol_max: OBJECT_PROTOCOL,
            build: self.config.build.clone(),
            kinds: self.kinds.clone(),
            reach: self.config.reach.clone(),
            labels: self.config.labels.clone().into_iter().collect(),
            credits: Some(v1::Credits {
                by_class: credits.into_iter().collect(),
            }),
            last_epoch: self.spool.epoch(),
            held: self
                .attempts
                .values()
                .map(|running| wire(&running.key))
                .collect(),
            unacked_results: self.spool.unacked().keys().map(wire).collect(),
            stream_generation: self.generation,
            hand_over,
        }
    }

    /// Sends what is pending, when there is a link that takes it.
    fn flush(&mut self) {
        self.metrics
            .running
            .set(i64::try_from(self.attempts.len()).unwrap_or(i64::MAX));
        self.metrics
            .unacked
            .set(i64::try_from(self.spool.unacked().len()).unwrap_or(i64::MAX));
        let Some(to) = self.link.as_ref().and_then(Link::welcomed) else {
            return;
        };
        if self.pending == v1::WorkerFrame::default() {
            return;
        }
        // No room, or the link is over: what is pending waits, or is derived again.
        if let Ok(room) = to.try_reserve() {
            room.send(std::mem::take(&mut self.pending));
        }
    }
}

/// An attempt's name on the wire.
pub(crate) fn wire(key: &AttemptKey) -> v1::AttemptRef {
    v1::AttemptRef {
        workflow: key.workflow.clone(),
        step: key.step.clone(),
        fence: Some(v1::Fence {
            epoch: key.fence.epoch,
            counter: key.fence.counter,
        }),
    }
}

/// An attempt's name from the wire.
pub(crate) fn read(attempt: Option<&v1::AttemptRef>) -> Option<AttemptKey> {
    let attempt = attempt?;
    let fence = attempt.fence?;
    Some(AttemptKey {
        workflow: attempt.workflow.clone(),
        step: attempt.step.clone(),
        fence: drover_step_api::Fence {
            epoch: fence.epoch,
            counter: fence.counter,
        },
    })
}
