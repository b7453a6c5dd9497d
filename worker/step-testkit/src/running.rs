//! One attempt while it runs.

use std::{
    any::Any,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use drover_step_api::{Fence, Timestamp, runtime::Signal};

use crate::{
    background::Background,
    host::Durable,
    leaks::leaks,
    levers::Levers,
    outcome::{End, Mode, Outcome},
    recorder::{MAX_CALLS, Phase, Recorder},
    tripwire::Tripwire,
};

/// How long an attempt may go on, on the domain clock, after it was told to stop, cancel or give way.
pub(crate) const GRACE: Duration = Duration::from_secs(30);
/// Bound of an attempt that declares none and was told nothing: guards. A month is longer than any migration.
const UNBOUNDED: Duration = Duration::from_secs(30 * 24 * 3600);

/// What the erased future of an attempt yields; an `Err` is the payload of a panic.
pub(crate) type AttemptFuture =
    Pin<Box<dyn Future<Output = Result<End, Box<dyn Any + Send>>> + Send>>;

/// One attempt while it runs. It moves only while it is awaited; dropping it is what a crash of its worker does.
pub struct Running {
    /// `None` once it has ended or its worker is dead.
    pub(crate) attempt: Option<AttemptFuture>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) durable: Arc<Mutex<Durable>>,
    pub(crate) tripwire: Arc<Mutex<Tripwire>>,
    pub(crate) mode: Mode,
    pub(crate) number: u32,
    pub(crate) fence: Fence,
    pub(crate) started: Timestamp,
    /// Start-to-close; `None` for guards.
    pub(crate) limit: Option<Duration>,
}

impl Running {
    /// Levers on it, to pull while it is awaited.
    pub fn levers(&self) -> Levers {
        Levers::new(&self.recorder)
    }

    /// Waits for its end.
    pub async fn end(mut self) -> Outcome {
        loop {
            if let Some(end) = self.until_held().await {
                return self.finish(end);
            }
            self.recorder.let_go();
        }
    }

    /// Lets it run by itself on the current tokio runtime: for guards whose spans overlap.
    pub fn in_background(self) -> Background {
        Background::new(&Arc::clone(&self.recorder), self.end())
    }

    pub(crate) fn let_go(&self) {
        self.recorder.let_go();
    }

    /// Runs it until it ends or its script holds it up; then `None`.
    pub(crate) async fn until_held(&mut self) -> Option<End> {
        let mut phase = self.recorder.phase();
        loop {
            match *phase.borrow_and_update() {
                Phase::Going => {}
                Phase::Held => return None,
                Phase::Crashed => {
                    self.attempt = None;
                    return Some(End::Crashed);
                }
                Phase::Runaway => {
                    self.attempt = None;
                    return Some(End::Runaway(MAX_CALLS));
                }
            }
            let (left, limit) = self.time_left();
            if left.is_zero() {
                self.attempt = None;
                return Some(End::Overran(limit));
            }
            let attempt = self
                .attempt
                .as_mut()
                .expect("an attempt is driven until it ends, and no longer");
            let timer = self.recorder.clock().sleep(left);
            // The attempt comes first: whatever it does in this poll is seen by the phase after it. All three are
            // cancel-safe: the attempt is kept, the phase is a watch, and the clock forgets a dropped sleep.
            let result = tokio::select! {
                biased;
                result = attempt => result,
                _ = phase.changed() => continue,
                () = timer => continue,
            };
            self.attempt = None;
            if *phase.borrow() == Phase::Crashed {
                // It ended in the very poll in which its worker died; nobody heard of it.
                return Some(End::Crashed);
            }
            return Some(result.unwrap_or_else(|payload| End::Panicked(message(&*payload))));
        }
    }

    /// How long it may go on, and the limit that this comes from.
    fn time_left(&self) -> (Duration, Duration) {
        let now = self.recorder.clock().now();
        let signalled = self.recorder.seen().signalled;
        let (since, limit) = match signalled {
            Some(signalled) if signalled.signal != Signal::Pause => (signalled.at, GRACE),
            _ => (self.started, self.limit.unwrap_or(UNBOUNDED)),
        };
        (limit.saturating_sub(now.since(since)), limit)
    }

    /// Closes the books on it.
    pub(crate) fn finish(self, end: End) -> Outcome {
        let seen = std::mem::take(&mut *self.recorder.seen());
        let superseded = *self.recorder.signal().borrow() == Signal::Superseded;
        if let End::Done(output) = &end
            && !superseded
        {
            self.durable
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .output = Some(output.clone());
        }
        let leaks = leaks(
            &self.tripwire.lock().unwrap_or_else(PoisonError::into_inner),
            &end,
            &seen,
        );
        let mut outcome = Outcome {
            mode: self.mode,
            end,
            fence: self.fence,
            attempt: self.number,
            calls: Vec::new(),
            reports: Vec::new(),
            violations: Vec::new(),
            checkpoints: Vec::new(),
            leaks,
            started: self.started,
            ended: self.recorder.clock().now(),
            permits: 0,
            trespasses: Vec::new(),
            fired: None,
            signalled: None,
        };
        outcome.absorb(seen);
        outcome
    }
}

/// What a panic said.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
