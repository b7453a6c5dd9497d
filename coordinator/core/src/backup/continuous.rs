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

mod reading;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::RecordLine;
use crate::{
    ids::Digest,
    stream::{Head, Record, StreamId},
    time::Timestamp,
};
pub use reading::{ReadError, read};

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
