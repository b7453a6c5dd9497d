//! Everything seen of one attempt, and the levers on it: shared by the attempt's host, its door and its round.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use drover_ports::{Call, PortError, PortErrorKind, Reply};
use drover_step_api::{
    Clock, Stamp, Timestamp,
    runtime::{Report, Signal},
};
use serde_json::Value;
use tokio::sync::watch;

use crate::target::target;

/// More outside calls than this in one attempt are taken for a loop that does not wait.
pub(crate) const MAX_CALLS: usize = 5_000;

/// How an outside call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has not come back: the attempt ended first.
    Open,
    /// The outside did it.
    Made,
    /// The outside answered with an error.
    Failed(PortErrorKind),
    /// The kit kept it from leaving.
    NotMade,
}

/// One outside call of an attempt.
#[derive(Clone, Debug)]
pub struct CallRecord {
    /// Counted from 1 within the attempt.
    pub number: usize,
    /// As permissions name it.
    pub action: String,
    /// True when it changes something.
    pub mutates: bool,
    /// The used-up permit of a mutation.
    pub stamp: Option<Stamp>,
    /// How it ended.
    pub fate: Fate,
    /// The thing that it is about; see [`target`].
    pub(crate) target: String,
}

/// Where an attempt is held up, if it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It goes on.
    Going,
    /// It waits at a call or a permit until it is let go.
    Held,
    /// Its worker is dead: it must not be polled again.
    Crashed,
    /// It made more than [`MAX_CALLS`] calls.
    Runaway,
}

/// The first signal other than "go on" that an attempt was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signalled {
    pub(crate) signal: Signal,
    pub(crate) at: Timestamp,
    /// Calls numbered above it left after the signal.
    pub(crate) calls_before: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) calls: Vec<CallRecord>,
    pub(crate) permits: usize,
    pub(crate) reports: Vec<(Timestamp, Report)>,
    pub(crate) violations: Vec<(String, String)>,
    pub(crate) checkpoints: Vec<Value>,
    /// What an observing attempt asked for although it may only read.
    pub(crate) trespasses: Vec<String>,
    /// Once the scripted fault has happened: how many checkpoints there were before it.
    pub(crate) fired: Option<usize>,
    pub(crate) signalled: Option<Signalled>,
}

pub(crate) struct Recorder {
    clock: Arc<dyn Clock>,
    seen: Mutex<Seen>,
    signal: watch::Sender<Signal>,
    phase: watch::Sender<Phase>,
}

impl Recorder {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            seen: Mutex::default(),
            signal: watch::Sender::default(),
            phase: watch::Sender::new(Phase::Going),
        }
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        // A panicking step poisons nothing that matters: every write below is complete in itself.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(crate) fn signal(&self) -> watch::Receiver<Signal> {
        self.signal.subscribe()
    }

    /// Gives the attempt a signal, unless it has a stronger one already.
    pub(crate) fn raise(&self, signal: Signal) {
        let raised = self.signal.send_if_modified(|current| {
            let stronger = signal > *current;
            if stronger {
                *current = signal;
            }
            stronger
        });
        if raised {
            let at = self.clock.now();
            let mut seen = self.seen();
            let calls_before = seen.calls.len();
            seen.signalled = Some(Signalled {
                signal,
                at,
                calls_before,
            });
            drop(seen);
            // Whoever drives the attempt has to count its grace from now.
            self.phase.send_modify(|_| {});
        }
    }

    /// The call's number, or `None` when the attempt made too many.
    pub(crate) fn begin(&self, call: &Call, stamp: Option<&Stamp>) -> Option<usize> {
        let mut seen = self.seen();
        let number = seen.calls.len() + 1;
        if number > MAX_CALLS {
            drop(seen);
            self.phase.send_replace(Phase::Runaway);
            return None;
        }
        seen.calls.push(CallRecord {
            number,
            action: call.action(),
            mutates: call.mutates(),
            stamp: stamp.cloned(),
            fate: Fate::Open,
            target: target(call),
        });
        Some(number)
    }

    pub(crate) fn end(&self, number: usize, result: &Result<Reply, PortError>) {
        self.set_fate(
            number,
            match result {
                Ok(_) => Fate::Made,
                Err(error) => Fate::Failed(error.kind),
            },
        );
    }

    pub(crate) fn set_fate(&self, number: usize, fate: Fate) {
        self.seen().calls[number - 1].fate = fate;
    }

    /// The scripted fault happens now.
    pub(crate) fn fire(&self) {
        let mut seen = self.seen();
        seen.fired = Some(seen.checkpoints.len());
    }

    pub(crate) fn crash(&self) {
        self.phase.send_replace(Phase::Crashed);
    }

    /// Waits until [`Recorder::let_go`].
    pub(crate) async fn hold(&self) {
        self.phase.send_replace(Phase::Held);
        let mut phase = self.phase.subscribe();
        phase
            .wait_for(|phase| *phase == Phase::Going)
            .await
            .expect("the sender lives in self");
    }

    pub(crate) fn let_go(&self) {
        self.phase.send_replace(Phase::Going);
    }
}
