//! The folder of a continuous backup.
//!
//! ```text
//! LOCK                          held exclusively by the coordinator that writes
//! 000001-00000001.segment …     as `drover_core::backup::continuous` says
//! objects/<sha256> …            large outputs that the segments' events name
//! ```
//!
//! A segment is never appended to by another process than the one that began it: a torn end stays where it is, and the next
//! segment goes on from the last commit. After any error the folder is dropped and read again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use drover_core::{
    backup::continuous::{Copied, Entry, ReadError, SegmentEncoder, SegmentName, read},
    stream::{Head, Record, StreamId},
    time::Timestamp,
};

use super::{Whole, objects::CopiedObjects};
use crate::{
    objects::Objects,
    refusal::Refusal,
    store::{EventStore, StoreError},
};

/// A segment that is larger is followed by another one.
const SEGMENT_BYTES: u64 = 64 << 20;

/// So many bytes of retired streams are not worth copying everything anew.
const DEAD_BYTES: u64 = 64 << 20;

/// Records that are read from the store at once.
const READ_AT_ONCE: usize = 256;

/// Why nothing is copied.
#[derive(Debug, thiserror::Error)]
pub(super) enum FolderError {
    /// The disk says no.
    #[error(
        "{path}: could not {what}: {source}; the coordinator goes on without a current copy: make room or mend the disk, or name another folder with --backup-dir"
    )]
    File {
        path: String,
        what: &'static str,
        source: io::Error,
    },
    /// Another coordinator writes there.
    #[error("{0} is in use by another coordinator: name another folder with --backup-dir")]
    Locked(String),
    /// What is there is damaged.
    #[error(
        "{folder} is damaged and nothing is added to it ({why}): keep it, and name another folder with --backup-dir"
    )]
    Damaged { folder: String, why: String },
    /// What is there is not of this store.
    #[error(
        "{folder} holds another history than this store (the stream {stream}, up to epoch {epoch}) and nothing is added to it: fill an empty coordinator with `drover restore {folder}`, or name another folder with --backup-dir"
    )]
    OtherHistory {
        folder: String,
        stream: StreamId,
        epoch: u64,
    },
    /// A batch does not continue what is copied.
    #[error(
        "{folder} lacks something before the newest commit of {stream}; it is copied from the store"
    )]
    Gap { folder: String, stream: StreamId },
    /// A large output cannot be copied.
    #[error(
        "{0}; the coordinator goes on without a current copy: make room or mend the disk, or name another folder with --backup-dir"
    )]
    Object(Refusal),
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Store(String),
}

impl FolderError {
    /// Stable, kebab-case.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::File { .. } | Self::Object(_) => "backup-failed",
            Self::Locked(_) => "backup-locked",
            Self::Damaged { .. } => "backup-damaged",
            Self::OtherHistory { .. } => "backup-other-history",
            Self::Gap { .. } => "backup-gap",
            Self::Store(_) => "backup-store",
        }
    }
}

/// A folder held by this process.
pub(super) struct Folder {
    path: PathBuf,
    copied: Copied,
    objects: CopiedObjects,
    next: SegmentName,
    newest_generation: u64,
    open: Option<Open>,
    dirty: bool,
    _lock: File,
}

struct Open {
    path: PathBuf,
    file: BufWriter<File>,
    encoder: SegmentEncoder,
    bytes: u64,
}

impl Folder {
    /// Opens a folder, or makes one, and reads what it holds.
    pub(super) fn open(path: &Path, objects: &Arc<Objects>) -> Result<Self, FolderError> {
        fs::create_dir_all(path).map_err(failed(path, "create the folder"))?;
        let lock = lock(path)?;
        let names = list(path).map_err(failed(path, "list it"))?;
        let mut objects = CopiedObjects::below(path, objects);
        let copied = read(
            &names,
            |name| File::open(path.join(name.to_string())),
            |_, entry| objects.take(&entry),
        );
        let copied = copied.map_err(|error| match error {
            ReadError::File { name, source } => {
                failed(&path.join(name.to_string()), "read it")(source)
            }
            ReadError::Content { .. } => FolderError::Damaged {
                folder: path.display().to_string(),
                why: error.to_string(),
            },
        })?;
        let newest_generation = names.iter().map(|name| name.generation).max().unwrap_or(0);
        let (generation, copied) = copied.unwrap_or((newest_generation + 1, Copied::default()));
        let number = names
            .iter()
            .filter(|name| name.generation == generation)
            .map(|name| name.number)
            .max()
            .unwrap_or(0)
            + 1;
        Ok(Self {
            path: path.to_path_buf(),
            copied,
            objects,
            next: SegmentName { generation, number },
            newest_generation: newest_generation.max(generation),
            open: None,
            dirty: false,
            _lock: lock,
        })
    }

