//! The format of a continuous backup: segments of commits, without any I/O of its own.
//!
//! ```text
//! {"drover_backup_segment":1,"generation":1,"number":3,"follows":"…"}   the hash of the last commit before it
//! {"stream":"workflow/m1","first":1,"count":3,"hash":"…","bytes":812}   one line, then that many bytes of JSON lines
//! {"retired":"workflow/m0"}                                             a stream that retention took away
//! {"commit":2,"epoch":7,"at":"…","sha256":"…"}                          the streams fit together here
//! …
//! ```
//!
//! The hash of a commit covers the commit before it and every byte since, so commits are a chain over all segments. What
//! follows the last commit of a segment was being written when the coordinator died, or when the disk was full: it does
//! not count, and the next segment goes on from the last commit. The first commit of a generation holds everything there
//! is; a later generation replaces an earlier one once it has a commit.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::{BackupError, RecordLine};
use crate::{
    ids::Digest,
    stream::{Head, Record, StreamId},
    time::Timestamp,
};

const VERSION: u32 = 1;

/// The longest line of a segment's own, in bytes.
const LINE_BYTES_MAX: usize = 4096;

/// How every commit begins on its line; no event does.
const COMMIT: &[u8] = b"{\"commit\":";

#[derive(Debug, Serialize, Deserialize)]
struct HeaderLine {
    drover_backup_segment: u32,
    generation: u64,
    number: u64,
    follows: Digest,
}

#[derive(Debug, Serialize, Deserialize)]
struct CommitLine {
    commit: u64,
    epoch: u64,
    at: Timestamp,
    sha256: Digest,
}

#[derive(Debug, Serialize, Deserialize)]
struct RetiredLine {
    retired: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Record(RecordLine),
    Retired(RetiredLine),
    Commit(CommitLine),
}

/// Names one file of a continuous backup; ordered as they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    /// Counts whole copies.
    pub generation: u64,
    /// Counts files of a generation, from 1.
    pub number: u64,
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}-{:08}.segment", self.generation, self.number)
    }
}

impl SegmentName {
    /// Reads what [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (generation, number) = text.strip_suffix(".segment")?.split_once('-')?;
        Some(Self {
            generation: generation.parse().ok()?,
            number: number.parse().ok()?,
        })
    }

    /// The segment after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            number: self.number + 1,
            ..self
        }
    }
}

/// The hash of a commit, as far as it has come.
struct CommitHash(sha2::Sha256);

impl CommitHash {
    fn after(last: &Digest) -> Self {
        let mut hash = sha2::Sha256::new();
        hash.update(last.0);
        Self(hash)
    }

    fn end(self, records: u64, epoch: u64, at: Timestamp) -> Digest {
        let mut hash = self.0;
        hash.update(records.to_be_bytes());
        hash.update(epoch.to_be_bytes());
        hash.update(at.0.to_be_bytes());
        Digest(hash.finalize().into())
    }
}

/// Writes one segment, piece by piece.
pub struct SegmentEncoder {
    hash: CommitHash,
    records: u64,
}

impl SegmentEncoder {
    /// Begins a segment after a commit: the encoder and its first bytes.
    #[must_use]
    pub fn begin(name: SegmentName, follows: Digest) -> (Self, Vec<u8>) {
        let encoder = Self {
            hash: CommitHash::after(&follows),
            records: 0,
        };
        let header = HeaderLine {
            drover_backup_segment: VERSION,
            generation: name.generation,
            number: name.number,
            follows,
        };
        (encoder, line(&header))
    }

    /// One entry.
    pub fn entry(&mut self, entry: &Entry) -> Vec<u8> {
        let bytes = match entry {
            Entry::Retired(stream) => line(&RetiredLine {
                retired: stream.to_string(),
            }),
            Entry::Record(stream, record) => {
                self.records += 1;
                let mut bytes = line(&RecordLine {
                    stream: stream.to_string(),
                    first: record.first,
                    count: record.count,
                    hash: record.hash,
                    bytes: record.lines.len(),
                });
                bytes.extend_from_slice(&record.lines);
                bytes
            }
        };
        self.hash.0.update(&bytes);
        bytes
    }

