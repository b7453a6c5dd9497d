//! How one attempt ended, and what was seen of it.

use std::{error::Error, fmt, fmt::Write as _, time::Duration};

use drover_step_api::{Certainty, Fence, ObservedJson, StepError, Timestamp};
use serde_json::Value;

use crate::recorder::{CallRecord, Fate, Seen, Signalled};

/// What an attempt is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Do it.
    Run,
    /// Say what the world says.
    Observe,
    /// Take it back.
    Compensate,
}

/// How an attempt ended.
#[derive(Debug)]
pub enum End {
    /// It ran to its end; the output.
    Done(Value),
    /// It took its effects back.
    Compensated,
    /// What it observed.
    Observed(ObservedJson),
    /// It ended with an error.
    Stopped(StepError),
    /// Its worker died.
    Crashed,
    /// It panicked; the message.
    Panicked(String),
    /// It was still running after this time on the domain clock: its start-to-close timeout, or the grace after a
    /// signal.
    Overran(Duration),
    /// It made this many outside calls and had no end.
    Runaway(usize),
}

impl End {
    /// What is known after an error; `None` unless [`End::Stopped`].
    pub fn certainty(&self) -> Option<Certainty> {
        match self {
            Self::Stopped(error) => Some(error.certainty()),
            _ => None,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(_) => f.write_str("done"),
            Self::Compensated => f.write_str("compensated"),
            Self::Observed(ObservedJson::Done(_)) => f.write_str("observed Done"),
            Self::Observed(ObservedJson::NotDone) => f.write_str("observed NotDone"),
            Self::Observed(ObservedJson::Partial) => f.write_str("observed Partial"),
            Self::Observed(ObservedJson::Foreign(what)) => write!(f, "observed Foreign: {what}"),
            Self::Stopped(error) => {
                write!(f, "{:?} {error}", error.certainty())?;
                let mut source = error.source();
                while let Some(cause) = source {
                    write!(f, " <- {cause}")?;
                    source = cause.source();
                }
                Ok(())
            }
            Self::Crashed => f.write_str("crashed"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::Overran(after) => write!(f, "still running after {} s", after.as_secs()),
            Self::Runaway(calls) => write!(f, "still running after {calls} outside calls"),
        }
    }
}

/// How one attempt ended, and what was seen of it.
#[derive(Debug)]
pub struct Outcome {
    /// What it was asked to do.
    pub mode: Mode,
    /// How it ended.
    pub end: End,
    /// Its fence.
    pub fence: Fence,
    /// Counted from 1, runs and compensations apart.
    pub attempt: u32,
    /// Its outside calls, in order.
    pub calls: Vec<CallRecord>,
    /// When it reported progress, and the message.
    pub reports: Vec<(Timestamp, String)>,
    /// Violations that it reported as a guard: code and message.
    pub violations: Vec<(String, String)>,
    /// Checkpoints that it wrote, in order.
    pub checkpoints: Vec<Value>,
    /// Where its output, checkpoints, reports or error hold key material. Empty unless the kind is wrong.
    pub leaks: Vec<String>,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    pub(crate) permits: usize,
    pub(crate) trespasses: Vec<String>,
    pub(crate) fired: Option<usize>,
    pub(crate) signalled: Option<Signalled>,
}

impl Outcome {
    /// The output of an attempt that ran to its end.
    ///
    /// # Errors
    /// How it ended instead, with its last outside calls.
    pub fn done(self) -> Result<Value, String> {
        match self.end {
            End::Done(output) => Ok(output),
            _ => Err(self.to_string()),
        }
    }

    /// True once the outside made a mutation of this attempt, or may still make one.
    pub(crate) fn mutated(&self) -> bool {
        self.calls
            .iter()
            .any(|call| call.mutates && matches!(call.fate, Fate::Made | Fate::Open))
    }

    /// True when the call `number`, at which its fault struck, was the last thing that it did, but for tries of the ports
    /// that the fault kept from leaving too.
    pub(crate) fn gave_up_at(&self, number: usize) -> bool {
        let later = self.calls.get(number..);
        matches!(self.end, End::Stopped(_))
            && later.is_some_and(|later| later.iter().all(|call| call.fate == Fate::NotMade))
            && self.fired == Some(self.checkpoints.len())
    }

    pub(crate) fn absorb(&mut self, seen: Seen) {
        self.calls = seen.calls;
        self.reports = seen
            .reports
            .into_iter()
            .map(|(at, report)| (at, report.message))
            .collect();
        self.violations = seen.violations;
        self.checkpoints = seen.checkpoints;
        self.permits = seen.permits;
        self.trespasses = seen.trespasses;
        self.fired = seen.fired;
        self.signalled = seen.signalled;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 6;
        let verb = match self.mode {
            Mode::Run => "attempt",
            Mode::Observe => "observation after attempt",
            Mode::Compensate => "compensation",
        };
        write!(f, "{verb} {} ended: {}", self.attempt, self.end)?;
        let skipped = self.calls.len().saturating_sub(SHOWN);
        let mut calls = String::new();
        for call in &self.calls[skipped..] {
            write!(
                calls,
                "\n  call {} {} {}",
                call.number, call.action, call.fate
            )?;
        }
        if skipped > 0 {
            write!(f, "\n  ({skipped} earlier calls)")?;
        }
        f.write_str(&calls)
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("has not come back"),
            Self::Made => f.write_str("ok"),
            Self::Failed(kind) => write!(f, "{kind:?}"),
            Self::NotMade => f.write_str("was kept from leaving"),
        }
    }
}