    /// What it holds.
    pub(super) fn copied(&self) -> &Copied {
        &self.copied
    }

    /// True when more than half of it is of streams that are gone.
    pub(super) fn is_mostly_dead(&self) -> bool {
        self.copied.bytes > 2 * self.copied.live_bytes() + DEAD_BYTES
    }

    /// Copies what a store has and the folder has not.
    pub(super) fn catch_up(
        &mut self,
        store: &dyn EventStore,
        whole: &Whole,
    ) -> Result<(), FolderError> {
        self.check_same_history(store, whole)?;
        if self.is_mostly_dead() {
            self.begin_generation();
        }
        let retired: Vec<StreamId> = self
            .copied
            .streams
            .keys()
            .filter(|stream| !whole.heads.contains_key(stream))
            .cloned()
            .collect();
        for stream in retired {
            self.entry(&Entry::Retired(stream))?;
        }
        for (stream, head) in &whole.heads {
            if !whole.quarantined.contains(stream) {
                self.copy(store, stream, head)?;
            }
        }
        Ok(())
    }

    fn copy(
        &mut self,
        store: &dyn EventStore,
        stream: &StreamId,
        head: &Head,
    ) -> Result<(), FolderError> {
        let mut at = self.copied.head(stream).seq;
        while at < head.seq {
            let records = store.read(stream, at + 1, READ_AT_ONCE);
            let records = records.map_err(|error| store_failed(&error))?;
            let before = at;
            for record in records {
                // What is newer than the head comes as a commit.
                if record.first == at + 1 && record.head().seq <= head.seq {
                    at = record.head().seq;
                    self.entry(&Entry::Record(stream.clone(), record))?;
                }
            }
            if at == before {
                // It was retired meanwhile; that comes as a commit, too.
                break;
            }
        }
        Ok(())
    }

    /// Everything that is copied is how the store begins, or was retired.
    fn check_same_history(&self, store: &dyn EventStore, whole: &Whole) -> Result<(), FolderError> {
        for (stream, copied) in &self.copied.streams {
            if whole.quarantined.contains(stream) {
                continue;
            }
            let same = match whole.heads.get(stream) {
                None => matches!(stream, StreamId::Workflow(_)),
                Some(head) if head.seq < copied.head.seq => false,
                Some(_) => {
                    let records = store.read(stream, copied.head.seq, 1);
                    let records = records.map_err(|error| store_failed(&error))?;
                    records.first().map(Record::head) == Some(copied.head)
                }
            };
            if !same {
                return Err(FolderError::OtherHistory {
                    folder: self.path.display().to_string(),
                    stream: stream.clone(),
                    epoch: self.copied.epoch,
                });
            }
        }
        Ok(())
    }

    /// Everything is copied anew; what there is stays until that is done.
    fn begin_generation(&mut self) {
        self.newest_generation += 1;
        self.next = SegmentName {
            generation: self.newest_generation,
            number: 1,
        };
        self.copied = Copied::default();
        self.open = None;
    }

    /// Writes an entry; it counts with the next commit.
    pub(super) fn entry(&mut self, entry: &Entry) -> Result<(), FolderError> {
        if let Entry::Record(stream, record) = entry
            && record.first != self.copied.head(stream).seq + 1
        {
            return Err(FolderError::Gap {
                folder: self.path.display().to_string(),
                stream: stream.clone(),
            });
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => self.begin_segment()?,
        };
        let open = self.open.insert(open);
        open.write(|encoder| encoder.entry(entry))?;
        self.copied.take(entry);
        self.objects.take(entry);
        self.dirty = true;
        Ok(())
    }

