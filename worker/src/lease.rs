//! The worker's own view of its leases, on its own monotonic clock.
//!
//! A lease is confirmed by an answered beat (or hello), from the moment the beat was *sent*: the coordinator counts from
//! when it received it, later, so the worker always stops first. One beat confirms all leases of the worker.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

/// Permits end so much before the lease does: time for a call that is on its way.
const MARGIN_PART: u32 = 5;

/// Until when leases are known.
#[derive(Clone, Copy, Debug)]
struct Confirmed {
    /// When the newest message that was answered had been sent.
    at: Option<Instant>,
    /// How long that is good for.
    ttl: Duration,
}

/// What is confirmed; shared by all attempts.
#[derive(Debug)]
pub(crate) struct Leases {
    confirmed: watch::Sender<Confirmed>,
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            confirmed: watch::Sender::new(Confirmed {
                at: None,
                ttl: Duration::ZERO,
            }),
        }
    }
}

impl Leases {
    /// A message sent at `at` was answered; the coordinator grants `ttl`.
    pub(crate) fn confirm(&self, at: Instant, ttl: Duration) {
        self.confirmed.send_modify(|confirmed| {
            confirmed.at = Some(confirmed.at.map_or(at, |known| known.max(at)));
            confirmed.ttl = ttl;
        });
    }

    /// True when a permit may be given, with `extra` beyond the TTL for guards and critical steps.
    pub(crate) fn is_known(&self, extra: Duration) -> bool {
        let confirmed = *self.confirmed.borrow();
        confirmed.at.is_some_and(|at| {
            let ttl = confirmed.ttl.max(extra);
            Instant::now() + ttl / MARGIN_PART < at + ttl
        })
    }

    /// Woken whenever something is confirmed.
    pub(crate) fn subscribe(&self) -> LeaseWatch {
        LeaseWatch(self.confirmed.subscribe())
    }

    /// Time since the newest confirmation.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.confirmed.borrow().at.map(|at| at.elapsed())
    }
}

/// Waits for confirmations.
pub(crate) struct LeaseWatch(watch::Receiver<Confirmed>);

impl LeaseWatch {
    /// Returns at the next confirmation. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        // The sender lives as long as the worker; without it nothing is ever confirmed again.
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn permits_end_before_the_lease_and_come_back_with_a_beat() {
        let leases = Leases::default();
        assert!(
            !leases.is_known(Duration::ZERO),
            "nothing was confirmed yet"
        );
        let ttl = Duration::from_secs(30);
        leases.confirm(Instant::now(), ttl);
        tokio::time::advance(Duration::from_secs(23)).await;
        assert!(leases.is_known(Duration::ZERO));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(
            !leases.is_known(Duration::ZERO),
            "a fifth of the TTL is kept for calls on their way"
        );
        assert!(
            leases.is_known(Duration::from_secs(600)),
            "a critical step goes on"
        );
        leases.confirm(Instant::now(), ttl);
        assert!(leases.is_known(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_message_that_is_answered_late_confirms_nothing_more() {
        let leases = Leases::default();
        let ttl = Duration::from_secs(30);
        let early = Instant::now();
        tokio::time::advance(Duration::from_secs(10)).await;
        leases.confirm(Instant::now(), ttl);
        leases.confirm(early, ttl);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(leases.is_known(Duration::ZERO));
    }
}
