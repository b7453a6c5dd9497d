//! Results on disk until the coordinator has them, and for seven days after.
//!
//! ```text
//! LOCK      held exclusively while the worker runs: the proof that an older process of it does not
//! ID        names the spool, UUID; an empty spool is a new worker
//! COUNTER   openings so far; the higher one took over from the lower one
//! EPOCH     highest epoch of a coordinator that was ever seen
//! log       one JSON object a line: a result, or the ack of one
//! objects/  outputs too large for a line, named by their digest; gone when no line of the log names them
//! ```
//!
//! A result is written before it is sent. It is not synced on that path: what must survive is the end of this process,
//! and that the page cache does. After a power cut the step's `observe` says what had happened. A torn last line is cut
//! off at the next opening.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use drover_step_api::Fence;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Digest as _;
use uuid::Uuid;

/// Results that were acked are kept so long, for a coordinator that was restored from a backup.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// The log is written anew when it has grown by so much.
const COMPACT_BYTES: u64 = 64 << 20;

/// The folder of large outputs.
const OBJECTS: &str = "objects";

/// Names an attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptKey {
    /// Workflow id.
    pub workflow: String,
    /// Step id.
    pub step: String,
    /// Of the lease.
    pub fence: Fence,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Well; `observed` when the world already was so.
    Output {
        /// What later steps read.
        output: Value,
        /// `run` was not called.
        observed: bool,
    },
    /// Well, with an output that is too large for a frame.
    Object {
        /// Where its text lies.
        object: ObjectName,
        /// `run` was not called.
        observed: bool,
    },
    /// Badly.
    Failure {
        /// Stable, kebab-case.
        code: String,
        /// A word of the protocol: `transient`, `refused`, `failed`, `cancelled`, `gone`.
        certainty: Certainty,
        /// One sentence.
        message: String,
        /// The earliest sensible time of another attempt, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// At a safe point, because of a pause.
    Yielded,
    /// The step's effects are gone.
    Compensated,
}

/// Names the text of a large output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectName {
    /// SHA-256 of the text, hex.
    pub digest: String,
    /// Its bytes.
    pub size: u64,
}

impl ObjectName {
    /// The name of a text.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        Self {
            digest: hex::encode(sha2::Sha256::digest(text)),
            size: text.len() as u64,
        }
    }
}

/// What is known of the world after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    /// It may have happened.
    Transient,
    /// It did not and will not.
    Refused,
    /// It was given up.
    Failed,
    /// It was asked to stop.
    Cancelled,
    /// The target is gone.
    Gone,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Result {
        at: u64,
        key: AttemptKey,
        outcome: Outcome,
    },
    Ack {
        key: AttemptKey,
    },
}

/// Why there is no spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process of this worker runs.
    #[error("the spool {folder} is in use by another worker process")]
    Locked {
        /// Which folder.
        folder: String,
    },
    /// A file cannot be used.
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

/// An open spool.
pub struct Spool {
    folder: PathBuf,
    id: String,
    counter: u64,
    epoch: u64,
    log: File,
    grown: u64,
    unacked: BTreeMap<AttemptKey, Outcome>,
    _lock: File,
}

