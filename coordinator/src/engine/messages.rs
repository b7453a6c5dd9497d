//! What goes into the engine and what it says to workers. Free of the wire: `rpc` converts.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use drover_core::{
    audit::AuditEvent,
    catalog::Registered,
    declaration::KindDeclaration,
    ids::{Actor, Fence, InstallationName, PoolName, StepId, WorkerId, WorkflowId},
    stream::{Head, StreamId},
    time::Timestamp,
    view,
    workflow::{Act, Diff, Offer, Outcome, Verdict, event::StepFailure},
    yaml::Problem,
};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{refusal::Refusal, store::EventStore};

/// Where an answer goes. A client that hung up simply does not get it.
pub type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// Names one session of one worker process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What comes into the engine.
pub enum Input {
    /// Start a workflow.
    Start(Box<Start>),
    /// Do something to a workflow.
    Act(Box<ActOn>),
    /// Let a workflow go on by another definition.
    Replan(Box<Replan>),
    /// See a workflow.
    Describe {
        /// Which.
        id: WorkflowId,
        /// Where the answer goes.
        answer: Answer<view::Workflow>,
    },
    /// See many.
    List {
        /// Only ids after this one.
        after: Option<WorkflowId>,
        /// At most so many.
        limit: usize,
        /// Where the answer goes.
        answer: Answer<Page>,
    },
    /// See a workflow whenever it changes.
    Watch {
        /// Which.
        id: WorkflowId,
        /// Where the answer goes.
        answer: Answer<watch::Receiver<Arc<view::Workflow>>>,
    },
    /// Read a stream, and follow it.
    Follow {
        /// Which.
        stream: StreamId,
        /// Where the answer goes.
        answer: Answer<Follower>,
    },
    /// Validate a definition, and store it.
    Register {
        /// The text.
        text: String,
        /// Store nothing.
        dry_run: bool,
        /// Who.
        actor: Actor,
        /// Where the answer goes.
        answer: Answer<(view::DefinitionRef, bool)>,
    },
    /// Validate a definition.
    Validate {
        /// The text.
        text: String,
        /// Where the answer goes.
        answer: Answer<Vec<Problem>>,
    },
    /// See definitions.
    Definitions {
        /// Where the answer goes.
        answer: Answer<Vec<Registered>>,
    },
    /// See step kinds.
    Kinds {
        /// Where the answer goes.
        answer: Answer<Vec<Arc<KindDeclaration>>>,
    },
    /// See workers.
    Workers {
        /// Where the answer goes.
        answer: Answer<Vec<view::Worker>>,
    },
    /// Do something to a worker.
    Worker {
        /// Which.
        id: WorkerId,
        /// What.
        act: WorkerAct,
        /// Change nothing.
        dry_run: bool,
        /// Who.
        actor: Actor,
        /// Why.
        reason: String,
        /// Where the answer goes.
        answer: Answer<(view::Worker, String)>,
    },
    /// Ask a connected worker for something.
    Command {
        /// Which.
        id: WorkerId,
        /// What.
        command: WorkerCommand,
        /// Who.
        actor: Actor,
        /// Why.
        reason: String,
        /// Where the answer goes.
        answer: Answer<Value>,
    },
    /// See installations.
    Installations {
        /// Where the answer goes.
        answer: Answer<Vec<view::Installation>>,
    },
    /// See the brake.
    Brake {
        /// Where the answer goes.
        answer: Answer<BrakeReport>,
    },
    /// Set the brake.
    SetBrake {
        /// To what.
        on: bool,
        /// Change nothing.
        dry_run: bool,
        /// Who.
        actor: Actor,
        /// Why.
        reason: String,
        /// Where the answer goes.
        answer: Answer<BrakeReport>,
    },
    /// The heads of all streams, and the store to read up to them.
    Snapshot {
        /// Who.
        actor: Actor,
        /// What for: `backup` is recorded, `verify` is not.
        audit: Option<AuditEvent>,
        /// Where the answer goes.
        answer: Answer<Snapshot>,
    },
    /// Fill the store from a backup, when it is empty. The engine ends for it and begins again.
    Restore(Box<Restore>),
    /// See how the coordinator is.
    Status {
        /// Where the answer goes.
        answer: Answer<Status>,
    },
    /// A worker said hello.
    Hello {
        /// Of the session.
        session: SessionId,
        /// What it said.
        hello: Box<Hello>,
        /// Where everything for it goes.
        to: mpsc::Sender<Vec<ToWorker>>,
        /// Where the answer goes: what it is welcomed with.
        answer: Answer<()>,
    },
    /// A worker said something else.
    Frame {
        /// Of the session.
        session: SessionId,
        /// What it said.
        frame: Box<Frame>,
    },
    /// A session is over.
    Closed {
        /// Which.
        session: SessionId,
    },
    /// Make durable what there is, and end.
    Stop,
}

