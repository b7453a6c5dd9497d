//! What leaves the process, held back until its events are durable.

use std::collections::BTreeMap;

use super::messages::{SessionId, ToWorker};

/// Answers to clients and words to workers.
#[derive(Default)]
pub(super) struct Outbox {
    answers: Vec<Box<dyn FnOnce() + Send>>,
    to_workers: BTreeMap<SessionId, Vec<ToWorker>>,
}

impl Outbox {
    /// Calls `send` once everything before it is durable.
    pub(super) fn answer(&mut self, send: impl FnOnce() + Send + 'static) {
        self.answers.push(Box::new(send));
    }

    /// Says something to a worker once everything before it is durable.
    pub(super) fn tell(&mut self, session: SessionId, message: ToWorker) {
        self.to_workers.entry(session).or_default().push(message);
    }

    /// True when nothing is held back.
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.to_workers.is_empty()
    }

    /// Lets everything go.
    pub(super) fn release(&mut self, mut send: impl FnMut(SessionId, Vec<ToWorker>)) {
        for (session, messages) in std::mem::take(&mut self.to_workers) {
            send(session, messages);
        }
        for answer in std::mem::take(&mut self.answers) {
            answer();
        }
    }
}
