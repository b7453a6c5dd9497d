//! Streams in sled 0.34: the only file that names it.
//!
//! sled is used knowingly:
//!
//! * A write of sled is not durable until flushed, and its explicit flush ends in `sync_file_range`, which is no
//!   power-cut guarantee (sled issue 1452). So every append is one `apply_batch` into one tree, `flush`, and then
//!   `fdatasync` of sled's log file, before anything is answered.
//! * Files and folder are synced when they are created.
//! * Values larger than a segment's inline limit would go to files under `blobs/`, which sled never syncs; values here have
//!   at most 4 KiB, and the conformance suite asserts that the folder stays empty.
//! * After an I/O error sled refuses everything. The engine then drops the store, opens it again and folds what it finds.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::Mutex,
};

use drover_core::{
    stream::{Head, Record, StreamId},
    time::Timestamp,
};

use super::{
    Batch, EventStore, Found, RestorePending, StoreError,
    key::{self, META},
    next_heads,
    record::{Decoder, encode},
    verify,
};

/// 2: streams may be gone, with a tombstone in the audit stream. 3: a workflow that was restored may tell of looks that ended.
const FORMAT: u32 = 3;
const CACHE_BYTES: u64 = 64 << 20;
const MARK: &[u8] = b"\0mark";
const RESTORE: &[u8] = b"\0restore";

/// A data folder held by this process.
///
/// ```text
/// LOCK      held exclusively while a coordinator runs
/// FORMAT    number of the folder's format
/// db/       sled
/// ```
pub struct SledStore {
    folder: PathBuf,
    db: sled::Db,
    log: File,
    /// Heads of streams that were appended to; the others are looked up when they are.
    heads: Mutex<BTreeMap<StreamId, Head>>,
    _lock: File,
}

impl SledStore {
    /// Opens a data folder, or makes one.
    ///
    /// # Errors
    /// When another process has it, a later version wrote it, or it does not open.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(folder)
            .map_err(|source| file_error(folder, "create the folder", source))?;
        let lock = lock(folder)?;
        check_format(folder)?;
        let path = folder.join("db");
        await_the_store_before(&path.join("db"))?;
        let failed = |what| move |source: sled::Error| failed(folder, what, source);
        let db = sled::Config::new()
            .path(&path)
            .flush_every_ms(None)
            .mode(sled::Mode::HighThroughput)
            // Streams are folded in memory; the library's default of 1 GiB would only hold them twice.
            .cache_capacity(CACHE_BYTES)
            .open()
            .map_err(failed(
                "open it; restore it from a backup into an empty folder",
            ))?;
        db.flush().map_err(failed("flush it"))?;
        let log_path = path.join("db");
        let log = OpenOptions::new()
            .read(true)
            .open(&log_path)
            .map_err(|source| file_error(&log_path, "open sled's log", source))?;
        log.sync_all()
            .map_err(|source| file_error(&log_path, "sync sled's log", source))?;
        for folder in [path.as_path(), folder] {
            sync_folder(folder)?;
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            db,
            log,
            heads: Mutex::new(BTreeMap::new()),
            _lock: lock,
        })
    }

    /// The end of a stream, from its last record.
    fn find_head(&self, stream: &StreamId) -> Result<Head, StoreError> {
        let damaged = |message: String| StoreError::Failed {
            folder: self.folder.display().to_string(),
            what: "read",
            source: message.into(),
        };
        let Some(last) = self.db.scan_prefix(key::prefix(stream)).next_back() else {
            return Ok(Head::EMPTY);
        };
        let (last, value) = last.map_err(|source| failed(&self.folder, "read", source))?;
        let (_, first, chunk) =
            key::parse(&last).ok_or_else(|| damaged("a key has no known shape".to_owned()))?;
        let value = match chunk {
            0 => Some(value),
            _ => self
                .db
                .get(key::key(stream, first, 0))
                .map_err(|source| failed(&self.folder, "read", source))?,
        };
        let value =
            value.ok_or_else(|| damaged(format!("the record at event {first} has no begin")))?;
        Ok(Decoder::begin(first, &value).map_err(damaged)?.head())
    }

    /// Fills a new data folder from a backup and leaves it ready to be opened: all of it, or nothing that opens.
    ///
    /// # Errors
    /// What the records said, or that the folder cannot be written.
    pub fn import(
        folder: &Path,
        records: &mut dyn Iterator<Item = Result<(StreamId, Record), StoreError>>,
        pending: RestorePending,
    ) -> Result<(), StoreError> {
        let target = folder.join("db");
        let staging = folder.join("restore");
        if staging.exists() {
            fs::remove_dir_all(&staging)
                .map_err(|source| file_error(&staging, "remove an earlier try", source))?;
        }
        {
            let store = Self::open(&staging)?;
            let mut batch = Batch::default();
            for record in records {
                batch.records.push(record?);
                if batch.records.len() >= 1024 {
                    store.append(&std::mem::take(&mut batch))?;
                }
            }
            store.append(&batch)?;
            let value = serde_json::to_vec(&pending).expect("a small struct serializes");
            store
                .db
                .insert(RESTORE, value)
                .map_err(|source| failed(folder, "write the restore mark", source))?;
            store.sync()?;
        }
        if target.exists() {
            fs::remove_dir_all(&target)
                .map_err(|source| file_error(&target, "remove the empty store", source))?;
        }
        let staged = staging.join("db");
        fs::rename(&staged, &target)
            .map_err(|source| file_error(&staged, "move it into place", source))?;
        sync_folder(folder)?;
        fs::remove_dir_all(&staging).map_err(|source| file_error(&staging, "clean up", source))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.db
            .flush()
            .map_err(|source| failed(&self.folder, "flush", source))?;
        self.log
            .sync_data()
            .map_err(|source| file_error(&self.folder, "sync sled's log", source))
    }
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("LOCK");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| file_error(&path, "open the lock file", source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Locked {
            folder: folder.display().to_string(),
        }),
        Err(fs::TryLockError::Error(source)) => Err(file_error(&path, "lock it", source)),
    }
}