/// A request to start a workflow.
pub struct Start {
    /// Its id.
    pub id: WorkflowId,
    /// Name of the definition.
    pub definition: String,
    /// 0 means the newest.
    pub version: u32,
    /// Its input.
    pub input: Value,
    /// Start nothing.
    pub dry_run: bool,
    /// Who.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// Where the answer goes: the workflow, and whether it is new.
    pub answer: Answer<(view::Workflow, bool)>,
}

/// Another definition for a running workflow.
pub struct Replan {
    /// Which workflow.
    pub id: WorkflowId,
    /// Name of the definition; the one it goes by when `None`.
    pub definition: Option<String>,
    /// 0 means the newest registered version.
    pub version: u32,
    /// Compare, change nothing.
    pub dry_run: bool,
    /// Who.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// Where the answer goes.
    pub answer: Answer<Replanned>,
}

/// What another definition changes.
pub struct Replanned {
    /// As it is now.
    pub workflow: view::Workflow,
    /// Compared with what it went by.
    pub diff: Diff,
    /// One sentence for the operator.
    pub message: String,
}

/// A request to do something to a workflow.
pub struct ActOn {
    /// Which.
    pub id: WorkflowId,
    /// What.
    pub act: Act,
    /// Change nothing.
    pub dry_run: bool,
    /// Who.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// Where the answer goes: the workflow, and what follows.
    pub answer: Answer<(view::Workflow, String)>,
}

/// A request to fill an empty store.
pub struct Restore {
    /// The backup: verified, and whole.
    pub file: PathBuf,
    /// What it says of itself.
    pub summary: drover_core::backup::Summary,
    /// Who.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// Where the answer goes, once the new epoch is durable.
    pub answer: Answer<RestoreReport>,
}

/// What a restore came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreReport {
    /// The new epoch.
    pub epoch: u64,
    /// Streams that were filled.
    pub streams: u64,
    /// Open workflows, all paused now.
    pub paused: u64,
}

/// Some workflows, ordered by id.
pub struct Page {
    /// As they stand.
    pub workflows: Vec<view::Workflow>,
    /// Where the next page begins, when there is one.
    pub next: Option<WorkflowId>,
}

/// A stream and what there is of it.
pub struct Follower {
    /// Where to read.
    pub store: Arc<dyn EventStore>,
    /// Seq of the newest durable event; closed when the stream has ended.
    pub head: watch::Receiver<u64>,
}

/// The heads of all streams at one moment.
pub struct Snapshot {
    /// Where to read.
    pub store: Arc<dyn EventStore>,
    /// How far.
    pub heads: BTreeMap<StreamId, Head>,
    /// The epoch.
    pub epoch: u64,
    /// The domain time.
    pub now: Timestamp,
    /// While it is held, retention takes nothing away.
    pub reading: Arc<()>,
}

/// How the coordinator is.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its epoch.
    pub epoch: u64,
    /// When it began, in domain time.
    pub started_at: Timestamp,
    /// The domain time.
    pub now: Timestamp,
    /// Free bytes on the data folder's disk, when it has one.
    pub free_bytes: Option<u64>,
    /// What the store refuses, and why.
    pub storage: Option<(&'static str, String)>,
}

/// What can be done to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerAct {
    /// Look only.
    Describe,
    /// No further offers.
    Drain {
        /// Its process ends once it holds nothing.
        exit: bool,
    },
    /// Offers again.
    Undrain,
    /// It is gone for good.
    DeclareDead,
}

/// What a connected worker can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerCommand {
    /// Forget cached credentials.
    RefreshCredentials,
    /// Log at this level.
    SetLogLevel(String),
    /// Say what it holds and does.
    DumpState,
    /// Finish what it has, take nothing more; with `exit`, end.
    Drain {
        /// Nothing is left to finish.
        exit: bool,
    },
}

