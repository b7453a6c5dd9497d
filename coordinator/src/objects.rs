//! Large outputs on disk: one file an object, `objects/<sha256>` in the data folder.
//!
//! ```text
//! part, part, … ──► <sha256>.part ──► digest, JSON, fsync ──► <sha256>, fsync of the folder ──► the event that names it
//! ```
//!
//! An object is durable before an event names it, so a name in a stream always leads somewhere. The other way round is no
//! harm: what no event names is removed at the next start, half an upload included. Calls block; they do not belong on
//! async threads or the engine's.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use drover_core::{
    ids::Digest,
    object::{OBJECT_BYTES_MAX, ObjectRef},
};
use serde::de::IgnoredAny;

use crate::{
    engine::FreeSpace,
    refusal::{Kind, Refusal},
};

/// The folder of the objects.
pub struct Objects {
    folder: PathBuf,
    free_space: FreeSpace,
    full_space: u64,
    /// Two workers may upload the same bytes; the file grows by one part at a time.
    growing: Mutex<()>,
    swept: AtomicBool,
}

impl Objects {
    /// Objects below a data folder. Nothing is written that would leave less than `full_space` free bytes.
    #[must_use]
    pub fn below(data: &Path, free_space: FreeSpace, full_space: u64) -> Self {
        Self {
            folder: data.join("objects"),
            free_space,
            full_space,
            growing: Mutex::new(()),
            swept: AtomicBool::new(false),
        }
    }

    /// How many bytes of an object are there; its size when it is whole and durable.
    #[must_use]
    pub fn stored(&self, object: &ObjectRef) -> u64 {
        let length = |path: &Path| fs::metadata(path).map(|found| found.len()).ok();
        if length(&self.path(object)) == Some(object.size) {
            return object.size;
        }
        length(&self.part(object))
            .filter(|length| *length < object.size)
            .unwrap_or(0)
    }

    /// Takes the next part of an object; gives how many bytes are there. A part that begins elsewhere changes nothing.
    ///
    /// # Errors
    /// `storage-full` and `storage-failed` pass; whatever else is wrong is wrong with the object.
    pub fn append(&self, object: &ObjectRef, offset: u64, data: &[u8]) -> Result<u64, Refusal> {
        if object.size == 0 || object.size > OBJECT_BYTES_MAX {
            return Err(Refusal::new(
                Kind::Invalid,
                "output-too-large",
                format!(
                    "the output has {} bytes; at most {OBJECT_BYTES_MAX} are allowed",
                    object.size
                ),
            ));
        }
        // A writer that panicked left a file of some length, and that is what counts.
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = self.stored(object);
        if stored == object.size || stored != offset || data.is_empty() {
            return Ok(stored);
        }
        let missing = object.size - stored;
        if let Some(free) = (self.free_space)()
            && free < self.full_space.saturating_add(missing)
        {
            return Err(full(missing, free));
        }
        let length = self
            .grow(object, stored, data)
            .map_err(|error| self.failed(object, &error))?;
        if length < object.size {
            return Ok(length);
        }
        self.finish(object)
    }

    fn grow(&self, object: &ObjectRef, stored: u64, data: &[u8]) -> io::Result<u64> {
        if !self.folder.is_dir() {
            fs::create_dir_all(&self.folder)?;
            if let Some(data) = self.folder.parent() {
                File::open(data)?.sync_all()?;
            }
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.part(object))?;
        // What a failed write left behind the bytes that were counted.
        file.set_len(stored)?;
        file.write_all(data)?;
        Ok(stored + data.len() as u64)
    }

    /// All bytes are there: they become the object when they are what they claim to be.
    fn finish(&self, object: &ObjectRef) -> Result<u64, Refusal> {
        let part = self.part(object);
        let text = fs::read(&part).map_err(|error| self.failed(object, &error))?;
        if let Err(refusal) = check(object, &text) {
            fs::remove_file(&part).map_err(|error| self.failed(object, &error))?;
            return Err(refusal);
        }
        let publish = || -> io::Result<()> {
            File::open(&part)?.sync_all()?;
            fs::rename(&part, self.path(object))?;
            File::open(&self.folder)?.sync_all()
        };
        publish().map_err(|error| self.failed(object, &error))?;
        Ok(object.size)
    }

