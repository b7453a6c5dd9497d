//! What a coordinator may want of a running attempt.

use std::sync::Arc;

use drover_step_api::runtime::Signal;

use crate::recorder::Recorder;

/// What a coordinator may want of a running attempt. A later wish that is stronger wins: pause, stop, cancel, supersede.
#[derive(Clone)]
pub struct Levers {
    recorder: Arc<Recorder>,
}

impl Levers {
    pub(crate) fn new(recorder: &Arc<Recorder>) -> Self {
        let recorder = Arc::clone(recorder);
        Self { recorder }
    }

    /// Asks it to stop at the next safe point.
    pub fn pause(&self) {
        self.recorder.raise(Signal::Pause);
    }

    /// Tells a guard that its span has ended.
    pub fn stop(&self) {
        self.recorder.raise(Signal::Stop);
    }

    /// Asks it to stop without another effect.
    pub fn cancel(&self) {
        self.recorder.raise(Signal::Cancel);
    }

    /// Tells it that a newer attempt counts.
    pub fn supersede(&self) {
        self.recorder.raise(Signal::Superseded);
    }
}
