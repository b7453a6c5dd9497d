//! What the coordinator says, and beats.

use std::time::Duration;

use drover_proto::v1;
use tokio::time::Instant;

use super::{Agent, links::Link, read};
use crate::{
    host::Acked,
    spool::{AttemptKey, SpoolError},
};

impl<P: Send + Sync + 'static> Agent<P> {
    pub(super) fn frame(&mut self, frame: v1::CoordinatorFrame) -> Result<(), SpoolError> {
        if let Some(welcome) = frame.welcome {
            self.welcome(&welcome)?;
        }
        if let Some(reply) = frame.beat_reply {
            if let Some(sent) = self.beats.remove(&reply.number) {
                self.leases.confirm(sent, self.lease_ttl);
                self.metrics.beat_answered(self.beat_interval);
            }
            self.beats.retain(|number, _| *number > reply.number);
            for attempt in &reply.superseded {
                if let Some(key) = read(Some(attempt)) {
                    self.supersede(&key);
                }
            }
        }
        for reply in frame.ack_replies {
            let Some(key) = read(reply.attempt.as_ref()) else {
                continue;
            };
            match reply.verdict() {
                v1::VerdictKind::Keep => self.confirm(&key),
                v1::VerdictKind::Superseded
                | v1::VerdictKind::Completed
                | v1::VerdictKind::Unspecified => {
                    self.supersede(&key);
                }
            }
        }
        for ack in frame.checkpoint_acks {
            let Some(key) = read(ack.attempt.as_ref()) else {
                continue;
            };
            let answer = self
                .running(&key)
                .and_then(|running| running.checkpoints.remove(&ack.number));
            if let Some((_, answer)) = answer {
                // The attempt may have stopped waiting.
                answer.send(ack.stored).ok();
            }
        }
        for ack in frame.result_acks {
            if let Some(key) = read(ack.attempt.as_ref()) {
                if ack.verdict() == v1::VerdictKind::Superseded {
                    tracing::warn!(workflow = key.workflow, step = key.step, fence = %key.fence, "a result came too late");
                }
                self.spool.ack(&key)?;
            }
        }
        for reply in frame.upload_replies {
            self.upload_replied(reply)?;
        }
        for command in frame.commands {
            self.command(command);
        }
        for offer in frame.offers {
            self.offer(offer);
        }
        if frame.drain.is_some() && self.successor.is_none() {
            // A new stream before this one ends; attempts and leases go on. Every stream of a fleet may have begun in one
            // moment.
            self.reconnect_at = Some(Instant::now() + self.waits.part_of(self.reconnect_jitter));
        }
        Ok(())
    }

    fn welcome(&mut self, welcome: &v1::Welcome) -> Result<(), SpoolError> {
        if welcome.epoch < self.spool.epoch() {
            // It would hand out fences lower than those already used.
            tracing::error!(
                epoch = welcome.epoch,
                seen = self.spool.epoch(),
                "this coordinator is behind one that was seen before; it is not obeyed"
            );
            self.link = None;
            self.reconnect_at = Some(Instant::now() + self.waits.next());
            return Ok(());
        }
        self.spool.saw_epoch(welcome.epoch)?;
        let positive = |duration: Option<prost_types::Duration>, default: Duration| {
            duration
                .and_then(|duration| Duration::try_from(duration).ok())
                .filter(|d| !d.is_zero())
                .unwrap_or(default)
        };
        self.beat_interval = positive(welcome.beat_interval, self.beat_interval);
        self.lease_ttl = positive(welcome.lease_ttl, Duration::from_secs(30));
        self.reconnect_jitter = welcome
            .reconnect_jitter
            .and_then(|jitter| Duration::try_from(jitter).ok())
            .unwrap_or_default();
        if let Some(link) = &mut self.link {
            link.protocol = Some(welcome.protocol.max(1));
            self.leases.confirm(link.hello_sent(), self.lease_ttl);
        }
        self.metrics.beat_answered(self.beat_interval);
        self.waits.reset();
        self.forget_uploads();
        tracing::info!(
            epoch = welcome.epoch,
            held = self.attempts.len(),
            "the session is up"
        );
        for verdict in &welcome.verdicts {
            let Some(key) = read(verdict.attempt.as_ref()) else {
                continue;
            };
            match verdict.kind() {
                v1::VerdictKind::Keep => self.confirm(&key),
                v1::VerdictKind::Superseded
                | v1::VerdictKind::Completed
                | v1::VerdictKind::Unspecified => {
                    self.supersede(&key);
                }
            }
        }
        let mut results: Vec<_> = self
            .spool
            .unacked()
            .iter()
            .map(|(key, outcome)| (key.clone(), outcome.clone()))
            .collect();
        if welcome.resend_kept_results {
            for (key, outcome) in self.spool.kept()? {
                if !self.spool.unacked().contains_key(&key) {
                    results.push((key, outcome));
                }
            }
        }
        for (key, outcome) in results {
            self.send_result(key, outcome)?;
        }
        self.repeat_acks();
        self.repeat_checkpoints();
        self.add_beat();
        Ok(())
    }

    /// The coordinator has stored that the attempt counts.
    fn confirm(&mut self, key: &AttemptKey) {
        if let Some(running) = self.running(key) {
            running.acked.send_replace(Acked::Confirmed);
        }
    }

    /// One message for all leases.
    pub(super) fn add_beat(&mut self) {
        if self.link.as_ref().and_then(Link::welcomed).is_none() {
            return;
        }
        self.beat += 1;
        let progress = self.changed_progress();
        self.beats.insert(self.beat, Instant::now());
        let merged = self
            .pending
            .beat
            .take()
            .map(|beat| beat.progress)
            .unwrap_or_default();
        let progress = merged.into_iter().chain(progress).collect();
        self.pending.beat = Some(v1::Beat {
            number: self.beat,
            progress,
        });
    }
}
