//! What the worker counts, and how it is.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::time::Instant;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

/// Handles to every metric; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    pub(crate) running: Gauge,
    pub(crate) unacked: Gauge,
    ended: Family<Ended, Counter>,
    sessions: Counter,
    liveness: Arc<Liveness>,
}

/// Liveness is one fact: the stream is up and the last beat was answered less than three intervals ago.
struct Liveness {
    origin: Instant,
    up: AtomicBool,
    answered_ms: AtomicU64,
    interval_ms: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("drover_worker");
        let running = Gauge::default();
        registry.register("attempts_running", "Attempts under way", running.clone());
        let unacked = Gauge::default();
        registry.register(
            "results_unacked",
            "Results that the coordinator does not have yet",
            unacked.clone(),
        );
        let ended = Family::<Ended, Counter>::default();
        registry.register("attempts", "Attempts that ended, by outcome", ended.clone());
        let sessions = Counter::default();
        registry.register("sessions", "Sessions that came up", sessions.clone());
        let liveness = Arc::new(Liveness {
            origin: Instant::now(),
            up: AtomicBool::new(false),
            answered_ms: AtomicU64::new(0),
            interval_ms: AtomicU64::new(5000),
        });
        Self {
            registry: Arc::new(registry),
            running,
            unacked,
            ended,
            sessions,
            liveness,
        }
    }
}

impl Metrics {
    pub(crate) fn ended(&self, outcome: &'static str) {
        self.ended.get_or_create(&Ended { outcome }).inc();
    }

    pub(crate) fn session(&self, up: bool) {
        self.liveness.up.store(up, Ordering::Relaxed);
        if up {
            self.sessions.inc();
        }
    }

    pub(crate) fn beat_answered(&self, interval: std::time::Duration) {
        let since = self.liveness.origin.elapsed().as_millis();
        self.liveness
            .answered_ms
            .store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
        let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        self.liveness.interval_ms.store(interval, Ordering::Relaxed);
    }

    /// True when the stream is up and the last beat was answered less than three intervals ago.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let now = u64::try_from(self.liveness.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let age = now.saturating_sub(self.liveness.answered_ms.load(Ordering::Relaxed));
        self.liveness.up.load(Ordering::Relaxed)
            && age < 3 * self.liveness.interval_ms.load(Ordering::Relaxed)
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            tracing::error!("the metrics do not encode");
        }
        text
    }
}
