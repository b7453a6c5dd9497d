//! The JSON that people and scripts read. Field names are the protocol's, times RFC 3339, durations ISO 8601, enums in
//! words. Nothing here is ever renamed within a major version.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{object::ObjectRef, time::Timestamp};

/// A workflow as `drover workflow describe -o json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    /// Its id.
    pub id: String,
    /// What it runs.
    pub definition: DefinitionRef,
    /// Where it is.
    pub state: WorkflowState,
    /// From the input.
    pub cluster: String,
    /// Where it runs.
    pub installation: String,
    /// From the input.
    pub region: String,
    /// From the input.
    pub partition: String,
    /// From the input.
    pub wave: String,
    /// When it was started.
    pub created_at: Option<Timestamp>,
    /// First acked attempt.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Steps that are neither blocked nor ended.
    pub current: Vec<String>,
    /// Why it does not go on.
    pub holds: Vec<Hold>,
    /// In the order of the definition.
    pub steps: Vec<Step>,
    /// In the order of the definition.
    pub guards: Vec<Step>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// W3C trace id.
    pub trace_id: String,
    /// Seq of the newest event.
    pub head: u64,
    /// There is no way back.
    pub pivot_passed: bool,
    /// After a restore, the first step of which it is not known whether it began or ended after the backup; empty when there
    /// is none. No way back begins while there is one.
    #[serde(default)]
    pub not_looked: String,
}

/// Names a definition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionRef {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// SHA-256 of its text.
    pub digest: String,
}

/// How a workflow ended, or why it is quarantined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Stable, kebab-case.
    pub code: String,
    /// One sentence.
    pub message: String,
}

/// Why something does not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Stable, kebab-case.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// When it clears by itself.
    pub clears_at: Option<Timestamp>,
    /// What unblocks it.
    pub unblock: String,
    /// The step; empty when it is the whole workflow.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub step: String,
}

/// A step, guard, gate or timer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its id.
    pub id: String,
    /// `area.verb_noun/version`, `gate` or `timer`.
    pub kind: String,
    /// Where it is.
    pub state: StepState,
    /// Attempts so far.
    pub attempt: u32,
    /// Attempts after which it waits for an operator when each fails.
    pub attempts_allowed: u32,
    /// Who has it, or had it last.
    pub worker: String,
    /// Of the current or last lease.
    pub fence: String,
    /// Liveness clock.
    pub lease_expires_at: Option<Timestamp>,
    /// Needs were met.
    pub scheduled_at: Option<Timestamp>,
    /// First acked attempt.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What its code reported last.
    pub progress: Option<Progress>,
    /// What time alone will do to it.
    pub next: Option<NextEvent>,
    /// The newest failure.
    pub last_error: Option<Failure>,
    /// Its way back.
    pub compensation: Option<StepCompensation>,
    /// The sentence that says what unblocks it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unblock: String,
    /// What later steps read. Lists and watches leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Arc<Value>>,
    /// Where the output lies when it is too large for an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_object: Option<ObjectRef>,
    /// Gates: digest of what is decided on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub evidence: String,
}

/// What a step's code reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all; 0 when unknown.
    pub total: u64,
    /// One line.
    pub message: String,
    /// When.
    pub at: Option<Timestamp>,
}

/// What time alone will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextEvent {
    /// `retry`, `gate expires`, `timer fires`, or the name of a timeout.
    pub what: String,
    /// When.
    pub at: Timestamp,
}

/// Why an attempt did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable, kebab-case.
    pub code: String,
    /// What is known of the world.
    pub certainty: String,
    /// One sentence.
    pub message: String,
    /// Which attempt.
    pub attempt: u32,
}

/// A step's way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCompensation {
    /// `undo`, `roll-forward` or `manual`.
    pub kind: String,
    /// `none`, `pending`, `running`, `done`, `kept` or `stuck`.
    pub state: String,
}

/// Where a workflow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WorkflowState {
    /// Nothing may have started yet.
    Pending,
    /// At least one step is under way, or about to be.
    Running,
    /// Paused, or a step waits for an operator.
    Paused,
    /// Everything open waits.
    Waiting,
    /// Compensations run.
    Unwinding,
    /// Ended well.
    Completed,
    /// Ended unwound.
    RolledBack,
    /// Ended before anything may have started.
    Cancelled,
    /// Ended by an operator as it stood.
    Terminated,
    /// A compensation waits for a person.
    Stuck,
    /// The target was gone before anything was changed.
    Removed,
    /// Its stream does not fold.
    Quarantined,
}