impl Spool {
    /// Opens a spool, or makes one.
    ///
    /// # Errors
    /// When another process has it, or its files cannot be used.
    pub fn open(folder: &Path) -> Result<Self, SpoolError> {
        fs::create_dir_all(folder).map_err(|source| error(folder, "create the folder", source))?;
        let lock_path = folder.join("LOCK");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|source| error(&lock_path, "open it", source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(SpoolError::Locked {
                    folder: folder.display().to_string(),
                });
            }
            Err(fs::TryLockError::Error(source)) => {
                return Err(error(&lock_path, "lock it", source));
            }
        }
        let id = match read(&folder.join("ID"))? {
            Some(id) => id,
            None => {
                let id = Uuid::new_v4().to_string();
                replace(folder, "ID", &id)?;
                id
            }
        };
        let counter = read(&folder.join("COUNTER"))?
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0)
            + 1;
        replace(folder, "COUNTER", &counter.to_string())?;
        let epoch = read(&folder.join("EPOCH"))?
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let log_path = folder.join("log");
        let lines = read_log(&log_path)?;
        let kept = compact(lines, now());
        let log = write_log(folder, &kept)?;
        sweep(folder, &kept);
        let unacked = unacked(&kept);
        Ok(Self {
            folder: folder.to_path_buf(),
            id,
            counter,
            epoch,
            log,
            grown: 0,
            unacked,
            _lock: lock,
        })
    }

    /// Names the spool.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Openings so far, this one counted.
    #[must_use]
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// Highest epoch that was ever seen.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A coordinator has this epoch.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn saw_epoch(&mut self, epoch: u64) -> Result<(), SpoolError> {
        if epoch > self.epoch {
            replace(&self.folder, "EPOCH", &epoch.to_string())?;
            self.epoch = epoch;
        }
        Ok(())
    }

    /// Keeps a result. It may be sent from here on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&mut self, key: AttemptKey, outcome: Outcome) -> Result<(), SpoolError> {
        self.write(&Line::Result {
            at: now(),
            key: key.clone(),
            outcome: outcome.clone(),
        })?;
        self.unacked.insert(key, outcome);
        Ok(())
    }

    /// Keeps the text of a large output, which a result may name from here on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_object(&self, name: &ObjectName, text: &[u8]) -> Result<(), SpoolError> {
        let folder = self.folder.join(OBJECTS);
        let path = folder.join(&name.digest);
        let staged = folder.join(format!("{}.new", name.digest));
        let write = || -> io::Result<()> {
            fs::create_dir_all(&folder)?;
            fs::write(&staged, text)?;
            fs::rename(&staged, &path)
        };
        write().map_err(|source| error(&path, "write it", source))
    }

    /// Some bytes of a large output, fewer at its end.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read_object(
        &self,
        name: &ObjectName,
        offset: u64,
        bytes: u64,
    ) -> Result<Vec<u8>, SpoolError> {
        let path = self.folder.join(OBJECTS).join(&name.digest);
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&path)?;
            file.seek(io::SeekFrom::Start(offset))?;
            let mut data = Vec::new();
            file.take(bytes).read_to_end(&mut data)?;
            Ok(data)
        };
        read().map_err(|source| error(&path, "read it", source))
    }

    /// The coordinator has the result, or does not want it.
    ///
    /// # Errors
    /// When that cannot be written; the result is then offered again after a restart, which does no harm.
    pub fn ack(&mut self, key: &AttemptKey) -> Result<(), SpoolError> {
        if self.unacked.remove(key).is_none() {
            return Ok(());
        }
        self.write(&Line::Ack { key: key.clone() })?;
        if self.grown > COMPACT_BYTES {
            let kept = compact(read_log(&self.folder.join("log"))?, now());
            self.log = write_log(&self.folder, &kept)?;
            sweep(&self.folder, &kept);
            self.grown = 0;
        }
        Ok(())
    }

    /// Results that the coordinator does not have yet.
    #[must_use]
    pub fn unacked(&self) -> &BTreeMap<AttemptKey, Outcome> {
        &self.unacked
    }

    /// Every result of the last days, for a coordinator that was restored from a backup.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn kept(&self) -> Result<Vec<(AttemptKey, Outcome)>, SpoolError> {
        let lines = read_log(&self.folder.join("log"))?;
        Ok(lines
            .into_iter()
            .filter_map(|line| match line {
                Line::Result { key, outcome, .. } => Some((key, outcome)),
                Line::Ack { .. } => None,
            })
            .collect())
    }

    fn write(&mut self, line: &Line) -> Result<(), SpoolError> {
        let mut text = serde_json::to_vec(line).expect("lines of the spool serialize");
        text.push(b'\n');
        self.grown += text.len() as u64;
        self.log
            .write_all(&text)
            .map_err(|source| error(&self.folder.join("log"), "write it", source))
    }
}

fn error(path: &Path, what: &'static str, source: io::Error) -> SpoolError {
    SpoolError::File {
        path: path.display().to_string(),
        what,
        source,
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn read(path: &Path) -> Result<Option<String>, SpoolError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(error(path, "read it", source)),
    }
}

/// Writes a small file so that it is there whole or as it was.
fn replace(folder: &Path, name: &str, text: &str) -> Result<(), SpoolError> {
    let path = folder.join(name);
    let staged = folder.join(format!("{name}.new"));
    let write = || -> io::Result<()> {
        let mut file = File::create(&staged)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&staged, &path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| error(&path, "write it", source))
}

/// Removes large outputs that no line names. What cannot be removed is tried again the next time.
fn sweep(folder: &Path, lines: &[Line]) {
    let named: std::collections::BTreeSet<&str> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Result {
                outcome: Outcome::Object { object, .. },
                ..
            } => Some(object.digest.as_str()),
            Line::Result { .. } | Line::Ack { .. } => None,
        })
        .collect();
    for entry in fs::read_dir(folder.join(OBJECTS))
        .into_iter()
        .flatten()
        .flatten()
    {
        let is_named = entry
            .file_name()
            .to_str()
            .is_some_and(|name| named.contains(name));
        if !is_named && let Err(error) = fs::remove_file(entry.path()) {
            tracing::warn!(path = %entry.path().display(), "an old output stays: {error}");
        }
    }
}

/// The lines of a log up to the first that is not whole.
fn read_log(path: &Path) -> Result<Vec<Line>, SpoolError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(error(path, "read it", source)),
    };
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    Ok(lines
        .map_while(|line| serde_json::from_slice(line.strip_suffix(b"\n")?).ok())
        .collect())
}

/// What is still worth keeping, in order.
fn compact(lines: Vec<Line>, now: u64) -> Vec<Line> {
    let open = unacked(&lines);
    let keep = |line: &Line| match line {
        Line::Result { at, key, .. } => {
            open.contains_key(key) || now.saturating_sub(*at) < KEEP.as_secs()
        }
        Line::Ack { .. } => true,
    };
    let mut kept: Vec<Line> = lines.into_iter().filter(keep).collect();
    let known: std::collections::BTreeSet<AttemptKey> = kept
        .iter()
        .filter_map(|line| match line {
            Line::Result { key, .. } => Some(key.clone()),
            Line::Ack { .. } => None,
        })
        .collect();
    kept.retain(|line| match line {
        Line::Ack { key } => known.contains(key),
        Line::Result { .. } => true,
    });
    kept
}

