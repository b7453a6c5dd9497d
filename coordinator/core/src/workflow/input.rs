//! What comes into a workflow, and what goes back.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::event::StepFailure;
use crate::{
    declaration::LossPolicy,
    ids::{Actor, Digest, Fence, InstallationName, KindRef, PoolName, StepId, WorkerId},
    object::ObjectRef,
    plan::Plan,
    time::Timestamp,
};

/// The present, as far as `decide` may know it.
pub struct Env<'a> {
    /// Domain time; never earlier than in an earlier call.
    pub now: Timestamp,
    /// The coordinator's epoch.
    pub epoch: u64,
    /// What is true outside of the workflow.
    pub facts: &'a dyn Facts,
}

/// What is true outside of the workflow.
pub trait Facts {
    /// True while the fleet-wide brake is on.
    fn brake(&self) -> bool;
    /// How much of the time from `since` to `now` is charged to no timeout: the coordinator was away, the installation's
    /// pools were silent, or the worker could not be heard.
    fn uncharged(
        &self,
        installation: &InstallationName,
        worker: Option<&WorkerId>,
        since: Timestamp,
        now: Timestamp,
    ) -> Duration;
}

/// What comes in. Reports name the fence they belong to; one that is not in force changes nothing.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed, or something outside has changed.
    Tick,
    /// A worker with a free credit takes a step.
    Lease {
        /// Index of the step.
        step: usize,
        /// Who takes it.
        worker: WorkerId,
        /// Process of the worker.
        incarnation: Arc<str>,
        /// Its pool.
        pool: PoolName,
    },
    /// The worker has the offer and begins.
    Ack {
        /// Index of the step.
        step: usize,
        /// Of the offer.
        fence: Fence,
    },
    /// The offer never became an attempt.
    Unacked {
        /// Index of the step.
        step: usize,
        /// Of the offer.
        fence: Fence,
        /// `not-acked`, `rejected`, `worker-gone`, …
        reason: Arc<str>,
    },
    /// The worker stores progress.
    Checkpoint {
        /// Index of the step.
        step: usize,
        /// Of the attempt.
        fence: Fence,
        /// Counts within the attempt.
        number: u64,
        /// At most 4 KiB.
        data: Value,
    },
    /// A guard saw what it is there to prevent.
    Violation {
        /// Index of the guard.
        step: usize,
        /// Of the attempt.
        fence: Fence,
        /// Stable, kebab-case.
        code: String,
        /// One sentence.
        message: String,
    },
    /// The attempt has ended.
    Result {
        /// Index of the step.
        step: usize,
        /// Of the attempt.
        fence: Fence,
        /// How.
        outcome: Outcome,
    },
    /// The worker is gone, or no longer knows the attempt.
    LeaseLost {
        /// Index of the step.
        step: usize,
        /// Of the attempt.
        fence: Fence,
        /// `lease-expired`, `worker-restarted`, `declared-dead`, …
        reason: Arc<str>,
    },
    /// The attempt has looked before it acts, and acts now.
    LookEnded {
        /// Index of the step.
        step: usize,
        /// Of the attempt.
        fence: Fence,
    },
    /// The step's code reports nothing any more.
    HeartbeatTimedOut {
        /// Index of the step.
        step: usize,
        /// Of the attempt.
        fence: Fence,
    },
    /// A large output that steps wait for cannot be read.
    ObjectUnreadable {
        /// Which.
        object: ObjectRef,
        /// Why, one sentence.
        message: String,
    },
    /// The store was restored from a backup.
    Restored {
        /// Hash of the stream's head in the backup.
        head: Digest,
    },
    /// A person acts.
    Act {
        /// Who.
        actor: Actor,
        /// Why.
        reason: String,
        /// What.
        act: Act,
    },
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Well.
    Output {
        /// What later steps read.
        output: Value,
        /// The world already was so.
        observed: bool,
    },
    /// Well, with an output that is too large for an event. The object is durable.
    Object {
        /// Where it lies.
        object: ObjectRef,
        /// The world already was so.
        observed: bool,
    },
    /// Badly.
    Failure {
        /// Why.
        failure: StepFailure,
        /// The worker's wish for the next attempt.
        retry_after: Option<Duration>,
    },
    /// At a safe point, because of a pause.
    Yielded,
    /// The step's effects are gone.
    Compensated,
}

