//! Streams to the coordinator: one to speak on, and during a hand-over two.
//!
//! A stream that is old is replaced, not cut: the new one is opened and welcomed while the old one still carries words both
//! ways. Then the worker speaks on the new one only, says again whatever the coordinator may not have heard, and reads the
//! old one to its end.

use std::sync::Arc;

use drover_proto::v1;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{Agent, End, Input};
use crate::{link, spool::SpoolError};

/// One stream. Dropping it closes it.
pub(super) struct Link {
    generation: u64,
    hello_sent: Instant,
    to: Option<mpsc::Sender<v1::WorkerFrame>>,
    /// The version of the protocol that it speaks, once it is welcomed.
    pub(super) protocol: Option<u32>,
    _task: AbortOnDropHandle<()>,
}

impl Link {
    /// Where words go, once the stream is welcomed.
    pub(super) fn welcomed(&self) -> Option<&mpsc::Sender<v1::WorkerFrame>> {
        self.to.as_ref().filter(|_| self.protocol.is_some())
    }

    /// When its hello was sent.
    pub(super) fn hello_sent(&self) -> Instant {
        self.hello_sent
    }
}

fn is(link: Option<&Link>, generation: u64) -> bool {
    link.is_some_and(|link| link.generation == generation)
}

impl<P: Send + Sync + 'static> Agent<P> {
    /// Opens a stream: the only one, or the successor of the one that is up.
    pub(super) fn connect(&mut self) {
        self.reconnect_at = None;
        self.generation += 1;
        let hand_over = self.link.as_ref().and_then(Link::welcomed).is_some();
        let inputs = self.inputs.clone();
        let task = link::run(
            Arc::clone(&self.dial),
            self.config.coordinator.clone(),
            self.generation,
            self.hello(hand_over),
            move |event| drop(inputs.send(Input::Link(event))),
        );
        let link = Link {
            generation: self.generation,
            hello_sent: Instant::now(),
            to: None,
            protocol: None,
            _task: AbortOnDropHandle::new(self.helpers.spawn(task)),
        };
        if hand_over {
            self.successor = Some(link);
        } else {
            self.link = Some(link);
            self.begin_stream();
        }
    }

    /// Whatever was not sent is derived again after the welcome.
    fn begin_stream(&mut self) {
        self.beats.clear();
        self.beat = 0;
        self.pending = v1::WorkerFrame::default();
    }

    pub(super) fn link_up(&mut self, generation: u64, to: mpsc::Sender<v1::WorkerFrame>) {
        let links = [&mut self.link, &mut self.successor];
        let link = links
            .into_iter()
            .flatten()
            .find(|link| link.generation == generation);
        if let Some(link) = link {
            link.to = Some(to);
            self.metrics.session(true);
        }
    }

    pub(super) fn link_said(
        &mut self,
        generation: u64,
        mut frame: v1::CoordinatorFrame,
    ) -> Result<(), SpoolError> {
        if is(self.successor.as_ref(), generation) && frame.welcome.is_some() {
            // Its end of the stream closes; the coordinator ends the other one when it has said everything.
            self.retiring = self.link.take();
            if let Some(retiring) = &mut self.retiring {
                retiring.to = None;
            }
            self.link = self.successor.take();
            self.beats.clear();
            self.beat = 0;
            self.pending.beat = None;
            self.pending.results.clear();
            self.pending.upload_parts.clear();
            tracing::info!(generation, "the session goes on on a new stream");
        }
        if is(self.link.as_ref(), generation) {
            return self.frame(frame);
        }
        if is(self.retiring.as_ref(), generation) {
            // Beats count within a stream.
            frame.beat_reply = None;
            frame.welcome = None;
            frame.drain = None;
            return self.frame(frame);
        }
        Ok(())
    }

    pub(super) fn link_down(&mut self, generation: u64, status: &tonic::Status) -> Option<End> {
        if is(self.retiring.as_ref(), generation) {
            self.retiring = None;
            return None;
        }
        let is_successor = is(self.successor.as_ref(), generation);
        if !is_successor && !is(self.link.as_ref(), generation) {
            return None;
        }
        let code = status
            .metadata()
            .get("drover-code")
            .and_then(|code| code.to_str().ok())
            .unwrap_or("");
        if code == "incarnation-superseded" {
            tracing::error!("{}", status.message());
            return Some(End::Superseded);
        }
        let was_up = if is_successor {
            self.successor = None;
            false
        } else {
            let link = self.link.take();
            self.metrics.session(false);
            self.link = self.successor.take();
            link.as_ref().and_then(Link::welcomed).is_some()
        };
        if !is_successor && self.link.is_some() {
            self.begin_stream();
            tracing::warn!(
                "the old stream ended before the new one was up: {}",
                status.message()
            );
            return None;
        }
        // Everybody's stream may have ended just now, and nobody is to come back in the same moment.
        let wait = if was_up {
            self.waits.part_of(self.reconnect_jitter)
        } else {
            self.waits.next()
        };
        self.reconnect_at = Some(Instant::now() + wait);
        if was_up {
            tracing::warn!(?wait, "the session is down: {}", status.message());
        } else {
            tracing::warn!(?wait, code, "no session: {}", status.message());
        }
        None
    }
}
