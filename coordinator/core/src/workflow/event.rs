//! What has happened to a workflow: the persisted facts.
//!
//! An event is one JSON object on one line of the workflow's stream. It is written once and never edited: what a history
//! printed once stays a byte prefix of whatever it prints later. Names of types and fields are API. Fields are added,
//! never renamed or reused; a field that older events lack has a serde default here.
//!
//! Everything that `decide` computed from policy (the result of an expression, the time of a retry, whether a failure
//! pauses) is in the event, so `apply` never computes it again and a later version cannot change history.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    definition::ItemValue,
    ids::{Actor, Digest, Fence, InstallationName, PoolName, StepId, WorkerId, WorkflowId},
    object::ObjectRef,
    time::Timestamp,
};

/// One event with its place in the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Counts from 1 within the stream.
    pub seq: u64,
    /// Domain time.
    pub at: Timestamp,
    /// The step it is about.
    pub step: Option<StepId>,
    /// The attempt it is about.
    pub attempt: Option<u32>,
    /// Who asked for it; `None` for what the engine did by itself.
    pub actor: Option<Actor>,
    /// What happened.
    pub body: Body,
}

#[derive(Serialize)]
struct LineOut<'a> {
    seq: u64,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: &'a Option<StepId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: &'a Option<Actor>,
    #[serde(flatten)]
    body: &'a Body,
}

#[derive(Deserialize)]
struct LineHead {
    seq: u64,
    at: Timestamp,
    #[serde(default)]
    step: Option<StepId>,
    #[serde(default)]
    attempt: Option<u32>,
    #[serde(default)]
    actor: Option<Actor>,
}

impl Event {
    /// Appends the event's line, with its newline.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        let Self {
            seq,
            at,
            step,
            attempt,
            actor,
            body,
        } = self;
        let line = LineOut {
            seq: *seq,
            at: *at,
            step,
            attempt: *attempt,
            actor,
            body,
        };
        serde_json::to_writer(&mut *out, &line).expect("events serialize into memory");
        out.push(b'\n');
    }

    /// Reads a line.
    ///
    /// # Errors
    /// When the line is not an event of this or an earlier version.
    pub fn read_line(line: &[u8]) -> Result<Self, serde_json::Error> {
        // Two passes: the enum's tag and content stand among the other fields, and reading them with `flatten` would
        // build a map first.
        let head: LineHead = serde_json::from_slice(line)?;
        let body: Body = serde_json::from_slice(line)?;
        let LineHead {
            seq,
            at,
            step,
            attempt,
            actor,
        } = head;
        Ok(Self {
            seq,
            at,
            step,
            attempt,
            actor,
            body,
        })
    }
}