/// What a person does.
#[derive(Clone, Debug)]
pub enum Act {
    /// Start nothing new.
    Pause,
    /// Go on.
    Resume,
    /// End it and unwind.
    Cancel,
    /// End it as it stands.
    Terminate,
    /// Another round of attempts.
    Retry {
        /// Id of the step.
        step: StepId,
        /// New parameters.
        params: Option<Value>,
    },
    /// Go on without a step.
    Skip {
        /// Id of the step.
        step: StepId,
        /// What later steps read instead.
        output: Option<Value>,
    },
    /// Let a gate open.
    Approve {
        /// Id of the gate.
        step: StepId,
        /// What the approver saw.
        evidence: Option<Digest>,
    },
    /// Go on by another plan.
    Replan {
        /// Validated, of a definition of the same name.
        plan: Arc<Plan>,
    },
    /// Hold a gate closed.
    Reject {
        /// Id of the gate.
        step: StepId,
        /// What the approver saw.
        evidence: Option<Digest>,
    },
}

/// What goes back.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Taken in; nothing to say.
    Noted,
    /// An act was carried out; what follows, for the operator.
    Done(String),
    /// The lease was granted.
    Leased(Box<Offer>),
    /// The step cannot be leased now.
    NotReady,
    /// What the reporting worker needs to know of its attempt.
    Verdict(Verdict),
    /// No, and why.
    Refused(Rejection),
}

/// What a worker needs to know of its attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Keep,
    /// A newer one counts, or none.
    Superseded,
    /// Its result is stored already.
    Completed,
}

/// What a worker is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Id of the step.
    pub step: StepId,
    /// Of the lease.
    pub fence: Fence,
    /// What to do.
    pub kind: KindRef,
    /// Counted from 1.
    pub number: u32,
    /// Take it back instead of doing it.
    pub compensate: bool,
    /// Look before acting.
    pub observe_first: bool,
    /// Parameters.
    pub params: Arc<Value>,
    /// The newest durable checkpoint.
    pub checkpoint: Option<Arc<Value>>,
    /// Output of the step, for compensations.
    pub output: Option<Arc<Value>>,
    /// Where that output lies when it is too large for an event.
    pub object: Option<ObjectRef>,
    /// Prefix of every idempotency key.
    pub idempotency_prefix: String,
    /// Domain time for the attempt.
    pub start_to_close: Option<Duration>,
    /// What happens when the lease cannot be confirmed.
    pub loss_policy: LossPolicy,
    /// Guards: how long permits go on while the lease is unknown.
    pub autonomy: Option<Duration>,
}