    /// Everything since the last commit belongs together: the bytes that say so, and the hash that the next segment
    /// follows.
    pub fn commit(&mut self, epoch: u64, at: Timestamp) -> (Vec<u8>, Digest) {
        let records = std::mem::take(&mut self.records);
        let hash = std::mem::replace(&mut self.hash, CommitHash::after(&Digest([0; 32])));
        let sha256 = hash.end(records, epoch, at);
        self.hash = CommitHash::after(&sha256);
        let commit = CommitLine {
            commit: records,
            epoch,
            at,
            sha256,
        };
        (line(&commit), sha256)
    }
}

/// True when there is a whole line of a commit; one that was cut off is what a torn end looks like.
fn has_commit(bytes: &[u8]) -> bool {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .any(|line| line.starts_with(COMMIT) && line.ends_with(b"\n"))
}

fn line(line: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(line).expect("lines of a backup serialize");
    bytes.push(b'\n');
    bytes
}

/// What happened to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It grew.
    Record(StreamId, Record),
    /// Retention took it away.
    Retired(StreamId),
}

/// What is kept of an entry until its commit is read.
enum Staged {
    Record {
        stream: StreamId,
        head: Head,
        count: u32,
        bytes: u64,
    },
    Retired(StreamId),
}

impl Staged {
    fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Retired(stream) => Self::Retired(stream.clone()),
            Entry::Record(stream, record) => Self::Record {
                stream: stream.clone(),
                head: record.head(),
                count: record.count,
                bytes: record.lines.len() as u64,
            },
        }
    }
}

/// How far a stream is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedStream {
    /// Its end.
    pub head: Head,
    /// Bytes of its lines.
    pub bytes: u64,
}

/// What the commits of a generation hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Every stream that was not retired.
    pub streams: BTreeMap<StreamId, CopiedStream>,
    /// The epoch of the last commit.
    pub epoch: u64,
    /// The domain time of the last commit.
    pub at: Timestamp,
    /// The hash of the last commit; zeros before the first.
    pub last: Digest,
    /// Commits.
    pub commits: u64,
    /// Records, those of retired streams counted.
    pub records: u64,
    /// Events, those of retired streams counted.
    pub events: u64,
    /// Bytes of lines, those of retired streams counted.
    pub bytes: u64,
}

impl Default for Copied {
    fn default() -> Self {
        Self {
            streams: BTreeMap::new(),
            epoch: 0,
            at: Timestamp::default(),
            last: Digest([0; 32]),
            commits: 0,
            records: 0,
            events: 0,
            bytes: 0,
        }
    }
}

impl Copied {
    /// The end of a stream as it is copied.
    #[must_use]
    pub fn head(&self, stream: &StreamId) -> Head {
        self.streams
            .get(stream)
            .map_or(Head::EMPTY, |copied| copied.head)
    }

    /// Takes an entry that is part of a commit.
    pub fn take(&mut self, entry: &Entry) {
        self.take_staged(Staged::of(entry));
    }

    fn take_staged(&mut self, staged: Staged) {
        match staged {
            Staged::Retired(stream) => drop(self.streams.remove(&stream)),
            Staged::Record {
                stream,
                head,
                count,
                bytes,
            } => {
                let copied = self.streams.entry(stream).or_insert(CopiedStream {
                    head: Head::EMPTY,
                    bytes: 0,
                });
                copied.head = head;
                copied.bytes += bytes;
                self.records += 1;
                self.events += u64::from(count);
                self.bytes += bytes;
            }
        }
    }

    /// Bytes of lines of streams that are still there.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.streams.values().map(|copied| copied.bytes).sum()
    }
}

/// Why a folder's segments cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file cannot be read.
    #[error("{name}: could not read it")]
    File {
        /// Which.
        name: SegmentName,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What it holds is not what was written.
    #[error("{name}: {source}")]
    Content {
        /// Which.
        name: SegmentName,
        /// What is wrong.
        source: BackupError,
    },
}

