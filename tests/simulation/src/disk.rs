//! The coordinator's disk: what was written and not yet synced is gone after a crash, and syncing may fail.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use drover_coordinator::{
    store::{Batch, EventStore, Found, RestorePending, StoreError},
    supervise::StoreFactory,
};
use drover_core::{
    stream::{Head, Record, StreamId},
    time::Timestamp,
};

use crate::{
    evidence::Streams,
    history::{Recorder, What},
};

/// How the next append to a workflow goes: nobody would miss the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Well.
    Fine,
    /// It fails; whether the batch is on the disk all the same is for whoever opens it to find out.
    Fails {
        /// It is.
        keeps: bool,
    },
    /// As `Fails`, and the machine dies in it.
    Dies {
        /// It is.
        keeps: bool,
    },
}

/// A disk that outlives processes.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Mutex<Contents>>);

struct Contents {
    /// What is there after a crash.
    synced: Image,
    /// What the process sees: that, and what it wrote since.
    seen: Image,
    /// Written and not synced.
    written: Vec<Batch>,
    mood: Mood,
    dying: bool,
    lies: bool,
    recorder: Recorder,
}

#[derive(Clone, Default)]
struct Image {
    streams: Streams,
    mark: Option<Timestamp>,
}

impl Image {
    fn take(&mut self, batch: &Batch) {
        for (stream, record) in &batch.records {
            self.streams
                .entry(stream.clone())
                .or_default()
                .push(record.clone());
        }
        if batch.mark.is_some() {
            self.mark = batch.mark;
        }
    }

    fn head(&self, stream: &StreamId) -> Head {
        self.streams
            .get(stream)
            .and_then(|records| records.last())
            .map_or(Head::EMPTY, Record::head)
    }
}

impl Contents {
    fn write(&mut self, batch: &Batch) {
        self.seen.take(batch);
        self.written.push(batch.clone());
    }

    /// Whoever wrote it is gone, and what was not synced with it.
    fn forget(&mut self) {
        self.written.clear();
        self.seen = self.synced.clone();
    }

    fn sync(&mut self) {
        // A disk that lies is one batch behind.
        let unsynced = if self.lies { self.written.pop() } else { None };
        for batch in std::mem::take(&mut self.written) {
            self.synced.take(&batch);
            for (stream, record) in &batch.records {
                self.recorder.note(What::Durable {
                    stream: stream.clone(),
                    seq: record.head().seq,
                });
            }
        }
        self.written.extend(unsynced);
    }
}

impl Disk {
    pub(crate) fn new(recorder: Recorder) -> Self {
        Self(Arc::new(Mutex::new(Contents {
            synced: Image::default(),
            seen: Image::default(),
            written: Vec::new(),
            mood: Mood::Fine,
            dying: false,
            lies: false,
            recorder,
        })))
    }

    /// How the next append to a workflow goes; later ones go well again.
    pub(crate) fn set_mood(&self, mood: Mood) {
        self.lock().mood = mood;
    }

    /// From here on it says that it has synced a batch before it has.
    pub(crate) fn lie(&self) {
        self.lock().lies = true;
    }

    /// The machine dies: whoever runs on it is to be crashed.
    pub(crate) fn is_dying(&self) -> bool {
        self.lock().dying
    }

    /// The process ends where it stands.
    pub(crate) fn crash(&self) {
        let mut contents = self.lock();
        contents.forget();
        contents.dying = false;
    }

    /// What the disk holds when it is asked in peace.
    pub(crate) fn streams(&self) -> Streams {
        self.lock().seen.streams.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Contents> {
        self.0.lock().expect("nobody panics while holding the disk")
    }
}

fn failed(what: &'static str) -> StoreError {
    StoreError::Failed {
        folder: "simulated".to_owned(),
        what,
        source: "input/output error".into(),
    }
}

impl StoreFactory for Disk {
    fn open(&self) -> Result<Arc<dyn EventStore>, StoreError> {
        let mut contents = self.lock();
        if contents.dying {
            return Err(failed("open"));
        }
        // A process that begins again finds what its predecessor left to the system, or a part of it: here, nothing.
        contents.forget();
        Ok(Arc::new(Store(self.clone())))
    }

    fn import(
        &self,
        _: &mut dyn Iterator<Item = Result<(StreamId, Record), StoreError>>,
        _: RestorePending,
    ) -> Result<(), StoreError> {
        Err(failed("import"))
    }
}

/// The store on a disk.
struct Store(Disk);

impl EventStore for Store {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut contents = self.0.lock();
        if contents.dying {
            return Err(failed("write"));
        }
        let mut heads: BTreeMap<&StreamId, Head> = BTreeMap::new();
        for (stream, record) in &batch.records {
            let head = heads
                .get(stream)
                .copied()
                .unwrap_or_else(|| contents.seen.head(stream));
            let next = record.verify(&head).map_err(|source| StoreError::Order {
                stream: stream.to_string(),
                source,
            })?;
            heads.insert(stream, next);
        }
        contents.write(batch);
        let matters = batch
            .records
            .iter()
            .any(|(stream, _)| matches!(stream, StreamId::Workflow(_)));
        let mood = if matters {
            std::mem::replace(&mut contents.mood, Mood::Fine)
        } else {
            Mood::Fine
        };
        match mood {
            Mood::Fine => {
                contents.sync();
                Ok(())
            }
            Mood::Fails { keeps } => {
                if keeps {
                    contents.sync();
                }
                Err(failed("sync"))
            }
            Mood::Dies { keeps } => {
                if keeps {
                    contents.sync();
                }
                contents.dying = true;
                Err(failed("sync"))
            }
        }
    }

    fn read(&self, stream: &StreamId, from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let contents = self.0.lock();
        let Some(records) = contents.seen.streams.get(stream) else {
            return Ok(Vec::new());
        };
        let first = records
            .partition_point(|record| record.first <= from.max(1))
            .saturating_sub(1);
        Ok(records.iter().skip(first).take(limit).cloned().collect())
    }

    fn scan(&self, visit: &mut dyn FnMut(Found)) -> Result<(), StoreError> {
        let streams = self.0.lock().seen.streams.clone();
        for (stream, records) in streams {
            visit(Found {
                stream,
                records,
                damage: None,
            });
        }
        Ok(())
    }

    fn mark(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.0.lock().seen.mark)
    }

    fn restore_pending(&self) -> Result<Option<RestorePending>, StoreError> {
        Ok(None)
    }

    fn size(&self) -> u64 {
        0
    }
}
