//! The next domain time at which each workflow changes by itself.

use std::collections::{BTreeMap, BTreeSet};

use drover_core::{ids::WorkflowId, time::Timestamp};

/// Deadlines by workflow and by time.
#[derive(Default)]
pub(super) struct Timers {
    by_workflow: BTreeMap<WorkflowId, Timestamp>,
    by_time: BTreeSet<(Timestamp, WorkflowId)>,
}

impl Timers {
    /// The deadline of a workflow is now this one.
    pub(super) fn set(&mut self, id: &WorkflowId, at: Option<Timestamp>) {
        if self.by_workflow.get(id).copied() == at {
            return;
        }
        if let Some(old) = self.by_workflow.remove(id) {
            self.by_time.remove(&(old, id.clone()));
        }
        if let Some(at) = at {
            self.by_workflow.insert(id.clone(), at);
            self.by_time.insert((at, id.clone()));
        }
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// The workflows whose time has come.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<WorkflowId> {
        let mut due = Vec::new();
        while let Some((at, id)) = self.by_time.first().cloned() {
            if at > now {
                break;
            }
            self.by_time.remove(&(at, id.clone()));
            self.by_workflow.remove(&id);
            due.push(id);
        }
        due
    }
}