/// The brake, and what it reaches.
#[derive(Clone, Debug)]
pub struct BrakeReport {
    /// The brake.
    pub brake: view::Brake,
    /// Open workflows by state.
    pub workflows: BTreeMap<view::WorkflowState, u32>,
}

/// Names one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRef {
    /// Of which workflow.
    pub workflow: WorkflowId,
    /// Of which step.
    pub step: StepId,
    /// Under which lease.
    pub fence: Fence,
}

/// Who a worker is and what it still holds.
#[derive(Clone, Debug)]
pub struct Hello {
    /// What it serves.
    pub installation: InstallationName,
    /// Its pool.
    pub pool: PoolName,
    /// Its id.
    pub worker: WorkerId,
    /// Its process.
    pub incarnation: Arc<str>,
    /// Names its spool.
    pub spool: Arc<str>,
    /// Openings of the spool.
    pub spool_counter: u64,
    /// Version of the protocol that the session speaks.
    pub protocol: u32,
    /// Build of its program.
    pub build: String,
    /// Kinds it serves.
    pub kinds: Vec<KindDeclaration>,
    /// Places it reaches.
    pub reach: BTreeSet<String>,
    /// Account, region and the like.
    pub labels: BTreeMap<String, String>,
    /// How much it takes at once, by class.
    pub credits: BTreeMap<String, u32>,
    /// Highest epoch it has seen.
    pub last_epoch: u64,
    /// The stream before goes on until this one is welcomed.
    pub hand_over: bool,
    /// Attempts that run there.
    pub held: Vec<AttemptRef>,
    /// Attempts whose results follow.
    pub unacked_results: Vec<AttemptRef>,
}

/// What a worker says in one frame.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// Number of the beat, and what changed.
    pub beat: Option<(u64, Vec<Progress>)>,
    /// Offers that it begins.
    pub acks: Vec<AttemptRef>,
    /// Offers that it does not take, with code and sentence.
    pub rejects: Vec<(AttemptRef, String, String)>,
    /// Checkpoints, with number and data.
    pub checkpoints: Vec<(AttemptRef, u64, Value)>,
    /// Violations, with code and sentence.
    pub violations: Vec<(AttemptRef, String, String)>,
    /// Results.
    pub results: Vec<(AttemptRef, Outcome)>,
    /// Commands carried out.
    pub command_acks: Vec<(u64, Result<Value, StepFailure>)>,
    /// Other credits.
    pub credits: Option<BTreeMap<String, u32>>,
}

/// Progress of one attempt.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Which.
    pub attempt: AttemptRef,
    /// How far.
    pub progress: view::Progress,
    /// It looks before it acts.
    pub observing: bool,
    /// Reports so far.
    pub reports: u64,
}

/// What the engine says to a worker.
#[derive(Clone, Debug)]
pub enum ToWorker {
    /// The first word of a session.
    Welcome {
        /// The epoch.
        epoch: u64,
        /// The domain time.
        now: Timestamp,
        /// The profile in force.
        profile: drover_core::lease::Profile,
        /// One for each held attempt.
        verdicts: Vec<(AttemptRef, Verdict)>,
        /// Offer kept results again.
        resend_kept: bool,
        /// Version of the protocol that the session speaks.
        protocol: u32,
    },
    /// The answer to a beat.
    BeatReply {
        /// Of which beat.
        number: u64,
    },
    /// The answer to an ack.
    AckReply(AttemptRef, Verdict),
    /// The answer to a checkpoint.
    CheckpointAck(AttemptRef, u64, bool),
    /// The answer to a result.
    ResultAck(AttemptRef, Verdict),
    /// Do something with an attempt, or as a whole.
    Command(u64, Command),
    /// Take a step.
    Offer(WorkflowId, Box<Offer>),
}

/// What a worker is told to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Stop the attempt.
    Cancel {
        /// Which.
        attempt: AttemptRef,
        /// Then drop it where it stands.
        grace: Duration,
        /// Why.
        reason: &'static str,
    },
    /// Stop at the next safe point.
    Pause(AttemptRef),
    /// Take that back.
    Resume(AttemptRef),
    /// The guard's span has ended.
    Stop(AttemptRef),
    /// The attempt no longer counts.
    Superseded(AttemptRef),
    /// Something for the worker as a whole.
    Worker(WorkerCommand),
}