/// Why an act was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Nothing happens any more.
    #[error("the workflow has ended ({state}); nothing can be changed")]
    Ended {
        /// Its state.
        state: &'static str,
    },
    /// There is no way back.
    #[error(
        "the pivot {pivot:?} has been passed: there is no way back; pause it, or fix what is wrong and retry"
    )]
    PastPivot {
        /// Id of the pivot.
        pivot: StepId,
    },
    /// The store was restored, and a step whose turn has come has not looked yet.
    #[error(
        "the store was restored from a backup, and whether {step:?} began or ended after it is not known yet; {hint}"
    )]
    NotLooked {
        /// The step.
        step: StepId,
        /// What to do.
        hint: &'static str,
    },
    /// The store was restored, and nobody has looked at the world since.
    #[error(
        "the store was restored from a backup, and what was begun after it is not known yet: resume the workflow, so that its steps look first, then cancel it"
    )]
    NotResumed,
    /// It unwinds already.
    #[error("the workflow unwinds; wait until it has ended")]
    Unwinding,
    /// It is not paused.
    #[error("the workflow is not paused by an operator{hint}")]
    NotPaused {
        /// What to do instead.
        hint: String,
    },
    /// No such step.
    #[error("there is no step {step:?} in this workflow")]
    NoSuchStep {
        /// What was asked for.
        step: StepId,
    },
    /// The step does not wait for a retry.
    #[error(
        "{step:?} is {state} and cannot be retried; only a step that is Paused, in Backoff or Stuck can"
    )]
    NotRetryable {
        /// The step.
        step: StepId,
        /// Where it is.
        state: &'static str,
    },
    /// The step cannot be passed over now.
    #[error("{step:?} is {state} and cannot be skipped{hint}")]
    NotSkippable {
        /// The step.
        step: StepId,
        /// Where it is.
        state: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// Later steps read the output.
    #[error("{readers} read the output of {step:?}: give one with --output")]
    OutputNeeded {
        /// The step.
        step: StepId,
        /// Who reads.
        readers: String,
    },
    /// The step is no gate.
    #[error("{step:?} is not a gate")]
    NotAGate {
        /// The step.
        step: StepId,
    },
    /// The gate is not open.
    #[error("the gate {step:?} is {state}: there is nothing to decide")]
    GateNotOpen {
        /// The gate.
        step: StepId,
        /// Where it is.
        state: &'static str,
    },
    /// What the approver saw is not what is there.
    #[error("the evidence of {step:?} has changed since it was read: look again (it is {now} now)")]
    EvidenceChanged {
        /// The gate.
        step: StepId,
        /// Digest of what is there.
        now: Digest,
    },
    /// A gate that several people have to approve counts each of them once.
    #[error(
        "{actor} has approved {step:?} already: the next approval has to come from somebody else"
    )]
    AlreadyApproved {
        /// The gate.
        step: StepId,
        /// Who.
        actor: Actor,
    },
    /// The other plan does not fit what has happened.
    #[error("it cannot go on by this definition: {problems}")]
    PlanDoesNotFit {
        /// Every reason.
        problems: String,
    },
    /// Nothing may change under a critical span.
    #[error("the critical span is under way: wait until {until:?} has ended")]
    InCriticalSpan {
        /// Its last step.
        until: StepId,
    },
    /// The given parameters do not fit.
    #[error("the parameters do not fit {step:?}: {problems}")]
    ParamsInvalid {
        /// The step.
        step: StepId,
        /// What is wrong.
        problems: String,
    },
    /// Too much.
    #[error("{what} has {bytes} bytes; at most {limit} are allowed")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// The act needs a reason.
    #[error("this needs a reason: add --reason")]
    ReasonNeeded,
}

impl Rejection {
    /// Stable, kebab-case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Ended { .. } => "ended",
            Self::PastPivot { .. } => "past-pivot",
            Self::NotLooked { .. } => "not-looked",
            Self::NotResumed => "not-resumed",
            Self::Unwinding => "unwinding",
            Self::NotPaused { .. } => "not-paused",
            Self::NoSuchStep { .. } => "no-such-step",
            Self::NotRetryable { .. } => "not-retryable",
            Self::NotSkippable { .. } => "not-skippable",
            Self::OutputNeeded { .. } => "output-needed",
            Self::NotAGate { .. } => "not-a-gate",
            Self::GateNotOpen { .. } => "gate-not-open",
            Self::EvidenceChanged { .. } => "evidence-changed",
            Self::AlreadyApproved { .. } => "already-approved",
            Self::PlanDoesNotFit { .. } => "plan-does-not-fit",
            Self::InCriticalSpan { .. } => "in-critical-span",
            Self::ParamsInvalid { .. } => "params-invalid",
            Self::TooLarge { .. } => "too-large",
            Self::ReasonNeeded => "reason-needed",
        }
    }
}
