//! Streams: what every append-only, hash-chained sequence of events has in common.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    ids::{Actor, Digest, WorkflowId},
    time::Timestamp,
};

/// Names a stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamId {
    /// What people did; tombstones. Never deleted.
    Audit,
    /// Definitions and plans.
    Catalog,
    /// Workers, pools, kinds, epochs, the brake.
    Pools,
    /// One workflow.
    Workflow(WorkflowId),
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalog => f.write_str("catalog"),
            Self::Pools => f.write_str("pools"),
            Self::Audit => f.write_str("audit"),
            Self::Workflow(id) => write!(f, "workflow/{id}"),
        }
    }
}

impl StreamId {
    /// Reads what [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "catalog" => Some(Self::Catalog),
            "pools" => Some(Self::Pools),
            "audit" => Some(Self::Audit),
            _ => WorkflowId::new(text.strip_prefix("workflow/")?)
                .ok()
                .map(Self::Workflow),
        }
    }
}

/// One event of a stream other than a workflow's, with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded<B> {
    /// Counts from 1 within the stream.
    pub seq: u64,
    /// Domain time.
    pub at: Timestamp,
    /// Who asked for it; `None` for what the engine did by itself.
    pub actor: Option<Actor>,
    /// What happened.
    pub body: B,
}

#[derive(Serialize)]
struct LineOut<'a, B> {
    seq: u64,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: &'a Option<Actor>,
    #[serde(flatten)]
    body: &'a B,
}

#[derive(Deserialize)]
struct LineHead {
    seq: u64,
    at: Timestamp,
    #[serde(default)]
    actor: Option<Actor>,
}

impl<B: Serialize + DeserializeOwned> Recorded<B> {
    /// Appends the event's line, with its newline.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        let line = LineOut {
            seq: self.seq,
            at: self.at,
            actor: &self.actor,
            body: &self.body,
        };
        serde_json::to_writer(&mut *out, &line).expect("events serialize into memory");
        out.push(b'\n');
    }

    /// Reads a line.
    ///
    /// # Errors
    /// When the line is not an event of this or an earlier version.
    pub fn read_line(line: &[u8]) -> Result<Self, serde_json::Error> {
        let head: LineHead = serde_json::from_slice(line)?;
        let body: B = serde_json::from_slice(line)?;
        Ok(Self {
            seq: head.seq,
            at: head.at,
            actor: head.actor,
            body,
        })
    }
}

/// The end of a stream: where the next record goes and what it is chained to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Seq of the newest event; 0 for an empty stream.
    pub seq: u64,
    /// Hash of the newest record; zeros for an empty stream.
    pub hash: Digest,
}

impl Head {
    /// The head of a stream without events.
    pub const EMPTY: Self = Self {
        seq: 0,
        hash: Digest([0; 32]),
    };
}

/// Some lines that were appended together: the unit of a stream's hash chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Seq of its first event.
    pub first: u64,
    /// Number of its events; at least 1.
    pub count: u32,
    /// SHA-256 over the hash before it and its lines.
    pub hash: Digest,
    /// JSON lines, each ended by a newline.
    pub lines: Arc<[u8]>,
}

/// Why a record does not continue a stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A record is missing, or one too many.
    #[error("the record begins at event {found}; {expected} comes next")]
    Gap {
        /// What should come.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// The lines are not what was written, or not in this place.
    #[error("the hash of the record at event {at} does not match")]
    Hash {
        /// Seq of its first event.
        at: u64,
    },
    /// The lines and the count disagree.
    #[error("the record at event {at} says {count} events and holds {lines}")]
    Count {
        /// Seq of its first event.
        at: u64,
        /// What it says.
        count: u32,
        /// What it holds.
        lines: usize,
    },
}

impl Record {
    /// Chains some lines to a head.
    #[must_use]
    pub fn chain(head: &Head, count: u32, lines: Vec<u8>) -> Self {
        let hash = hash(&head.hash, &lines);
        Self {
            first: head.seq + 1,
            count,
            hash,
            lines: Arc::from(lines),
        }
    }

    /// The head after this record.
    #[must_use]
    pub fn head(&self) -> Head {
        Head {
            seq: self.first + u64::from(self.count) - 1,
            hash: self.hash,
        }
    }

    /// Checks that this record continues a head.
    ///
    /// # Errors
    /// When it does not.
    pub fn verify(&self, head: &Head) -> Result<Head, ChainError> {
        if self.first != head.seq + 1 {
            return Err(ChainError::Gap {
                expected: head.seq + 1,
                found: self.first,
            });
        }
        let lines = self.lines.iter().filter(|byte| **byte == b'\n').count();
        if self.count == 0 || lines != self.count as usize {
            return Err(ChainError::Count {
                at: self.first,
                count: self.count,
                lines,
            });
        }
        if hash(&head.hash, &self.lines) != self.hash {
            return Err(ChainError::Hash { at: self.first });
        }
        Ok(self.head())
    }

    /// Its lines, without their newlines.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
    }
}

fn hash(before: &Digest, lines: &[u8]) -> Digest {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    hasher.update(before.0);
    hasher.update(lines);
    Digest(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_holds_and_every_single_change_breaks_it() {
        let first = Record::chain(&Head::EMPTY, 2, b"a\nb\n".to_vec());
        let second = Record::chain(&first.head(), 1, b"c\n".to_vec());
        let head = first
            .verify(&Head::EMPTY)
            .and_then(|head| second.verify(&head))
            .unwrap();
        assert_eq!(head.seq, 3);

        for (place, byte) in [(0, b'x'), (2, b'x'), (1, b' ')] {
            let mut changed = first.clone();
            let mut lines = changed.lines.to_vec();
            lines[place] = byte;
            changed.lines = Arc::from(lines);
            assert!(changed.verify(&Head::EMPTY).is_err(), "{place}");
        }
        assert!(second.verify(&Head::EMPTY).is_err(), "a record is missing");
        let moved = Record {
            first: 3,
            ..Record::chain(&Head::EMPTY, 1, b"c\n".to_vec())
        };
        assert!(
            moved.verify(&first.head()).is_err(),
            "chained to something else"
        );
    }

    #[test]
    fn stream_names_survive_the_round_trip() {
        let workflow = StreamId::Workflow(WorkflowId::new("m1").unwrap());
        for id in [
            StreamId::Catalog,
            StreamId::Pools,
            StreamId::Audit,
            workflow,
        ] {
            assert_eq!(StreamId::parse(&id.to_string()), Some(id));
        }
        assert_eq!(StreamId::parse("workflow/"), None);
    }
}
