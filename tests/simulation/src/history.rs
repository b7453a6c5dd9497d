//! What happened in a run, as the outside saw it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use drover_core::{stream::StreamId, time::Timestamp, view};
use drover_proto::v1;
use drover_step_api::Fence;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Simulated time since the run began.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The coordinator said that it has this workflow.
    Started {
        /// Its id.
        workflow: String,
    },
    /// The coordinator answered an act, with its code when it refused.
    Acted {
        /// Which workflow.
        workflow: String,
        /// What was asked.
        act: &'static str,
        /// Empty when it was done.
        code: String,
    },
    /// The coordinator showed a workflow.
    Seen(Box<Seen>),
    /// A worker got a permit, for one call outside.
    PermitTaken {
        /// Names the call.
        call: u64,
        /// By whom.
        holder: Holder,
        /// For which attempt.
        attempt: Attempt,
    },
    /// The call is over, one way or another.
    PermitLeft {
        /// Names the call.
        call: u64,
    },
    /// The outside was changed.
    Effect {
        /// Names the call.
        call: u64,
        /// What was changed.
        resource: String,
        /// By whom.
        holder: Holder,
        /// In which attempt.
        attempt: Attempt,
    },
    /// A step's own code has come to its end: its result is in the spool from here on.
    Finished {
        /// In which attempt.
        attempt: Attempt,
    },
    /// A process began.
    Began {
        /// Which host.
        host: String,
    },
    /// A process ended where it stood.
    Crashed {
        /// Which host.
        host: String,
    },
    /// Nothing of what this host says reaches the coordinator, from here on.
    Cut {
        /// Which host.
        host: String,
    },
    /// It does again.
    Healed {
        /// Which host.
        host: String,
    },
    /// Events are on the disk, up to and including this one.
    Durable {
        /// Of which stream.
        stream: StreamId,
        /// Its newest event.
        seq: u64,
    },
    /// From here on nothing goes wrong any more.
    FaultsOver,
}

/// One process of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The worker.
    pub worker: String,
    /// Counts its processes.
    pub process: u32,
}

/// One attempt of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Of which workflow.
    pub workflow: String,
    /// Of which step.
    pub step: String,
    /// Under which lease.
    pub fence: Fence,
    /// Its kind is declared to bear two at once.
    pub race_ok: bool,
}

/// A workflow as it was shown, without what only memory knows (progress, holds, lease times).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub workflow: String,
    /// Seq of its newest event.
    pub head: u64,
    /// Its three times, in microseconds.
    pub times: [Option<i64>; 3],
    /// There is no way back.
    pub pivot_passed: bool,
    /// Steps, then guards.
    pub steps: Vec<SeenStep>,
}

/// A step as it was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenStep {
    /// Its id.
    pub id: String,
    /// Attempts so far.
    pub attempt: u32,
    /// Of the newest lease.
    pub fence: String,
    /// When it was scheduled, begun, and ended, in microseconds.
    pub times: [Option<i64>; 3],
    /// Code of the newest failure.
    pub error: String,
}

/// What was shown, as it travelled.
impl From<&v1::Workflow> for Seen {
    fn from(workflow: &v1::Workflow) -> Self {
        let micros = |at: Option<prost_types::Timestamp>| {
            at.map(|at| at.seconds * 1_000_000 + i64::from(at.nanos) / 1_000)
        };
        let step = |step: &v1::Step| SeenStep {
            id: step.id.clone(),
            attempt: step.attempt,
            fence: step.fence.clone(),
            times: [step.scheduled_at, step.started_at, step.ended_at].map(micros),
            error: code(step.last_error.as_ref().map(|error| &error.code)),
        };
        let steps = workflow.steps.iter().chain(&workflow.guards);
        Self {
            workflow: workflow.id.clone(),
            head: workflow.head,
            times: [workflow.created_at, workflow.started_at, workflow.ended_at].map(micros),
            pivot_passed: workflow.pivot_passed,
            steps: steps.map(step).collect(),
        }
    }
}

/// What events fold to.
impl From<&view::Workflow> for Seen {
    fn from(workflow: &view::Workflow) -> Self {
        let micros = |at: Option<Timestamp>| at.map(|at| at.0);
        let step = |step: &view::Step| SeenStep {
            id: step.id.clone(),
            attempt: step.attempt,
            fence: step.fence.clone(),
            times: [step.scheduled_at, step.started_at, step.ended_at].map(micros),
            error: code(step.last_error.as_ref().map(|error| &error.code)),
        };
        let steps = workflow.steps.iter().chain(&workflow.guards);
        Self {
            workflow: workflow.id.clone(),
            head: workflow.head,
            times: [workflow.created_at, workflow.started_at, workflow.ended_at].map(micros),
            pivot_passed: workflow.pivot_passed,
            steps: steps.map(step).collect(),
        }
    }
}

fn code(error: Option<&String>) -> String {
    error.cloned().unwrap_or_default()
}

/// Takes notes; cheap to clone.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Notes>>);

#[derive(Default)]
struct Notes {
    entries: Vec<Entry>,
    calls: u64,
    /// Outside of hosts nobody else knows the time.
    now: Duration,
}

impl Recorder {
    /// Notes that something happened now.
    pub fn note(&self, what: What) {
        let mut notes = self.lock();
        let at = turmoil::sim_elapsed().unwrap_or(notes.now).max(notes.now);
        notes.entries.push(Entry { at, what });
    }

    /// Names a call.
    pub(crate) fn next_call(&self) -> u64 {
        let mut notes = self.lock();
        notes.calls += 1;
        notes.calls
    }

    /// The time is this, for whoever is on no host.
    pub(crate) fn set_now(&self, now: Duration) {
        self.lock().now = now;
    }

    /// Everything so far.
    pub(crate) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.lock().entries)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.lock().expect("taking notes does not panic")
    }
}
