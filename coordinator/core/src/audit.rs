//! What people did: the events of the audit stream, which is never deleted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Digest, WorkflowId},
    stream::{Head, Recorded, StreamId},
    time::Timestamp,
};

/// The act that starts a workflow.
pub const WORKFLOW_START: &str = "workflow.start";

/// One entry of the audit stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum AuditEvent {
    /// Somebody changed something.
    Acted {
        /// `workflow.cancel`, `definition.register`, `brake.on`, …
        act: String,
        /// What it was done to.
        target: String,
        /// Why, in the actor's words.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// What it came to.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
    },
    /// The store was filled from a backup. The only fork that verification accepts.
    Restored {
        /// The new epoch.
        epoch: u64,
        /// The audit stream's head in the backup.
        head: Digest,
        /// The coordinator's epoch when the backup was made.
        backup_epoch: u64,
    },
    /// The events of a workflow that had ended long ago were taken away; this stands for them.
    Retired(Tombstone),
}

/// What stays of a workflow whose events retention took away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Which.
    pub workflow: WorkflowId,
    /// Name of its definition.
    pub definition: String,
    /// Version of its definition.
    pub version: u32,
    /// How it ended, a state's name.
    pub state: String,
    /// When it was started.
    pub created_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How many events it had.
    pub events: u64,
    /// The hash of its first record.
    pub first: Digest,
    /// The hash of its last record.
    pub last: Digest,
}

/// Holds the audit stream against the streams that are there: every workflow that was started has its events, or a
/// tombstone, and never both.
#[derive(Debug, Default)]
pub struct AuditCheck {
    started: BTreeMap<WorkflowId, u64>,
    retired: BTreeMap<WorkflowId, u64>,
    faults: Vec<AuditFault>,
}

/// Where the audit stream and the other streams disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFault {
    /// Which stream is not as it should be.
    pub stream: StreamId,
    /// The entry of the audit stream that says how it should be.
    pub entry: u64,
    /// One sentence.
    pub message: String,
}

impl AuditCheck {
    /// Takes the next line of the audit stream.
    pub fn take(&mut self, line: &[u8]) {
        let entry = match Recorded::<AuditEvent>::read_line(line) {
            Ok(entry) => entry,
            Err(error) => {
                let message = format!("a line is no entry of this or an earlier version: {error}");
                return self.fault(StreamId::Audit, 0, message);
            }
        };
        match entry.body {
            AuditEvent::Acted { act, target, .. } if act == WORKFLOW_START => {
                if let Ok(id) = WorkflowId::new(&target) {
                    self.started.insert(id, entry.seq);
                }
            }
            AuditEvent::Retired(tombstone) => {
                let id = tombstone.workflow;
                if tombstone.events == 0 {
                    let message = "its tombstone counts no events".to_owned();
                    self.fault(StreamId::Workflow(id.clone()), entry.seq, message);
                }
                if self.retired.insert(id.clone(), entry.seq).is_some() {
                    let message = "it has two tombstones".to_owned();
                    self.fault(StreamId::Workflow(id), entry.seq, message);
                }
            }
            AuditEvent::Acted { .. } | AuditEvent::Restored { .. } => {}
        }
    }

    fn fault(&mut self, stream: StreamId, entry: u64, message: String) {
        self.faults.push(AuditFault {
            stream,
            entry,
            message,
        });
    }

    /// What is wrong, given the streams that are there.
    #[must_use]
    pub fn faults(mut self, heads: &BTreeMap<StreamId, Head>) -> Vec<AuditFault> {
        let has_events = |id: &WorkflowId| heads.contains_key(&StreamId::Workflow(id.clone()));
        let mut found = Vec::new();
        for (id, entry) in &self.retired {
            if has_events(id) {
                let message = format!("it has a tombstone (audit entry {entry}) and events, too");
                found.push((id.clone(), *entry, message));
            }
        }
        for (id, entry) in &self.started {
            if !has_events(id) && !self.retired.contains_key(id) {
                let message = format!(
                    "it was started (audit entry {entry}), and is gone without a tombstone"
                );
                found.push((id.clone(), *entry, message));
            }
        }
        for (id, entry, message) in found {
            self.fault(StreamId::Workflow(id), entry, message);
        }
        self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(events: Vec<AuditEvent>) -> Vec<Vec<u8>> {
        let line = |(seq, body)| {
            let mut line = Vec::new();
            let entry = Recorded {
                seq,
                at: Timestamp(0),
                actor: None,
                body,
            };
            entry.write_line(&mut line);
            line
        };
        (1..).zip(events).map(line).collect()
    }

    fn start(id: &str) -> AuditEvent {
        AuditEvent::Acted {
            act: WORKFLOW_START.to_owned(),
            target: id.to_owned(),
            reason: String::new(),
            message: String::new(),
        }
    }

    fn retired(id: &str) -> AuditEvent {
        AuditEvent::Retired(Tombstone {
            workflow: WorkflowId::new(id).unwrap(),
            definition: "toy".to_owned(),
            version: 1,
            state: "Completed".to_owned(),
            created_at: Some(Timestamp(1)),
            ended_at: Some(Timestamp(2)),
            events: 9,
            first: Digest([1; 32]),
            last: Digest([2; 32]),
        })
    }

    fn faults(events: Vec<AuditEvent>, there: &[&str]) -> Vec<String> {
        let mut check = AuditCheck::default();
        for line in lines(events) {
            check.take(&line);
        }
        let stream = |id: &&str| StreamId::Workflow(WorkflowId::new(id).unwrap());
        let heads = there.iter().map(|id| (stream(id), Head::EMPTY)).collect();
        let faults = check.faults(&heads).into_iter();
        faults
            .map(|fault| format!("{}: {}", fault.stream, fault.message))
            .collect()
    }

    #[test]
    fn a_workflow_has_events_or_a_tombstone_and_never_neither_or_both() {
        let events = || vec![start("a"), start("b"), retired("a")];
        assert_eq!(faults(events(), &["b"]), [""; 0]);
        let both = faults(events(), &["a", "b"]);
        assert!(
            both.len() == 1 && both[0].contains("and events, too"),
            "{both:?}"
        );
        let neither = faults(events(), &[]);
        assert!(
            neither.len() == 1
                && neither[0].starts_with("workflow/b: it was started (audit entry 2)"),
            "{neither:?}"
        );
        let twice = faults(vec![start("a"), retired("a"), retired("a")], &[]);
        assert!(
            twice.len() == 1 && twice[0].contains("two tombstones"),
            "{twice:?}"
        );
    }
}