    /// Makes durable what was written since the last commit.
    pub(super) fn commit(&mut self, epoch: u64, at: Timestamp) -> Result<(), FolderError> {
        let Some(open) = self.open.as_mut().filter(|_| self.dirty) else {
            return Ok(());
        };
        self.objects.copy().map_err(FolderError::Object)?;
        let mut last = self.copied.last;
        open.write(|encoder| {
            let (bytes, hash) = encoder.commit(epoch, at);
            last = hash;
            bytes
        })?;
        open.sync()?;
        let is_large = open.bytes >= SEGMENT_BYTES;
        self.dirty = false;
        self.copied.last = last;
        self.copied.epoch = epoch;
        self.copied.at = at;
        self.copied.commits += 1;
        if is_large {
            self.open = None;
        }
        if self.copied.commits == 1 {
            self.remove_other_generations()?;
        }
        self.objects.clean_up();
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<Open, FolderError> {
        let name = self.next;
        let path = self.path.join(name.to_string());
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.map_err(failed(&path, "create it"))?;
        let (encoder, header) = SegmentEncoder::begin(name, self.copied.last);
        self.next = name.next();
        let mut open = Open {
            path,
            file: BufWriter::with_capacity(1 << 18, file),
            encoder,
            bytes: 0,
        };
        open.write(|_| header)?;
        sync_folder(&self.path)?;
        Ok(open)
    }

    fn remove_other_generations(&self) -> Result<(), FolderError> {
        let names = list(&self.path).map_err(failed(&self.path, "list it"))?;
        let generation = self.next.generation;
        for name in names.iter().filter(|name| name.generation != generation) {
            let path = self.path.join(name.to_string());
            fs::remove_file(&path).map_err(failed(&path, "remove it"))?;
        }
        Ok(())
    }
}

impl Open {
    fn write(
        &mut self,
        bytes: impl FnOnce(&mut SegmentEncoder) -> Vec<u8>,
    ) -> Result<(), FolderError> {
        let bytes = bytes(&mut self.encoder);
        self.bytes += bytes.len() as u64;
        let written = self.file.write_all(&bytes);
        written.map_err(failed(&self.path, "write it"))
    }

    fn sync(&mut self) -> Result<(), FolderError> {
        self.file.flush().map_err(failed(&self.path, "write it"))?;
        let file = self.file.get_ref();
        file.sync_data().map_err(failed(&self.path, "sync it"))?;
        // A file that somebody removed takes everything and keeps nothing.
        let written = file.metadata().map_err(failed(&self.path, "look at it"))?;
        let there = fs::metadata(&self.path).map_err(failed(&self.path, "find it again"))?;
        if (written.dev(), written.ino()) == (there.dev(), there.ino()) {
            Ok(())
        } else {
            let source = io::Error::new(io::ErrorKind::NotFound, "another file has its name");
            Err(failed(&self.path, "find it again")(source))
        }
    }
}

fn lock(folder: &Path) -> Result<File, FolderError> {
    let path = folder.join("LOCK");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed(&path, "open the lock file"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(FolderError::Locked(folder.display().to_string())),
        Err(fs::TryLockError::Error(source)) => Err(failed(&path, "lock it")(source)),
    }
}

fn list(folder: &Path) -> io::Result<Vec<SegmentName>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.extend(entry?.file_name().to_str().and_then(SegmentName::parse));
    }
    names.sort_unstable();
    Ok(names)
}

fn sync_folder(folder: &Path) -> Result<(), FolderError> {
    File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(failed(folder, "sync the folder"))
}