/// Waits until sled's threads of a store that this process has closed have let go of its log: they may hold it, and with it
/// sled's own lock, for a moment longer than the store is there. Nobody else can have it, because the folder is locked.
fn await_the_store_before(log: &Path) -> Result<(), StoreError> {
    match File::open(log) {
        Ok(file) => file
            .lock()
            .map_err(|source| file_error(log, "lock sled's log", source)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(file_error(log, "open sled's log", source)),
    }
}

/// Refuses a folder of a later version, and marks one of an earlier version as this one's: from here on it may hold what
/// an earlier version does not understand.
fn check_format(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join("FORMAT");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(FORMAT) => Ok(()),
            Ok(found) if found < FORMAT => {
                tracing::info!(
                    found,
                    now = FORMAT,
                    "the data folder's format is brought up to date"
                );
                write_format(folder)
            }
            _ => Err(StoreError::Newer {
                folder: folder.display().to_string(),
                found: text.trim().chars().take(20).collect(),
                known: FORMAT,
            }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => write_format(folder),
        Err(source) => Err(file_error(&path, "read it", source)),
    }
}

fn write_format(folder: &Path) -> Result<(), StoreError> {
    let (staged, path) = (folder.join("FORMAT.new"), folder.join("FORMAT"));
    let mut file =
        File::create(&staged).map_err(|source| file_error(&staged, "create it", source))?;
    file.write_all(format!("{FORMAT}\n").as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|source| file_error(&staged, "write it", source))?;
    fs::rename(&staged, &path).map_err(|source| file_error(&path, "put it in place", source))?;
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(|source| file_error(folder, "sync the folder", source))
}

fn file_error(path: &Path, what: &'static str, source: std::io::Error) -> StoreError {
    StoreError::File {
        path: path.display().to_string(),
        what,
        source,
    }
}

fn failed(folder: &Path, what: &'static str, source: sled::Error) -> StoreError {
    StoreError::Failed {
        folder: folder.display().to_string(),
        what,
        source: Box::new(source),
    }
}

impl EventStore for SledStore {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut heads = self
            .heads
            .lock()
            .expect("no append panics while it holds the heads");
        let next = next_heads(batch, |stream| match heads.get(stream) {
            Some(head) => Ok(*head),
            None => self.find_head(stream),
        })?;
        let mut writes = sled::Batch::default();
        for (stream, record) in &batch.records {
            for (chunk, value) in (0..).zip(encode(record)) {
                writes.insert(key::key(stream, record.first, chunk), value);
            }
        }
        for stream in &batch.removed {
            for key in self.db.scan_prefix(key::prefix(stream)).keys() {
                writes.remove(key.map_err(|source| failed(&self.folder, "read", source))?);
            }
        }
        if let Some(mark) = batch.mark {
            writes.insert(MARK, &mark.0.to_be_bytes());
        }
        if batch.clear_restore {
            writes.remove(RESTORE);
        }
        self.db
            .apply_batch(writes)
            .map_err(|source| failed(&self.folder, "write", source))?;
        self.sync()?;
        heads.extend(next);
        for stream in &batch.removed {
            heads.remove(stream);
        }
        Ok(())
    }

    fn read(&self, stream: &StreamId, from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let damaged = |message: String| StoreError::Failed {
            folder: self.folder.display().to_string(),
            what: "read",
            source: message.into(),
        };
        // The record that holds `from` may begin before it.
        let prefix = key::prefix(stream);
        let upper = key::key(stream, from.max(1), u16::MAX);
        let start = match self.db.range(prefix.clone()..=upper).next_back() {
            None => prefix.clone(),
            Some(entry) => {
                let (key, _) = entry.map_err(|source| failed(&self.folder, "read", source))?;
                let (_, first, _) = key::parse(&key)
                    .ok_or_else(|| damaged("a key has no known shape".to_owned()))?;
                key::key(stream, first, 0)
            }
        };
        let mut records = Vec::new();
        let mut decoder: Option<Decoder> = None;
        for entry in self.db.range(start..) {
            let (key, value) = entry.map_err(|source| failed(&self.folder, "read", source))?;
            if !key.starts_with(&prefix) {
                break;
            }
            let (_, first, chunk) =
                key::parse(&key).ok_or_else(|| damaged("a key has no known shape".to_owned()))?;
            match &mut decoder {
                Some(open) if open.first() == first => {
                    open.chunk(chunk, &value).map_err(damaged)?
                }
                _ => {
                    if let Some(whole) = decoder.take() {
                        records.push(whole.end().map_err(damaged)?);
                        if records.len() >= limit {
                            return Ok(records);
                        }
                    }
                    decoder = Some(Decoder::begin(first, &value).map_err(damaged)?);
                }
            }
        }
        if let Some(whole) = decoder {
            records.push(whole.end().map_err(damaged)?);
        }
        Ok(records)
    }

    fn scan(&self, visit: &mut dyn FnMut(Found)) -> Result<(), StoreError> {
        let mut current: Option<(StreamId, Vec<Result<Record, String>>)> = None;
        let mut decoder: Option<Decoder> = None;
        let mut finish = |current: &mut Option<(StreamId, Vec<Result<Record, String>>)>,
                          decoder: &mut Option<Decoder>| {
            if let Some((stream, mut records)) = current.take() {
                records.extend(decoder.take().map(Decoder::end));
                visit(verify(stream, records.into_iter()));
            }
        };
        for entry in self.db.iter() {
            let (key, value) = entry.map_err(|source| failed(&self.folder, "read", source))?;
            if key.first() == Some(&META) {
                continue;
            }
            let Some((stream, first, chunk)) = key::parse(&key) else {
                return Err(StoreError::Failed {
                    folder: self.folder.display().to_string(),
                    what: "read",
                    source: format!("a key has no known shape: {}", hex::encode(&key)).into(),
                });
            };
            if current.as_ref().is_none_or(|(name, _)| *name != stream) {
                finish(&mut current, &mut decoder);
                current = Some((stream, Vec::new()));
            }
            let Some((_, records)) = &mut current else {
                continue;
            };
            match &mut decoder {
                Some(open) if open.first() == first => {
                    if let Err(damage) = open.chunk(chunk, &value) {
                        records.push(Err(damage));
                        decoder = None;
                    }
                }
                _ => {
                    records.extend(decoder.take().map(Decoder::end));
                    match Decoder::begin(first, &value) {
                        Ok(open) => decoder = Some(open),
                        Err(damage) => records.push(Err(damage)),
                    }
                }
            }
        }
        finish(&mut current, &mut decoder);
        Ok(())
    }

    fn mark(&self) -> Result<Option<Timestamp>, StoreError> {
        let value = self
            .db
            .get(MARK)
            .map_err(|source| failed(&self.folder, "read", source))?;
        Ok(value
            .and_then(|value| <[u8; 8]>::try_from(&*value).ok())
            .map(|bytes| Timestamp(i64::from_be_bytes(bytes))))
    }

    fn restore_pending(&self) -> Result<Option<RestorePending>, StoreError> {
        let value = self
            .db
            .get(RESTORE)
            .map_err(|source| failed(&self.folder, "read", source))?;
        value
            .map(|value| {
                serde_json::from_slice(&value).map_err(|source| StoreError::Failed {
                    folder: self.folder.display().to_string(),
                    what: "read the restore mark",
                    source: Box::new(source),
                })
            })
            .transpose()
    }

    fn size(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use drover_core::ids::WorkflowId;

    use super::*;
    use crate::store::conformance::{self, Reopen};

    struct Folder(tempfile::TempDir);

    impl Reopen for Folder {
        type Store = SledStore;

        fn open(&self) -> SledStore {
            SledStore::open(self.0.path()).unwrap()
        }

        fn after_all(&self) {
            let blobs = self.0.path().join("db/blobs");
            let n = fs::read_dir(&blobs).map_or(0, Iterator::count);
            assert_eq!(
                n,
                0,
                "sled keeps values in {} that it never syncs",
                blobs.display()
            );
        }
    }

    #[test]
    fn sled_keeps_the_contract() {
        conformance::run(&|| Folder(tempfile::tempdir().unwrap()));
    }

    #[test]
    fn two_stores_on_one_folder_do_not_happen() {
        let folder = tempfile::tempdir().unwrap();
        let _first = SledStore::open(folder.path()).unwrap();
        assert!(matches!(
            SledStore::open(folder.path()),
            Err(StoreError::Locked { .. })
        ));
    }

    #[test]
    fn a_folder_of_a_later_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("FORMAT"), "99\n").unwrap();
        let error = SledStore::open(folder.path()).err().unwrap().to_string();
        assert!(
            error.contains("has format 99") && error.contains("from a backup that was made before"),
            "{error}"
        );
        assert!(!folder.path().join("db").exists(), "nothing was touched");
    }

    #[test]
    fn a_folder_of_an_earlier_version_is_marked_so_that_the_earlier_version_refuses_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("FORMAT"), "1\n").unwrap();
        drop(SledStore::open(folder.path()).unwrap());
        let format = fs::read_to_string(folder.path().join("FORMAT")).unwrap();
        assert_eq!(format, format!("{FORMAT}\n"));
    }

    #[test]
    fn damage_of_one_stream_is_found_and_the_others_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let stream = |text: &str| StreamId::Workflow(WorkflowId::new(text).unwrap());
        {
            let store = SledStore::open(folder.path()).unwrap();
            for name in ["a", "b"] {
                let mut head = Head::EMPTY;
                for _ in 0..3 {
                    let record = Record::chain(&head, 1, b"line\n".to_vec());
                    head = record.head();
                    store
                        .append(&Batch {
                            records: vec![(stream(name), record)],
                            ..Batch::default()
                        })
                        .unwrap();
                }
            }
            let key = key::key(&stream("a"), 2, 0);
            let mut value = store.db.get(&key).unwrap().unwrap().to_vec();
            *value.last_mut().unwrap() = b'!';
            store.db.insert(key, value).unwrap();
            store.sync().unwrap();
        }
        let store = SledStore::open(folder.path()).unwrap();
        let mut found = Vec::new();
        store.scan(&mut |stream| found.push(stream)).unwrap();
        assert_eq!(
            (found[0].records.len(), found[0].damage.is_some()),
            (1, true)
        );
        assert_eq!(
            (found[1].records.len(), found[1].damage.is_some()),
            (3, false)
        );
    }
}
