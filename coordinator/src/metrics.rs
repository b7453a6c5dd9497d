//! What the coordinator counts.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use drover_core::{
    view,
    workflow::event::{Body, Event},
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::backup;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BackupFolder {
    folder: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result {
    result: &'static str,
}

/// Handles to every metric; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    commits: Counter,
    records: Counter,
    commit_seconds: Histogram,
    offers: Counter,
    attempts: Family<Result, Counter>,
    started: Counter,
    ended: Family<State, Counter>,
    retired: Counter,
    engine_up: Gauge,
    backup_lag: Family<BackupFolder, Gauge<f64, AtomicU64>>,
    backup_failing: Family<BackupFolder, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("drover_coordinator");
        let commits = Counter::default();
        registry.register(
            "commits",
            "Group commits that were made durable",
            commits.clone(),
        );
        let records = Counter::default();
        registry.register(
            "commit_records",
            "Records in those commits",
            records.clone(),
        );
        let commit_seconds =
            Histogram::new([0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1.0]);
        registry.register(
            "commit_seconds",
            "Time of one commit, sync included",
            commit_seconds.clone(),
        );
        let offers = Counter::default();
        registry.register("offers", "Attempts offered to workers", offers.clone());
        let attempts = Family::<Result, Counter>::default();
        registry.register(
            "attempts",
            "Attempts that ended, by result",
            attempts.clone(),
        );
        let started = Counter::default();
        registry.register("workflows_started", "Workflows started", started.clone());
        let ended = Family::<State, Counter>::default();
        registry.register(
            "workflows_ended",
            "Workflows that ended, by state",
            ended.clone(),
        );
        let retired = Counter::default();
        registry.register(
            "workflows_retired",
            "Ended workflows whose events were replaced by a tombstone",
            retired.clone(),
        );
        let backup_lag = Family::<BackupFolder, Gauge<f64, AtomicU64>>::default();
        registry.register(
            "backup_lag_seconds",
            "How long the oldest commit that the continuous backup lacks has been waiting",
            backup_lag.clone(),
        );
        let backup_failing = Family::<BackupFolder, Gauge>::default();
        registry.register(
            "backup_failing",
            "1 while the continuous backup cannot be written",
            backup_failing.clone(),
        );
        let engine_up = Gauge::default();
        registry.register(
            "engine_up",
            "1 while the engine takes inputs",
            engine_up.clone(),
        );
        Self {
            registry: Arc::new(registry),
            commits,
            records,
            commit_seconds,
            offers,
            attempts,
            started,
            ended,
            retired,
            engine_up,
            backup_lag,
            backup_failing,
        }
    }
}

impl Metrics {
    pub(crate) fn committed(&self, records: usize, took: Duration) {
        self.commits.inc();
        self.records.inc_by(records as u64);
        self.commit_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn offered(&self) {
        self.offers.inc();
    }

    pub(crate) fn started(&self) {
        self.started.inc();
    }

    pub(crate) fn ended(&self, state: view::WorkflowState) {
        let state = state.as_str();
        self.ended.get_or_create(&State { state }).inc();
    }

    pub(crate) fn retired(&self) {
        self.retired.inc();
    }

    pub(crate) fn set_engine_up(&self, up: bool) {
        self.engine_up.set(i64::from(up));
    }

    pub(crate) fn is_engine_up(&self) -> bool {
        self.engine_up.get() == 1
    }

    pub(crate) fn events(&self, events: &[Event]) {
        for event in events {
            let result = match &event.body {
                Body::AttemptSucceeded { .. } => "succeeded",
                Body::AttemptFailed { .. } => "failed",
                Body::AttemptLost { .. } => "lost",
                Body::AttemptCompensated { .. } => "compensated",
                Body::AttemptYielded { .. } => "yielded",
                Body::OfferReverted { .. } => "reverted",
                _ => continue,
            };
            self.attempts.get_or_create(&Result { result }).inc();
        }
    }

    /// All metrics in Prometheus' text format, with how the continuous backup is now when there is one.
    #[must_use]
    pub fn text(&self, backup: Option<&backup::Report>) -> String {
        if let Some(report) = backup {
            let folder = BackupFolder {
                folder: report.folder.display().to_string(),
            };
            let lag = report.lag.as_secs_f64();
            self.backup_lag.get_or_create(&folder).set(lag);
            let failing = i64::from(report.failure.is_some());
            self.backup_failing.get_or_create(&folder).set(failing);
        }
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            tracing::error!("the metrics do not encode");
        }
        text
    }
}