/// What happened. Each variant says from which states it is legal; anything else is a bug and makes `apply` panic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum Body {
    /// The first event of every stream.
    Created(Box<Created>),
    /// Nothing new starts. Legal until the end.
    PauseRequested {
        /// `operator`, `violation` or `restored`.
        cause: PauseCause,
        /// Given by whoever asked.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Legal while paused.
    Resumed {
        /// Given by the operator.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Compensations run from here on. Legal while going forward, before the pivot.
    UnwindingStarted {
        /// `cancel`, or the id of the step that declared `onFailure: unwind`.
        cause: String,
        /// Given by whoever asked.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Ended well. Legal when every step has ended.
    Completed {},
    /// Ended by a cancel before anything may have started.
    Cancelled {
        /// Given by the operator.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Ended unwound.
    RolledBack {},
    /// Ended by an operator as it stood.
    Terminated {
        /// Given by the operator.
        reason: String,
        /// Guards that no longer run.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unguarded: Vec<StepId>,
    },
    /// Ended because the target no longer exists, before anything was changed.
    Removed {
        /// What the step found.
        message: String,
    },
    /// It goes on by another plan. Legal while going forward.
    Replanned {
        /// Name of the definition.
        definition: Arc<str>,
        /// Version of the definition.
        version: u32,
        /// Digest of the definition's text.
        definition_digest: Digest,
        /// The plan it is pinned to from here on.
        plan: Digest,
        /// Given by the operator.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// The store was restored from a backup: paused, and every step that has not ended is observed first.
    Restored {
        /// The new epoch.
        epoch: u64,
        /// Hash of the stream's head in the backup.
        head: Digest,
    },

    /// Needs are met and parameters known. Legal when blocked.
    StepScheduled {
        /// Where it runs.
        installation: InstallationName,
        /// Evaluated.
        params: Arc<Value>,
    },
    /// Its expressions have no value or do not fit. Legal when blocked; the step pauses for an operator.
    StepNotScheduled {
        /// Why.
        failure: StepFailure,
    },
    /// It is passed over. Legal unless it runs or has ended.
    StepSkipped {
        /// `when` or `operator`.
        cause: SkipCause,
        /// What later steps read instead.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Arc<Value>>,
        /// Given by the operator.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// It will have no further attempt because the workflow unwinds. Legal unless it is leased or has ended.
    StepCancelled {},
    /// An operator starts another round of attempts. Legal when paused, in backoff or stuck.
    StepRetried {
        /// Params generation: grows when the parameters change, and with it every idempotency key.
        generation: u32,
        /// New parameters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        params: Option<Arc<Value>>,
        /// Given by the operator.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// A timeout passed while no attempt ran. Legal when ready or in backoff; the step pauses for an operator.
    StepTimedOut {
        /// Why.
        failure: StepFailure,
    },

    /// Durable before the offer leaves. Legal when ready.
    AttemptLeased {
        /// Grows with every lease.
        fence: Fence,
        /// Who gets it.
        worker: WorkerId,
        /// Process of the worker.
        incarnation: Arc<str>,
        /// Its pool.
        pool: PoolName,
        /// True when the worker looks before it acts.
        #[serde(default, skip_serializing_if = "is_false")]
        observe_first: bool,
    },
    /// The offer never became an attempt. Legal when leased and not acked; the attempt does not count.
    OfferReverted {
        /// Which lease.
        fence: Fence,
        /// `not-acked`, `rejected`, `cancelled`, `worker-gone`, …
        reason: Arc<str>,
    },
    /// The step may have started from here on. Legal when leased.
    AttemptAcked {
        /// Which lease.
        fence: Fence,
    },
    /// After a restore: the attempt looked first, found work to do and begins it. Legal while running.
    LookEnded {
        /// Which lease.
        fence: Fence,
    },
    /// A worker stored progress. Legal while running.
    CheckpointStored {
        /// Which lease.
        fence: Fence,
        /// Counts within the attempt.
        number: u64,
        /// At most 4 KiB.
        data: Arc<Value>,
    },
    /// The attempt was asked to stop. Legal while running.
    AttemptStopping {
        /// Which lease.
        fence: Fence,
        /// Why.
        reason: StopReason,
    },
    /// The attempt stopped at a safe point because of a pause; it does not count. Legal while running.
    AttemptYielded {
        /// Which lease.
        fence: Fence,
    },
    /// Ended well. Legal while running forward.
    AttemptSucceeded {
        /// Which lease.
        fence: Fence,
        /// What later steps read; null when it lies in an object.
        output: Arc<Value>,
        /// Where the output lies when it is too large for an event.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        object: Option<ObjectRef>,
        /// The world already was as the step wants it.
        #[serde(default, skip_serializing_if = "is_false")]
        observed: bool,
    },
    /// Ended badly. Legal while running.
    AttemptFailed {
        /// Which lease.
        fence: Fence,
        /// Why.
        failure: StepFailure,
        /// What follows.
        then: Next,
    },
    /// Ended because it was asked to stop. Legal while stopping.
    AttemptCancelled {
        /// Which lease.
        fence: Fence,
    },
    /// The worker is gone, or no longer knows the attempt. Legal while leased or running.
    AttemptLost {
        /// Which lease.
        fence: Fence,
        /// `lease-expired`, `worker-restarted`, `declared-dead`, …
        reason: Arc<str>,
        /// What follows.
        then: Next,
    },
    /// A guard saw what it is there to prevent. Legal while running.
    ViolationSeen {
        /// Which lease.
        fence: Fence,
        /// Stable, kebab-case.
        code: String,
        /// One sentence.
        message: String,
    },
    /// The guard's span has ended while no attempt of it ran.
    GuardEnded {},

    /// A person is asked. Legal when blocked.
    GateOpened {
        /// Then it asks again.
        expires_at: Timestamp,
        /// Digest of what is decided on.
        evidence: Digest,
    },
    /// Nobody decided in time; it asks again.
    GateExpired {
        /// The next time.
        expires_at: Timestamp,
    },
    /// Legal while open or after a rejection.
    GateApproved {
        /// Digest of what was decided on.
        evidence: Digest,
        /// Given by the approver.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Pauses for an operator. Legal while open.
    GateRejected {
        /// Given by whoever rejected.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// One of the people who have to approve did. Legal while open.
    GateVoted {
        /// Digest of what was decided on.
        evidence: Digest,
        /// Given by the approver.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Legal when blocked.
    TimerStarted {
        /// When it fires.
        fires_at: Timestamp,
    },
    /// Legal when the time has come.
    TimerFired {},

    /// The items of a `forEach` are known: their steps join the workflow. Legal when blocked.
    ItemsKnown {
        /// In the order of the list.
        items: Vec<ItemValue>,
    },
    /// Every step of every item has ended. Legal after `ItemsKnown`.
    ItemsEnded {},

    /// The step's turn to be taken back has come. Legal while unwinding.
    CompensationScheduled {},
    /// Its effects are gone. Legal while its compensation runs.
    AttemptCompensated {
        /// Which lease.
        fence: Fence,
    },
    /// Its effects stay. Legal while unwinding.
    StepKept {},
    /// A person has to take it back. Legal while unwinding.
    ManualCompensationNeeded {
        /// What to do.
        note: String,
    },
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// The first event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// Chosen by whoever started it.
    pub id: WorkflowId,
    /// Name of the definition.
    pub definition: Arc<str>,
    /// Version of the definition.
    pub version: u32,
    /// Digest of the definition's text.
    pub definition_digest: Digest,
    /// The plan it is pinned to.
    pub plan: Digest,
    /// Validated input.
    pub input: Arc<Value>,
    /// One workflow at a time for this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusive: Option<Arc<str>>,
    /// Where it runs, unless a step says otherwise.
    pub installation: InstallationName,
    /// Given by whoever started it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Why a workflow was paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PauseCause {
    /// An operator asked.
    Operator,
    /// A guard saw what it is there to prevent.
    Violation,
    /// The store was restored from a backup.
    Restored,
}

/// Why a step was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkipCause {
    /// Its `when` is false.
    When,
    /// An operator asked.
    Operator,
}

/// Why an attempt was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// The workflow unwinds.
    Cancelled,
    /// Its time is over.
    StartToClose,
    /// The step's time is over.
    ScheduleToClose,
    /// Its code reports nothing any more.
    Heartbeat,
    /// The guard's span has ended, or its turn to be taken back has come.
    SpanEnded,
}

impl StopReason {
    /// The word in events and commands.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::StartToClose => "start-to-close",
            Self::ScheduleToClose => "schedule-to-close",
            Self::Heartbeat => "heartbeat",
            Self::SpanEnded => "span-ended",
        }
    }
}

/// What follows an attempt that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Next {
    /// Another attempt at this time.
    Retry {
        /// Domain time.
        at: Timestamp,
    },
    /// The step waits for an operator.
    Pause,
    /// The step ends failed; the workflow unwinds or ends.
    Fail,
    /// The compensation waits for an operator.
    Stick,
    /// The step's end was asked for; nothing follows.
    Stop,
}

/// What is known of the world after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    /// It may have happened; trying again is sensible.
    Transient,
    /// It did not happen and will not. The only one that exempts from compensation.
    Refused,
    /// It was given up and may have left something.
    Failed,
    /// It was asked to stop.
    Cancelled,
    /// The target no longer exists.
    Gone,
}

/// Why a step is not where it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFailure {
    /// Stable, kebab-case.
    pub code: String,
    /// What is known of the world.
    pub certainty: Certainty,
    /// One sentence for the operator.
    pub message: String,
}

impl StepFailure {
    /// A failure.
    pub fn new(code: impl Into<String>, certainty: Certainty, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            certainty,
            message: message.into(),
        }
    }

    /// An attempt was stopped because of a timeout.
    pub(super) fn timed_out(which: StopReason) -> Self {
        let which = which.as_str();
        let message = format!("the {which} timeout passed and the attempt was stopped");
        Self::new(which, Certainty::Transient, message)
    }

    /// So many attempts in a row were lost with their worker, the last one for this reason.
    pub(super) fn worker_lost(losses: u32, reason: &str) -> Self {
        let message = format!(
            "{losses} workers in a row were lost soon after they took it, the last one: {reason}"
        );
        Self::new("worker-lost", Certainty::Transient, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_survives_the_round_trip_and_names_its_type() {
        let event = Event {
            seq: 7,
            at: Timestamp(1_000_000),
            step: Some(StepId::new("etcd-join").unwrap()),
            attempt: Some(2),
            actor: None,
            body: Body::AttemptFailed {
                fence: Fence {
                    epoch: 1,
                    counter: 9,
                },
                failure: StepFailure::new("throttled", Certainty::Transient, "slow down"),
                then: Next::Retry {
                    at: Timestamp(2_000_000),
                },
            },
        };
        let mut line = Vec::new();
        event.write_line(&mut line);
        assert_eq!(Event::read_line(&line).unwrap(), event);
        assert_eq!(
            String::from_utf8(line).unwrap(),
            concat!(
                r#"{"seq":7,"at":"1970-01-01T00:00:01.000000Z","step":"etcd-join","attempt":2,"type":"AttemptFailed","#,
                r#""data":{"fence":"1.9","failure":{"code":"throttled","certainty":"transient","message":"slow down"},"#,
                r#""then":{"retry":{"at":"1970-01-01T00:00:02.000000Z"}}}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_type_from_the_future_is_an_error_and_not_a_guess() {
        let line = br#"{"seq":1,"at":"1970-01-01T00:00:01Z","type":"Teleported","data":{}}"#;
        assert!(Event::read_line(line).is_err());
    }
}