/// Reads the newest generation that has a commit, among these segments; every entry passes `visit`, also the ones after
/// the last commit: whoever uses them counts records up to [`Copied::records`].
///
/// # Errors
/// When a segment cannot be read, or is damaged. A torn end is no damage.
pub fn read<R: Read>(
    names: &[SegmentName],
    mut open: impl FnMut(SegmentName) -> io::Result<R>,
    mut visit: impl FnMut(SegmentName, Entry),
) -> Result<Option<(u64, Copied)>, ReadError> {
    let mut generations: BTreeMap<u64, Vec<SegmentName>> = BTreeMap::new();
    for name in names {
        generations.entry(name.generation).or_default().push(*name);
    }
    for (generation, mut names) in generations.into_iter().rev() {
        names.sort_unstable();
        let mut reader = SegmentReader::default();
        for name in names {
            let content = |source| ReadError::Content { name, source };
            let file = |source| ReadError::File { name, source };
            let mut from = open(name).map_err(file)?;
            reader.begin(name).map_err(content)?;
            let mut buffer = vec![0; 1 << 16];
            loop {
                let n = from.read(&mut buffer).map_err(file)?;
                if n == 0 {
                    break;
                }
                for entry in reader.feed(&buffer[..n]).map_err(content)? {
                    visit(name, entry);
                }
            }
            reader.end().map_err(content)?;
        }
        if reader.copied.commits > 0 {
            return Ok(Some((generation, reader.copied)));
        }
    }
    Ok(None)
}

/// Reads the segments of one generation, in order, as their bytes arrive.
#[derive(Default)]
struct SegmentReader {
    copied: Copied,
    name: Option<SegmentName>,
    header: bool,
    buffer: Vec<u8>,
    pending: Option<RecordLine>,
    hash: Option<CommitHash>,
    staged: Vec<Staged>,
    heads: BTreeMap<StreamId, Head>,
    /// The rest makes no sense; true once a whole commit was seen in it.
    lost: Option<(String, bool)>,
}

impl SegmentReader {
    fn begin(&mut self, name: SegmentName) -> Result<(), BackupError> {
        let is_next = self
            .name
            .map_or(name.number == 1, |before| before.next() == name);
        if !is_next {
            return Err(self.damaged("a segment before it is missing"));
        }
        self.name = Some(name);
        self.header = false;
        self.buffer.clear();
        self.forget();
        self.lost = None;
        Ok(())
    }

    /// Nothing of what follows the last commit counts.
    fn forget(&mut self) {
        self.pending = None;
        self.staged.clear();
        self.heads.clear();
        self.hash = Some(CommitHash::after(&self.copied.last));
    }

