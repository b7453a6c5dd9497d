//! What is kept in memory of workflows that have ended, and for how long their events are kept on disk.
//!
//! An ended workflow is a few hundred bytes here: what lists and idempotent starts need. `describe` folds its stream
//! again. When retention takes the stream away, a tombstone in the audit stream stands for it, in the same batch.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use drover_core::{
    audit::{AuditEvent, Tombstone},
    ids::{Digest, WorkflowId},
    stream::{Recorded, StreamId},
    time::Timestamp,
    view,
    workflow::Workflow,
};

use super::{Engine, Slot};
use crate::refusal::{Kind, Refusal};

/// At most so many are retired in one commit: nobody's answer should wait for them.
const AT_ONCE: usize = 32;

/// How long the events of ended workflows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At least so long after the end, in domain time, unless there are too many.
    pub after: Duration,
    /// At most so many; beyond that those that ended first go.
    pub ended_max: usize,
}

/// A workflow that has ended.
pub(super) struct Ended {
    /// What it was started with.
    pub(super) definition: Arc<str>,
    pub(super) version: u32,
    /// What it went by in the end: a re-plan may have changed it.
    last: (Arc<str>, u32, Digest),
    /// Of its input.
    pub(super) input: Digest,
    pub(super) state: view::WorkflowState,
    /// Cluster, installation, region, partition, wave.
    place: [Box<str>; 5],
    created_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    outcome: Option<Box<view::Outcome>>,
    trace_id: Box<str>,
    head: u64,
    pivot_passed: bool,
}

impl Ended {
    pub(super) fn new(workflow: &Workflow, view: view::Workflow) -> Self {
        let place = [
            view.cluster,
            view.installation,
            view.region,
            view.partition,
            view.wave,
        ];
        Self {
            definition: Arc::clone(&workflow.created.definition),
            version: workflow.created.version,
            last: (
                Arc::clone(&workflow.plan.definition.name),
                workflow.plan.definition.version,
                workflow.plan.definition_digest,
            ),
            input: Digest::of_json(&workflow.created.input),
            state: view.state,
            place: place.map(String::into_boxed_str),
            created_at: view.created_at,
            started_at: view.started_at,
            ended_at: view.ended_at,
            outcome: view.outcome.map(Box::new),
            trace_id: view.trace_id.into(),
            head: view.head,
            pivot_passed: view.pivot_passed,
        }
    }

    /// As lists show it: without steps.
    pub(super) fn view(&self, id: &WorkflowId) -> view::Workflow {
        let [cluster, installation, region, partition, wave] =
            self.place.each_ref().map(ToString::to_string);
        let (name, version, digest) = &self.last;
        view::Workflow {
            id: id.to_string(),
            definition: view::DefinitionRef {
                name: name.to_string(),
                version: *version,
                digest: digest.to_string(),
            },
            state: self.state,
            cluster,
            installation,
            region,
            partition,
            wave,
            created_at: self.created_at,
            started_at: self.started_at,
            ended_at: self.ended_at,
            current: Vec::new(),
            holds: Vec::new(),
            steps: Vec::new(),
            guards: Vec::new(),
            outcome: self.outcome.as_deref().cloned(),
            trace_id: self.trace_id.to_string(),
            head: self.head,
            pivot_passed: self.pivot_passed,
            not_looked: String::new(),
        }
    }
}

/// Ended workflows in the order of their ends.
pub(super) type ByEnd = BTreeSet<(Timestamp, WorkflowId)>;

impl Engine {
    /// Remembers a workflow that has ended.
    pub(super) fn keep_ended(&mut self, id: &WorkflowId, ended: Ended) {
        self.by_end
            .insert((ended.ended_at.unwrap_or_default(), id.clone()));
        self.workflows
            .insert(id.clone(), Slot::Ended(Box::new(ended)));
    }

    /// Takes away the events of those whose time has come. Not while somebody reads a snapshot: it has to stay whole.
    pub(super) fn retire(&mut self) {
        for _ in 0..AT_ONCE {
            let retention = self.settings.retention;
            let is_due = |at: Timestamp| at.after(retention.after) <= self.now;
            let Some((at, _)) = self.by_end.first() else {
                return;
            };
            let too_many = self.by_end.len() > retention.ended_max;
            if !(too_many || is_due(*at)) || Arc::strong_count(&self.reading) > 1 {
                return;
            }
            if let Some((_, id)) = self.by_end.pop_first()
                && let Err(why) = self.retire_one(&id)
            {
                tracing::error!(workflow = %id, why, "an ended workflow could not be retired; it stays");
            }
        }
    }

    fn retire_one(&mut self, id: &WorkflowId) -> Result<(), String> {
        let Some(Slot::Ended(ended)) = self.workflows.get(id) else {
            return Ok(());
        };
        let stream = StreamId::Workflow(id.clone());
        let head = self.streams.head(&stream);
        let first = self.store.read(&stream, 1, 1);
        let first = first.map_err(|error| crate::supervise::chain(&error))?;
        let first = first.first().ok_or("its stream is empty")?.hash;
        let seq = self.streams.next_seq(&StreamId::Audit);
        let entry = Recorded {
            seq,
            at: self.now,
            actor: None,
            body: AuditEvent::Retired(Tombstone {
                workflow: id.clone(),
                definition: ended.last.0.to_string(),
                version: ended.last.1,
                state: ended.state.as_str().to_owned(),
                created_at: ended.created_at,
                ended_at: ended.ended_at,
                events: head.seq,
                first,
                last: head.hash,
            }),
        };
        self.streams.push(&StreamId::Audit, &entry);
        self.streams.remove(stream);
        self.workflows.insert(id.clone(), Slot::Retired(seq));
        self.metrics.retired();
        Ok(())
    }

    /// Why there is nothing more to say about a retired workflow, and what there is.
    pub(super) fn retired(&self, id: &WorkflowId, entry: u64) -> Refusal {
        let message = match self.tombstone(entry) {
            Some((at, tombstone)) => format!(
                "{id} ({}@{}) ended {} at {} and was retired at {at}: its {} events are no longer kept; entry {entry} of the audit log has their first and last hash",
                tombstone.definition,
                tombstone.version,
                tombstone.state,
                tombstone.ended_at.unwrap_or_default(),
                tombstone.events,
            ),
            None => format!(
                "{id} ended long ago and was retired: its events are no longer kept; entry {entry} of the audit log stands for them"
            ),
        };
        Refusal::new(Kind::NotFound, "retired", message)
    }

    fn tombstone(&self, entry: u64) -> Option<(Timestamp, Tombstone)> {
        let records = self.store.read(&StreamId::Audit, entry, 1).ok()?;
        let record = records.first()?;
        let place = usize::try_from(entry.checked_sub(record.first)?).ok()?;
        let recorded = Recorded::<AuditEvent>::read_line(record.lines().nth(place)?).ok()?;
        match recorded.body {
            AuditEvent::Retired(tombstone) => Some((recorded.at, tombstone)),
            AuditEvent::Acted { .. } | AuditEvent::Restored { .. } => None,
        }
    }
}
