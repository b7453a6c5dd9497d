//! Streams in memory, for tests and simulation. It forgets what was not synced when it "crashes", as a disk would.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use drover_core::{
    stream::{Head, Record, StreamId},
    time::Timestamp,
};

use super::{Batch, EventStore, Found, RestorePending, StoreError, next_heads, verify};

/// What survives the process.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    records: BTreeMap<StreamId, BTreeMap<u64, Record>>,
    mark: Option<Timestamp>,
    restore: Option<RestorePending>,
    full: bool,
}

impl Disk {
    /// From now on every append fails, or no longer does.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Changes the lines of a record behind the store's back.
    pub fn damage(&self, stream: &StreamId, first: u64) {
        if let Some(record) = self
            .lock()
            .records
            .get_mut(stream)
            .and_then(|records| records.get_mut(&first))
        {
            let mut lines = record.lines.to_vec();
            lines[0] ^= 1;
            record.lines = Arc::from(lines);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Contents> {
        self.0.lock().expect("no one panics while holding the disk")
    }
}

/// A store on a [`Disk`].
pub struct MemoryStore {
    disk: Disk,
    heads: Mutex<BTreeMap<StreamId, Head>>,
}

impl MemoryStore {
    /// Opens a disk.
    #[must_use]
    pub fn open(disk: &Disk) -> Self {
        let heads = disk
            .lock()
            .records
            .iter()
            .filter_map(|(stream, records)| {
                Some((stream.clone(), records.values().next_back()?.head()))
            })
            .collect();
        Self {
            disk: disk.clone(),
            heads: Mutex::new(heads),
        }
    }

    /// Puts what a backup holds in the place of what the disk has, all of it or nothing.
    ///
    /// # Errors
    /// When the backup cannot be read.
    pub fn import(
        disk: &Disk,
        records: &mut dyn Iterator<Item = Result<(StreamId, Record), StoreError>>,
        pending: RestorePending,
    ) -> Result<(), StoreError> {
        let mut contents = Contents {
            restore: Some(pending),
            ..Contents::default()
        };
        for record in records {
            let (stream, record) = record?;
            let stream = contents.records.entry(stream).or_default();
            stream.insert(record.first, record);
        }
        *disk.lock() = contents;
        Ok(())
    }
}

impl EventStore for MemoryStore {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut heads = self
            .heads
            .lock()
            .expect("no append panics while it holds the heads");
        let next = next_heads(batch, |stream| {
            Ok(heads.get(stream).copied().unwrap_or(Head::EMPTY))
        })?;
        let mut disk = self.disk.lock();
        if disk.full {
            return Err(StoreError::Failed {
                folder: "memory".to_owned(),
                what: "write",
                source: "no space left on device".into(),
            });
        }
        for (stream, record) in &batch.records {
            disk.records
                .entry(stream.clone())
                .or_default()
                .insert(record.first, record.clone());
        }
        for stream in &batch.removed {
            disk.records.remove(stream);
            heads.remove(stream);
        }
        if batch.mark.is_some() {
            disk.mark = batch.mark;
        }
        if batch.clear_restore {
            disk.restore = None;
        }
        heads.extend(next);
        Ok(())
    }

    fn read(&self, stream: &StreamId, from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let disk = self.disk.lock();
        let Some(records) = disk.records.get(stream) else {
            return Ok(Vec::new());
        };
        let start = records
            .range(..=from.max(1))
            .next_back()
            .map_or(1, |(first, _)| *first);
        Ok(records
            .range(start..)
            .take(limit)
            .map(|(_, record)| record.clone())
            .collect())
    }

    fn scan(&self, visit: &mut dyn FnMut(Found)) -> Result<(), StoreError> {
        let streams: Vec<(StreamId, Vec<Record>)> = self
            .disk
            .lock()
            .records
            .iter()
            .map(|(stream, records)| (stream.clone(), records.values().cloned().collect()))
            .collect();
        for (stream, records) in streams {
            visit(verify(stream, records.into_iter().map(Ok)));
        }
        Ok(())
    }

    fn mark(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.disk.lock().mark)
    }

    fn restore_pending(&self) -> Result<Option<RestorePending>, StoreError> {
        Ok(self.disk.lock().restore)
    }

    fn size(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{self, Reopen};

    impl Reopen for Disk {
        type Store = MemoryStore;

        fn open(&self) -> MemoryStore {
            MemoryStore::open(self)
        }

        fn after_all(&self) {}
    }

    #[test]
    fn memory_keeps_the_contract() {
        conformance::run(&|| Disk::default());
    }
}