    /// Stores a whole object, when it is not there yet.
    ///
    /// # Errors
    /// As [`Objects::append`].
    pub fn put(&self, text: &[u8]) -> Result<(), Refusal> {
        let object = ObjectRef {
            digest: Digest::of(text),
            size: text.len() as u64,
        };
        let stored = usize::try_from(self.stored(&object)).unwrap_or(text.len());
        self.append(&object, stored as u64, &text[stored..])
            .map(drop)
    }

    /// The whole objects that are there.
    ///
    /// # Errors
    /// When the folder cannot be read. One that does not exist has none.
    pub fn all(&self) -> io::Result<Vec<ObjectRef>> {
        let found = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            found => found?,
        };
        let mut objects = Vec::new();
        for entry in found {
            let entry = entry?;
            if let Some(digest) = entry.file_name().to_str().and_then(Digest::parse) {
                let size = entry.metadata()?.len();
                objects.push(ObjectRef { digest, size });
            }
        }
        objects.sort_unstable();
        Ok(objects)
    }

    /// The text of an object.
    ///
    /// # Errors
    /// When it is not there, or not what its name says.
    pub fn read(&self, object: &ObjectRef) -> Result<Vec<u8>, Refusal> {
        let unreadable = |why: String| {
            Refusal::new(
                Kind::Unavailable,
                "output-unreadable",
                format!(
                    "{}: {why}; bring the file back from a backup, then retry the step",
                    self.path(object).display()
                ),
            )
        };
        let text = fs::read(self.path(object)).map_err(|error| unreadable(error.to_string()))?;
        check(object, &text).map_err(|refusal| unreadable(refusal.message))?;
        Ok(text)
    }

    /// Removes what no event names; once a process, before anybody uploads.
    pub fn sweep(&self, named: &BTreeSet<Digest>) {
        if !self.swept.swap(true, Ordering::SeqCst) {
            self.keep_only(named);
        }
    }

    /// Removes everything else. Nobody may upload meanwhile.
    pub fn keep_only(&self, named: &BTreeSet<Digest>) {
        let Ok(found) = fs::read_dir(&self.folder) else {
            return;
        };
        let mut removed = 0_u32;
        for entry in found.flatten() {
            let name = entry.file_name();
            let is_named = name
                .to_str()
                .and_then(Digest::parse)
                .is_some_and(|digest| named.contains(&digest));
            if is_named {
                continue;
            }
            match fs::remove_file(entry.path()) {
                Ok(()) => removed += 1,
                Err(error) => {
                    tracing::warn!(path = %entry.path().display(), "an object that nothing names stays: {error}");
                }
            }
        }
        if removed > 0 {
            tracing::info!(removed, "objects that no event names are gone");
        }
    }

    fn path(&self, object: &ObjectRef) -> PathBuf {
        self.folder.join(object.digest.to_string())
    }

    fn part(&self, object: &ObjectRef) -> PathBuf {
        self.folder.join(format!("{}.part", object.digest))
    }

    fn failed(&self, object: &ObjectRef, error: &io::Error) -> Refusal {
        if error.kind() == io::ErrorKind::StorageFull {
            return full(object.size, 0);
        }
        Refusal::new(
            Kind::Unavailable,
            "storage-failed",
            format!(
                "{}: the output cannot be written: {error}",
                self.path(object).display()
            ),
        )
    }
}

fn full(missing: u64, free: u64) -> Refusal {
    Refusal::new(
        Kind::Unavailable,
        "storage-full",
        format!(
            "the data folder's disk has {} MiB left and the output needs {missing} bytes more: free some space; it waits at its worker",
            free >> 20
        ),
    )
}