    fn damaged(&self, what: &str) -> BackupError {
        BackupError::Damaged {
            after: self.copied.records,
            what: what.to_owned(),
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Entry>, BackupError> {
        self.buffer.extend_from_slice(bytes);
        let mut entries = Vec::new();
        let mut at = 0;
        while self.lost.is_none() {
            match self.next(at)? {
                Some((taken, entry)) => {
                    at += taken;
                    entries.extend(entry);
                }
                None => break,
            }
        }
        if let Some((_, commit_seen)) = &mut self.lost {
            // Commits in what makes no sense: then it was whole once, and is damaged now.
            let rest = &self.buffer[at..];
            *commit_seen |= has_commit(rest);
            let lines = rest.iter().rposition(|byte| *byte == b'\n');
            at += lines.map_or(0, |end| end + 1);
            // Of the line that goes on only its begin matters.
            self.buffer
                .truncate(self.buffer.len().min(at + LINE_BYTES_MAX));
        }
        self.buffer.drain(..at);
        Ok(entries)
    }

    /// Takes one line or one record's lines from the buffer; `None` when more bytes are needed.
    fn next(&mut self, at: usize) -> Result<Option<(usize, Option<Entry>)>, BackupError> {
        let rest = &self.buffer[at..];
        if let Some(pending) = &self.pending {
            if rest.len() < pending.bytes {
                return Ok(None);
            }
            let lines: Arc<[u8]> = Arc::from(&rest[..pending.bytes]);
            if let Some(hash) = &mut self.hash {
                hash.0.update(&lines);
            }
            let taken = pending.bytes;
            let entry = self.record(lines);
            return Ok(Some((taken, entry)));
        }
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
            if rest.len() > LINE_BYTES_MAX {
                self.lose("a line is not what it should be");
            }
            return Ok(None);
        };
        let line = rest[..=length].to_vec();
        let entry = self.take_line(&line)?;
        Ok(Some((line.len(), entry)))
    }

    fn lose(&mut self, what: &str) {
        self.lost = Some((what.to_owned(), false));
        self.forget();
    }

    fn record(&mut self, lines: Arc<[u8]>) -> Option<Entry> {
        let line = self.pending.take()?;
        let Some(stream) = StreamId::parse(&line.stream) else {
            self.lose("a record is of no stream");
            return None;
        };
        let record = Record {
            first: line.first,
            count: line.count,
            hash: line.hash,
            lines,
        };
        let head = match self.heads.get(&stream) {
            Some(head) => *head,
            None => self.copied.head(&stream),
        };
        match record.verify(&head) {
            Ok(head) => {
                self.heads.insert(stream.clone(), head);
                let entry = Entry::Record(stream, record);
                self.staged.push(Staged::of(&entry));
                Some(entry)
            }
            Err(error) => {
                self.lose(&format!("{stream}: {error}"));
                None
            }
        }
    }

    fn take_line(&mut self, line: &[u8]) -> Result<Option<Entry>, BackupError> {
        if !self.header {
            self.take_header(line)?;
            return Ok(None);
        }
        let parsed = match serde_json::from_slice(line) {
            Ok(Line::Commit(commit)) => {
                self.take_commit(&commit)?;
                return Ok(None);
            }
            parsed => parsed,
        };
        if let Some(hash) = &mut self.hash {
            hash.0.update(line);
        }
        match parsed {
            Ok(Line::Record(record)) => self.pending = Some(record),
            Ok(Line::Retired(line)) => match StreamId::parse(&line.retired) {
                Some(stream) => {
                    self.heads.insert(stream.clone(), Head::EMPTY);
                    let entry = Entry::Retired(stream);
                    self.staged.push(Staged::of(&entry));
                    return Ok(Some(entry));
                }
                None => self.lose("what was retired is no stream"),
            },
            Ok(Line::Commit(_)) | Err(_) => self.lose("a line is not what it should be"),
        }
        Ok(None)
    }

    fn take_header(&mut self, line: &[u8]) -> Result<(), BackupError> {
        let Ok(header) = serde_json::from_slice::<HeaderLine>(line) else {
            self.lose("its first line is not what it should be");
            return Ok(());
        };
        if header.drover_backup_segment > VERSION {
            return Err(BackupError::Newer(header.drover_backup_segment));
        }
        if header.drover_backup_segment != VERSION {
            return Err(self.damaged("it is of no version that there was"));
        }
        let named = SegmentName {
            generation: header.generation,
            number: header.number,
        };
        if self.name != Some(named) {
            return Err(self.damaged("it is another segment than its name says"));
        }
        if header.follows != self.copied.last {
            return Err(self.damaged("commits before it are missing"));
        }
        self.header = true;
        Ok(())
    }

    fn take_commit(&mut self, commit: &CommitLine) -> Result<(), BackupError> {
        let records = self
            .staged
            .iter()
            .filter(|staged| matches!(staged, Staged::Record { .. }))
            .count() as u64;
        let hash = self.hash.take();
        let sha256 = hash.map(|hash| hash.end(records, commit.epoch, commit.at));
        if commit.commit != records || sha256 != Some(commit.sha256) {
            return Err(self.damaged("the checksum of a commit does not match"));
        }
        for staged in std::mem::take(&mut self.staged) {
            self.copied.take_staged(staged);
        }
        self.copied.epoch = commit.epoch;
        self.copied.at = commit.at;
        self.copied.last = commit.sha256;
        self.copied.commits += 1;
        self.forget();
        Ok(())
    }

    /// The segment ends here.
    fn end(&mut self) -> Result<(), BackupError> {
        let (what, commit_seen) = self
            .lost
            .take()
            .unwrap_or_else(|| ("a record has another length than it says".to_owned(), false));
        // A torn end has no commit in it: that would have been the last thing written.
        if commit_seen || has_commit(&self.buffer) {
            return Err(self.damaged(&what));
        }
        self.forget();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::WorkflowId;

    fn stream(id: &str) -> StreamId {
        StreamId::Workflow(WorkflowId::new(id).unwrap())
    }

    const FIRST: SegmentName = SegmentName {
        generation: 1,
        number: 1,
    };

    /// Two segments: three commits and one, the last of which retires a stream. Ends of the commits of the first.
    fn sample() -> (Vec<Vec<u8>>, Vec<usize>) {
        let mut head = Head::EMPTY;
        let mut last = Digest([0; 32]);
        let mut ends = Vec::new();
        let mut segments = Vec::new();
        for name in [FIRST, FIRST.next()] {
            let (mut encoder, mut bytes) = SegmentEncoder::begin(name, last);
            for n in 0..3 {
                let record = Record::chain(&head, 1, format!("{{\"n\":{n}}}\n").into_bytes());
                head = record.head();
                bytes.extend(encoder.entry(&Entry::Record(stream("m1"), record)));
                if n == 1 {
                    let other = Record::chain(&Head::EMPTY, 1, b"{}\n".to_vec());
                    bytes.extend(encoder.entry(&Entry::Record(stream("gone"), other)));
                } else {
                    bytes.extend(encoder.entry(&Entry::Retired(stream("gone"))));
                }
                let (commit, hash) = encoder.commit(7, Timestamp(5));
                last = hash;
                bytes.extend(commit);
                if name == FIRST {
                    ends.push(bytes.len());
                }
            }
            segments.push(bytes);
        }
        (segments, ends)
    }

    fn read_all(segments: &[Vec<u8>]) -> Result<Option<(u64, Copied)>, ReadError> {
        let names: Vec<SegmentName> = (1..=segments.len() as u64)
            .map(|number| SegmentName {
                generation: 1,
                number,
            })
            .collect();
        read(
            &names,
            |name| Ok(&segments[usize::try_from(name.number).unwrap() - 1][..]),
            |_, _| {},
        )
    }

    #[test]
    fn segments_survive_the_round_trip_and_retired_streams_are_gone() {
        let (segments, _) = sample();
        let (generation, copied) = read_all(&segments).unwrap().unwrap();
        assert_eq!((generation, copied.commits, copied.records), (1, 6, 8));
        assert_eq!(copied.streams.len(), 1);
        assert_eq!(copied.head(&stream("m1")).seq, 6);
        assert_eq!(copied.live_bytes(), 6 * 8);
    }

    #[test]
    fn a_torn_end_counts_up_to_its_last_commit() {
        let (segments, ends) = sample();
        for length in 0..=segments[0].len() {
            let whole = ends.iter().filter(|end| **end <= length).count() as u64;
            let torn = vec![segments[0][..length].to_vec()];
            let commits = read_all(&torn)
                .unwrap()
                .map_or(0, |(_, copied)| copied.commits);
            assert_eq!(commits, whole, "cut at {length}");
            // What a disk shows after a power cut: the length, but not the bytes.
            let mut zeros = segments[0][..length].to_vec();
            zeros.resize(length + 9000, 0);
            let commits = read_all(&[zeros])
                .unwrap()
                .map_or(0, |(_, copied)| copied.commits);
            assert_eq!(commits, whole, "zeros from {length}");
        }
    }

    #[test]
    fn a_segment_goes_on_after_a_torn_one_and_after_nothing_else() {
        let (segments, ends) = sample();
        let mut torn = segments.clone();
        torn[0].extend_from_slice(b"{\"stream\":\"audit\",\"fir");
        assert_eq!(read_all(&torn).unwrap().unwrap().1.commits, 6);
        torn[0].truncate(ends[1]);
        let error = read_all(&torn).unwrap_err().to_string();
        assert!(error.contains("commits before it are missing"), "{error}");
    }

    #[test]
    fn every_changed_byte_of_a_commit_is_noticed() {
        let (segments, _) = sample();
        let sound = read_all(&segments).unwrap();
        for place in 0..segments[0].len() {
            let mut changed = segments.clone();
            changed[0][place] ^= 1;
            assert!(read_all(&changed).is_err(), "byte {place}");
        }
        assert_eq!(read_all(&segments).unwrap(), sound);
    }

    #[test]
    fn names_survive_the_round_trip_and_order_as_written() {
        assert_eq!(SegmentName::parse(&FIRST.to_string()), Some(FIRST));
        assert_eq!(SegmentName::parse("LOCK"), None);
        assert!(FIRST.to_string() < FIRST.next().to_string());
    }
}