fn failed(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> FolderError + use<> {
    let path = path.display().to_string();
    move |source| FolderError::File { path, what, source }
}

fn store_failed(error: &StoreError) -> FolderError {
    FolderError::Store(crate::supervise::chain(error))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Weak};

    use drover_core::ids::WorkflowId;

    use super::*;
    use crate::store::{
        Batch,
        memory::{Disk, MemoryStore},
    };

    /// The objects of a coordinator that has none.
    fn nothing() -> Arc<Objects> {
        let nowhere = Path::new("nowhere");
        Arc::new(Objects::below(nowhere, Arc::new(|| None), 0))
    }

    fn stream(id: &str) -> StreamId {
        StreamId::Workflow(WorkflowId::new(id).unwrap())
    }

    /// A store whose streams grow by one event of some bytes at a time.
    struct Growing(Arc<MemoryStore>, std::collections::BTreeMap<StreamId, Head>);

    impl Growing {
        fn new() -> Self {
            Self(
                Arc::new(MemoryStore::open(&Disk::default())),
                std::collections::BTreeMap::new(),
            )
        }

        fn grow(&mut self, stream: &StreamId, bytes: usize) -> Entry {
            let head = self.1.get(stream).copied().unwrap_or(Head::EMPTY);
            let mut lines = vec![b'x'; bytes];
            lines.push(b'\n');
            let record = Record::chain(&head, 1, lines);
            self.1.insert(stream.clone(), record.head());
            let batch = Batch {
                records: vec![(stream.clone(), record.clone())],
                ..Batch::default()
            };
            self.0.append(&batch).unwrap();
            Entry::Record(stream.clone(), record)
        }

        fn whole(&self) -> Whole {
            Whole {
                store: Weak::<MemoryStore>::new(),
                heads: self.1.clone(),
                quarantined: BTreeSet::new(),
                epoch: 3,
                at: Timestamp(9),
            }
        }
    }

    fn copy(folder: &mut Folder, store: &Growing) {
        folder.catch_up(&*store.0, &store.whole()).unwrap();
        folder.commit(3, Timestamp(9)).unwrap();
    }

    fn heads(folder: &Folder) -> std::collections::BTreeMap<StreamId, Head> {
        let streams = folder.copied().streams.iter();
        streams
            .map(|(stream, copied)| (stream.clone(), copied.head))
            .collect()
    }

    #[test]
    fn it_goes_on_where_it_was_after_a_restart_and_a_torn_end() {
        let place = tempfile::tempdir().unwrap();
        let mut store = Growing::new();
        for id in ["a", "b"] {
            store.grow(&stream(id), 100);
        }
        {
            let mut folder = Folder::open(place.path(), &nothing()).unwrap();
            copy(&mut folder, &store);
            let entry = store.grow(&stream("a"), 5);
            folder.entry(&entry).unwrap();
            folder.commit(3, Timestamp(9)).unwrap();
            assert!(matches!(
                Folder::open(place.path(), &nothing()),
                Err(FolderError::Locked(_))
            ));
        }
        let torn = place
            .path()
            .join(list(place.path()).unwrap()[0].to_string());
        let mut file = OpenOptions::new().append(true).open(torn).unwrap();
        file.write_all(b"{\"stream\":\"workflow/a\",\"first\":3,\"co")
            .unwrap();
        let mut folder = Folder::open(place.path(), &nothing()).unwrap();
        assert_eq!(heads(&folder), store.1);
        store.grow(&stream("c"), 5);
        copy(&mut folder, &store);
        drop(folder);
        assert_eq!(
            heads(&Folder::open(place.path(), &nothing()).unwrap()),
            store.1
        );
    }

    #[test]
    fn another_history_is_refused_and_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let mut store = Growing::new();
        store.grow(&StreamId::Audit, 10);
        store.grow(&stream("a"), 10);
        copy(&mut Folder::open(place.path(), &nothing()).unwrap(), &store);
        let mut fork = Growing::new();
        fork.grow(&StreamId::Audit, 10);
        fork.grow(&stream("a"), 11);
        for other in [&fork, &Growing::new()] {
            let mut folder = Folder::open(place.path(), &nothing()).unwrap();
            let refused = folder.catch_up(&*other.0, &other.whole()).unwrap_err();
            assert_eq!(refused.code(), "backup-other-history", "{refused}");
        }
        assert_eq!(
            heads(&Folder::open(place.path(), &nothing()).unwrap()),
            store.1
        );
    }

    #[test]
    fn a_folder_that_is_removed_is_noticed_and_filled_again() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("backup");
        let mut store = Growing::new();
        store.grow(&stream("a"), 10);
        let mut folder = Folder::open(&path, &nothing()).unwrap();
        copy(&mut folder, &store);
        fs::remove_dir_all(&path).unwrap();
        let entry = store.grow(&stream("a"), 10);
        folder.entry(&entry).unwrap();
        let error = folder.commit(3, Timestamp(9)).unwrap_err();
        assert_eq!(error.code(), "backup-failed", "{error}");
        let mut folder = Folder::open(&path, &nothing()).unwrap();
        copy(&mut folder, &store);
        drop(folder);
        assert_eq!(heads(&Folder::open(&path, &nothing()).unwrap()), store.1);
    }

    #[test]
    fn what_is_mostly_of_retired_streams_is_written_anew() {
        let place = tempfile::tempdir().unwrap();
        let mut store = Growing::new();
        store.grow(&stream("a"), 10);
        let large = usize::try_from(DEAD_BYTES).unwrap() + 100;
        store.grow(&stream("old"), large);
        let mut folder = Folder::open(place.path(), &nothing()).unwrap();
        copy(&mut folder, &store);
        store.1.remove(&stream("old"));
        copy(&mut folder, &store);
        assert!(folder.is_mostly_dead());
        copy(&mut folder, &store);
        drop(folder);
        let names = list(place.path()).unwrap();
        assert!(names.iter().all(|name| name.generation == 2), "{names:?}");
        let folder = Folder::open(place.path(), &nothing()).unwrap();
        assert_eq!(heads(&folder), store.1);
        assert!(folder.copied().bytes < 100);
    }
}
