//! The continuous backup: every commit is copied to a folder of its own, beside the engine and never in its way.
//!
//! The engine hands each durable batch to a writer on a thread of its own. The writer gathers for a moment, appends to a
//! segment, syncs, and says how far it is. When it has lost its place (it begins, its disk was full, the queue was too
//! long) it asks for a [`Whole`]: the store and how far it reaches; it compares that with what its folder holds and copies
//! what is missing. So there is one way to begin, to go on after a restart and to recover.
//!
//! The target failing is loud (logs, metrics, `drover backup status`, `/healthz`) and stops nothing else. A folder that
//! holds another history is never written to: it may be the last copy of a store that is gone.

mod folder;
mod objects;
mod status;
mod writer;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Weak},
    thread,
};

use drover_core::{
    backup::continuous::Entry,
    stream::{Head, StreamId},
    time::Timestamp,
};
use tokio::sync::mpsc;

pub use self::status::{Report, Status};
use crate::{
    objects::Objects,
    store::{Batch, EventStore},
};

/// Batches that may wait for the writer; beyond that it reads them from the store.
const QUEUE: usize = 4096;

/// Bytes that may wait for the writer; beyond that it reads them from the store.
const QUEUE_BYTES_MAX: u64 = 64 << 20;

/// One durable batch.
struct Commit {
    number: u64,
    entries: Vec<Entry>,
    bytes: u64,
    epoch: u64,
    at: Timestamp,
}

/// A store and how far it reaches.
pub struct Whole {
    /// Where to read; closed with its engine, so that the next one can open it.
    pub store: Weak<dyn EventStore>,
    /// How far.
    pub heads: BTreeMap<StreamId, Head>,
    /// Streams that do not fold: their copies are left as they are.
    pub quarantined: BTreeSet<StreamId>,
    /// The epoch.
    pub epoch: u64,
    /// The domain time.
    pub at: Timestamp,
}

enum Message {
    Commit(Commit),
    Whole(u64, Box<Whole>),
}

/// The engine's side of the backup; cheap to clone.
#[derive(Clone)]
pub struct Mirror {
    status: Arc<Status>,
    to: mpsc::Sender<Message>,
}

impl Mirror {
    /// Begins to copy into a folder, the large outputs that events name included; ends, with everything copied that it was handed, when every mirror is dropped.
    #[must_use]
    pub fn start(folder: PathBuf, objects: Arc<Objects>) -> (Self, thread::JoinHandle<()>) {
        let status = Arc::new(Status::new(folder));
        let (to, from) = mpsc::channel(QUEUE);
        let mirror = Self {
            status: Arc::clone(&status),
            to,
        };
        let thread = thread::Builder::new()
            .name("backup".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .expect("a runtime without I/O always builds");
                runtime.block_on(writer::run(status, objects, from));
            })
            .expect("the system gives one more thread");
        (mirror, thread)
    }

    /// How the backup is.
    #[must_use]
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// An engine begins: its store is to be compared with what is copied.
    pub(crate) fn engine_begins(&self) {
        self.status.sent();
        self.status.want();
    }

    /// A batch is durable, and `whole` includes it. Never waits.
    pub(crate) fn committed(
        &self,
        batch: &Batch,
        epoch: u64,
        at: Timestamp,
        whole: impl FnOnce() -> Whole,
    ) {
        let is_empty = batch.records.is_empty() && batch.removed.is_empty();
        let number = if is_empty {
            self.status.newest()
        } else {
            self.status.sent()
        };
        if self.status.is_wanted() {
            if let Ok(permit) = self.to.try_reserve() {
                self.status.granted();
                permit.send(Message::Whole(number, Box::new(whole())));
            }
            return;
        }
        if is_empty {
            return;
        }
        let bytes = batch.records.iter().map(|(_, record)| record.lines.len());
        let bytes = bytes.sum::<usize>() as u64;
        let records = batch.records.iter().cloned();
        let removed = batch.removed.iter().cloned();
        let commit = Commit {
            number,
            entries: records
                .map(|(stream, record)| Entry::Record(stream, record))
                .chain(removed.map(Entry::Retired))
                .collect(),
            bytes,
            epoch,
            at,
        };
        let waiting = self.status.waits(bytes);
        if waiting > QUEUE_BYTES_MAX || self.to.try_send(Message::Commit(commit)).is_err() {
            self.status.taken(bytes);
            self.status.want();
        }
    }
}