/// Is the text what its name says, and JSON?
fn check(object: &ObjectRef, text: &[u8]) -> Result<(), Refusal> {
    let wrong = |what: &str| {
        Err(Refusal::new(
            Kind::Invalid,
            "output-damaged",
            format!("the output {} {what}", object.digest),
        ))
    };
    if text.len() as u64 != object.size || Digest::of(text) != object.digest {
        return wrong("is not what its digest says");
    }
    if serde_json::from_slice::<IgnoredAny>(text).is_err() {
        return wrong("is not JSON");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn object(text: &[u8]) -> ObjectRef {
        ObjectRef {
            digest: Digest::of(text),
            size: text.len() as u64,
        }
    }

    fn plenty(data: &Path) -> Objects {
        Objects::below(data, Arc::new(|| None), 0)
    }

    #[test]
    fn an_upload_goes_on_where_it_was_cut_off_and_is_checked_at_its_end() {
        let data = tempfile::tempdir().unwrap();
        let text = br#"["a long one"]"#;
        let whole = object(text);
        assert_eq!(
            plenty(data.path()).append(&whole, 0, &text[..5]).unwrap(),
            5
        );
        let objects = plenty(data.path());
        assert_eq!(objects.stored(&whole), 5);
        assert_eq!(
            objects.append(&whole, 0, &text[..9]).unwrap(),
            5,
            "what begins elsewhere changes nothing"
        );
        assert_eq!(objects.append(&whole, 5, &text[5..]).unwrap(), whole.size);
        assert_eq!(objects.read(&whole).unwrap(), text);
        assert_eq!(objects.stored(&whole), whole.size);
    }

    #[test]
    fn bytes_that_are_not_what_their_digest_says_leave_nothing_behind() {
        let data = tempfile::tempdir().unwrap();
        let objects = plenty(data.path());
        let claimed = object(b"[1]");
        let refused = objects.append(&claimed, 0, b"[2]").unwrap_err();
        assert_eq!(refused.code, "output-damaged");
        assert_eq!(objects.stored(&claimed), 0);
        let no_json = object(b"[1");
        assert_eq!(
            objects.append(&no_json, 0, b"[1").unwrap_err().code,
            "output-damaged"
        );
    }

    #[test]
    fn a_start_keeps_what_events_name_and_removes_the_rest_once() {
        let data = tempfile::tempdir().unwrap();
        let objects = plenty(data.path());
        let (named, orphan, half) = (object(b"[1]"), object(b"[2]"), object(b"[33]"));
        objects.append(&named, 0, b"[1]").unwrap();
        objects.append(&orphan, 0, b"[2]").unwrap();
        objects.append(&half, 0, b"[3").unwrap();
        objects.sweep(&BTreeSet::from([named.digest]));
        assert_eq!(objects.stored(&named), named.size);
        assert_eq!((objects.stored(&orphan), objects.stored(&half)), (0, 0));
        // From here on workers upload: what is not named yet will be.
        objects.append(&orphan, 0, b"[2]").unwrap();
        objects.sweep(&BTreeSet::new());
        assert_eq!(objects.stored(&orphan), orphan.size);
    }

    #[test]
    fn what_would_fill_the_disk_is_refused_before_it_begins() {
        let data = tempfile::tempdir().unwrap();
        let objects = Objects::below(data.path(), Arc::new(|| Some(1 << 20)), (1 << 20) - 2);
        let refused = objects.append(&object(b"[1]"), 0, b"[").unwrap_err();
        assert_eq!(refused.code, "storage-full");
        assert!(!data.path().join("objects").exists());
    }

    #[test]
    fn a_damaged_object_is_not_handed_out() {
        let data = tempfile::tempdir().unwrap();
        let objects = plenty(data.path());
        let whole = object(b"[1]");
        objects.append(&whole, 0, b"[1]").unwrap();
        fs::write(objects.path(&whole), b"[2]").unwrap();
        let refused = objects.read(&whole).unwrap_err();
        assert_eq!(refused.code, "output-unreadable");
        assert!(refused.message.contains(&whole.digest.to_string()));
    }
}