impl WorkflowState {
    /// All states, in the order of the documentation.
    pub const ALL: [Self; 12] = [
        Self::Pending,
        Self::Running,
        Self::Paused,
        Self::Waiting,
        Self::Unwinding,
        Self::Completed,
        Self::RolledBack,
        Self::Cancelled,
        Self::Terminated,
        Self::Stuck,
        Self::Removed,
        Self::Quarantined,
    ];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::Waiting => "Waiting",
            Self::Unwinding => "Unwinding",
            Self::Completed => "Completed",
            Self::RolledBack => "RolledBack",
            Self::Cancelled => "Cancelled",
            Self::Terminated => "Terminated",
            Self::Stuck => "Stuck",
            Self::Removed => "Removed",
            Self::Quarantined => "Quarantined",
        }
    }

    /// True when nothing happens any more.
    #[must_use]
    pub fn is_ended(self) -> bool {
        match self {
            Self::Completed
            | Self::RolledBack
            | Self::Cancelled
            | Self::Terminated
            | Self::Removed => true,
            Self::Pending
            | Self::Running
            | Self::Paused
            | Self::Waiting
            | Self::Unwinding
            | Self::Stuck
            | Self::Quarantined => false,
        }
    }
}

impl fmt::Display for WorkflowState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StepState {
    /// Needs are not met.
    Blocked,
    /// Waits for a worker.
    Ready,
    /// Leased to a worker that has not acked.
    Offered,
    /// The worker looks before it acts.
    Observing,
    /// Under way.
    Running,
    /// A gate or a timer.
    Waiting,
    /// Between two attempts.
    Backoff,
    /// Waits for an operator.
    Paused,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Passed over.
    Skipped,
    /// Given up because the workflow unwinds.
    Cancelled,
    /// Being taken back.
    Compensating,
    /// Taken back.
    Compensated,
    /// Its effects stay.
    Kept,
    /// Its compensation waits for a person.
    Stuck,
}

impl StepState {
    /// All states, in the order of the documentation.
    pub const ALL: [Self; 16] = [
        Self::Blocked,
        Self::Ready,
        Self::Offered,
        Self::Observing,
        Self::Running,
        Self::Waiting,
        Self::Backoff,
        Self::Paused,
        Self::Succeeded,
        Self::Failed,
        Self::Skipped,
        Self::Cancelled,
        Self::Compensating,
        Self::Compensated,
        Self::Kept,
        Self::Stuck,
    ];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "Blocked",
            Self::Ready => "Ready",
            Self::Offered => "Offered",
            Self::Observing => "Observing",
            Self::Running => "Running",
            Self::Waiting => "Waiting",
            Self::Backoff => "Backoff",
            Self::Paused => "Paused",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Skipped => "Skipped",
            Self::Cancelled => "Cancelled",
            Self::Compensating => "Compensating",
            Self::Compensated => "Compensated",
            Self::Kept => "Kept",
            Self::Stuck => "Stuck",
        }
    }
}

impl fmt::Display for StepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A worker as `drover worker describe -o json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Its id.
    pub id: String,
    /// What it serves.
    pub installation: String,
    /// Its pool.
    pub pool: String,
    /// `Connected`, `Suspect`, `Offline`, `Draining` or `Dead`.
    pub state: WorkerState,
    /// Build of its program.
    pub build: String,
    /// Its process.
    pub incarnation: String,
    /// Places it reaches.
    pub reach: Vec<String>,
    /// Kinds it serves.
    pub kinds: Vec<String>,
    /// How much it takes at once, by class.
    pub credits: BTreeMap<String, u32>,
    /// How much of that is in use.
    pub used: BTreeMap<String, u32>,
    /// Account, region and the like.
    pub labels: BTreeMap<String, String>,
    /// Liveness clock.
    pub last_beat_at: Option<Timestamp>,
    /// Liveness clock.
    pub connected_at: Option<Timestamp>,
    /// `workflow/step` of each attempt it holds.
    pub attempts: Vec<String>,
    /// `stream`.
    pub transport: String,
    /// While it is drained: what ends there first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
}

/// How a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WorkerState {
    /// Session up, beats arrive.
    Connected,
    /// Beats are late.
    Suspect,
    /// No session.
    Offline,
    /// Takes no offers.
    Draining,
    /// Declared dead.
    Dead,
}

impl WorkerState {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "Connected",
            Self::Suspect => "Suspect",
            Self::Offline => "Offline",
            Self::Draining => "Draining",
            Self::Dead => "Dead",
        }
    }
}

/// An installation as `drover installation list -o json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// Its name.
    pub name: String,
    /// Its region, as its workers label it.
    pub region: String,
    /// Its AWS partition, as its workers label it.
    pub partition: String,
    /// Its pools.
    pub pools: Vec<Pool>,
    /// Workflows placed here that have not ended.
    pub open_workflows: u32,
}

/// The workers of an installation that reach the same places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Workers known.
    pub workers: u32,
    /// Workers heard.
    pub workers_connected: u32,
    /// Places it reaches.
    pub reach: Vec<String>,
    /// Set while no worker is heard.
    pub silent_since: Option<Timestamp>,
}

/// The brake as `drover brake -o json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brake {
    /// True while nothing new starts anywhere.
    pub on: bool,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Attempts that still run.
    pub running: u32,
    /// Attempts that the brake does not stop.
    pub exempt: u32,
}
