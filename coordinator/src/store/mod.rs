//! Where streams are kept.
//!
//! [`EventStore`] is the contract; one conformance suite (`conformance`, run by the tests of both implementations) says
//! what it means. [`sled`] is the default; [`memory`] is for tests and simulation.
//!
//! The contract in one sentence: what [`EventStore::append`] has answered survives SIGKILL and power loss, all of a
//! batch or none of it.

#[cfg(test)]
mod conformance;
mod key;
pub mod memory;
mod record;
pub mod sled;

use std::{collections::BTreeMap, io};

use drover_core::{
    stream::{ChainError, Head, Record, StreamId},
    time::Timestamp,
};

/// Records that are made durable together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In order; one stream may occur more than once.
    pub records: Vec<(StreamId, Record)>,
    /// Streams that are taken away, all of their records; none of them is in `records`.
    pub removed: Vec<StreamId>,
    /// The domain clock has surely been here.
    pub mark: Option<Timestamp>,
    /// A restore is complete: forget that it was under way.
    pub clear_restore: bool,
}

impl Batch {
    /// True when there is nothing to make durable.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
            && self.removed.is_empty()
            && self.mark.is_none()
            && !self.clear_restore
    }
}

/// That a store was filled from a backup and its coordinator has not begun yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RestorePending {
    /// The epoch in the backup.
    pub backup_epoch: u64,
    /// The audit stream's head in the backup.
    pub audit_head: Head,
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another coordinator has it.
    #[error("the data folder {folder} is in use by another coordinator")]
    Locked {
        /// Which folder.
        folder: String,
    },
    /// It was written by a later version.
    #[error(
        "the data folder {folder} has format {found} and this version knows up to {known}: start the newer coordinator that wrote it, or fill an empty folder from a backup that was made before the upgrade"
    )]
    Newer {
        /// Which folder.
        folder: String,
        /// What it has.
        found: String,
        /// What is known here.
        known: u32,
    },
    /// It does not open, or does not take or give what it should.
    #[error("the store in {folder} failed while trying to {what}")]
    Failed {
        /// Which folder.
        folder: String,
        /// What was tried.
        what: &'static str,
        /// What the library says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A batch does not continue its stream: a bug of the engine.
    #[error("the batch does not continue the stream {stream}")]
    Order {
        /// Which.
        stream: String,
        /// Why.
        #[source]
        source: ChainError,
    },
    /// A file of the folder could not be used.
    #[error("{path}: could not {what}")]
    File {
        /// Which file.
        path: String,
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// One stream as it was found: whole, or whole up to some event.
#[derive(Debug)]
pub struct Found {
    /// Which stream.
    pub stream: StreamId,
    /// Its sound records, in order.
    pub records: Vec<Record>,
    /// Set when the rest is damaged: what is wrong with the first record after them.
    pub damage: Option<String>,
}

/// Streams of hash-chained records.
pub trait EventStore: Send + Sync {
    /// Makes a batch durable, all of it or nothing.
    ///
    /// # Errors
    /// When it is not durable, or may not be: the caller opens the store again and folds what it finds.
    fn append(&self, batch: &Batch) -> Result<(), StoreError>;

    /// The records of a stream from the one that holds event `from` on, at most `limit` of them.
    ///
    /// # Errors
    /// When the store cannot be read. A stream that is not there is empty.
    fn read(&self, stream: &StreamId, from: u64, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// Visits every stream, ordered by name: `audit`, `catalog`, `pools`, then workflows.
    ///
    /// # Errors
    /// When the store cannot be read. Damage of one stream is in its [`Found`].
    fn scan(&self, visit: &mut dyn FnMut(Found)) -> Result<(), StoreError>;

    /// The newest mark of the domain clock.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn mark(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Set from the end of a restore until its coordinator has begun.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn restore_pending(&self) -> Result<Option<RestorePending>, StoreError>;

    /// Bytes on disk; 0 when it has none.
    fn size(&self) -> u64;
}

/// Checks that a batch continues the streams it appends to, and gives their new heads.
fn next_heads(
    batch: &Batch,
    mut known: impl FnMut(&StreamId) -> Result<Head, StoreError>,
) -> Result<BTreeMap<StreamId, Head>, StoreError> {
    let mut next: BTreeMap<StreamId, Head> = BTreeMap::new();
    for (stream, record) in &batch.records {
        let head = match next.get(stream) {
            Some(head) => *head,
            None => known(stream)?,
        };
        if record.first != head.seq + 1 {
            let source = ChainError::Gap {
                expected: head.seq + 1,
                found: record.first,
            };
            return Err(StoreError::Order {
                stream: stream.to_string(),
                source,
            });
        }
        next.insert(stream.clone(), record.head());
    }
    Ok(next)
}

/// Takes the records of one stream in order and stops at the first that does not continue it.
fn verify(stream: StreamId, records: impl Iterator<Item = Result<Record, String>>) -> Found {
    let mut found = Found {
        stream,
        records: Vec::new(),
        damage: None,
    };
    let mut head = Head::EMPTY;
    for record in records {
        let next = record.and_then(|record| {
            record
                .verify(&head)
                .map(|head| (record, head))
                .map_err(|error| error.to_string())
        });
        match next {
            Ok((record, after)) => {
                head = after;
                found.records.push(record);
            }
            Err(damage) => {
                found.damage = Some(damage);
                break;
            }
        }
    }
    found
}