fn unacked(lines: &[Line]) -> BTreeMap<AttemptKey, Outcome> {
    let mut open = BTreeMap::new();
    for line in lines {
        match line {
            Line::Result { key, outcome, .. } => {
                open.insert(key.clone(), outcome.clone());
            }
            Line::Ack { key } => {
                open.remove(key);
            }
        }
    }
    open
}

/// Writes a log anew and opens it at its end.
fn write_log(folder: &Path, lines: &[Line]) -> Result<File, SpoolError> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line).expect("lines of the spool serialize");
        text.push(b'\n');
    }
    let text = String::from_utf8(text).expect("JSON is UTF-8");
    replace(folder, "log", &text)?;
    let path = folder.join("log");
    OpenOptions::new()
        .append(true)
        .open(&path)
        .map_err(|source| error(&path, "open it", source))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(step: &str) -> AttemptKey {
        AttemptKey {
            workflow: "m1".to_owned(),
            step: step.to_owned(),
            fence: Fence {
                epoch: 1,
                counter: 1,
            },
        }
    }

    fn outcome(n: u64) -> Outcome {
        Outcome::Output {
            output: json!(n),
            observed: false,
        }
    }

    #[test]
    fn what_was_not_acked_is_there_after_the_end_of_the_process() {
        let folder = tempfile::tempdir().unwrap();
        {
            let mut spool = Spool::open(folder.path()).unwrap();
            spool.put(key("a"), outcome(1)).unwrap();
            spool.put(key("b"), outcome(2)).unwrap();
            spool.ack(&key("a")).unwrap();
        }
        let spool = Spool::open(folder.path()).unwrap();
        assert_eq!(
            spool.unacked().keys().cloned().collect::<Vec<_>>(),
            [key("b")]
        );
        assert_eq!(
            spool.kept().unwrap().len(),
            2,
            "acked ones are kept for a while"
        );
        assert_eq!(spool.counter(), 2);
    }

    #[test]
    fn a_torn_last_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        {
            let mut spool = Spool::open(folder.path()).unwrap();
            spool.put(key("a"), outcome(1)).unwrap();
            spool.put(key("b"), outcome(2)).unwrap();
        }
        let log = folder.path().join("log");
        let text = fs::read(&log).unwrap();
        fs::write(&log, &text[..text.len() - 5]).unwrap();
        let mut spool = Spool::open(folder.path()).unwrap();
        assert_eq!(
            spool.unacked().keys().cloned().collect::<Vec<_>>(),
            [key("a")]
        );
        spool.put(key("c"), outcome(3)).unwrap();
        drop(spool);
        assert_eq!(Spool::open(folder.path()).unwrap().unacked().len(), 2);
    }

    #[test]
    fn a_large_output_is_there_for_as_long_as_its_result_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let text = br#"["large"]"#;
        let object = {
            let mut spool = Spool::open(folder.path()).unwrap();
            let object = ObjectName::of(text);
            spool.put_object(&object, text).unwrap();
            let nobodys = br#"["nobody's"]"#;
            spool.put_object(&ObjectName::of(nobodys), nobodys).unwrap();
            let result = Outcome::Object {
                object: object.clone(),
                observed: false,
            };
            spool.put(key("a"), result).unwrap();
            object
        };
        let spool = Spool::open(folder.path()).unwrap();
        assert_eq!(spool.read_object(&object, 0, 4).unwrap(), &text[..4]);
        assert_eq!(spool.read_object(&object, 4, 100).unwrap(), &text[4..]);
        let left = fs::read_dir(folder.path().join(OBJECTS)).unwrap().count();
        assert_eq!(left, 1, "what no result names is gone");
    }

    #[test]
    fn two_processes_never_share_a_spool_and_its_name_stays() {
        let folder = tempfile::tempdir().unwrap();
        let first = Spool::open(folder.path()).unwrap();
        assert!(matches!(
            Spool::open(folder.path()),
            Err(SpoolError::Locked { .. })
        ));
        let id = first.id().to_owned();
        drop(first);
        let mut again = Spool::open(folder.path()).unwrap();
        assert_eq!(again.id(), id);
        again.saw_epoch(7).unwrap();
        again.saw_epoch(3).unwrap();
        drop(again);
        assert_eq!(Spool::open(folder.path()).unwrap().epoch(), 7);
    }

    #[test]
    fn old_acked_results_are_forgotten_and_old_unacked_ones_are_not() {
        let old = |step: &str| Line::Result {
            at: 0,
            key: key(step),
            outcome: outcome(1),
        };
        let lines = vec![old("a"), old("b"), Line::Ack { key: key("a") }];
        let kept = compact(lines, KEEP.as_secs() + 1);
        assert_eq!(kept.len(), 1);
        assert_eq!(unacked(&kept).len(), 1);
    }
}
