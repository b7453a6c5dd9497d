//! The format of a backup: what is written, what is read, without any I/O.
//!
//! ```text
//! {"drover_backup":2,"epoch":7,"at":"…"}            one line
//! {"stream":"workflow/m1","first":1,"count":3,"hash":"…","bytes":812}   one line, then that many bytes of JSON lines
//! …
//! {"object":"…","bytes":700000}   one line, then that many bytes: a large output, named by its SHA-256
//! {"end":true,"records":42,"sha256":"…","audit_head":{…},"signature":"…"}   one line; the hash is over everything before it
//! ```
//!
//! It is text except for its length prefixes, so that `grep` works on it, and it can be written and read in one pass.

pub mod against;
pub mod continuous;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::{
    ids::Digest,
    stream::{ChainError, Head, Record, StreamId},
    time::Timestamp,
};

/// 2 adds objects.
const VERSION: u32 = 2;

/// The longest line of a backup's own, in bytes.
const LINE_BYTES_MAX: usize = 4096;

#[derive(Debug, Serialize, Deserialize)]
struct HeaderLine {
    drover_backup: u32,
    epoch: u64,
    at: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
struct RecordLine {
    stream: String,
    first: u64,
    count: u32,
    hash: Digest,
    bytes: usize,
}

impl RecordLine {
    /// The record whose lines follow; `None` when it is of no stream.
    fn with(&self, lines: Arc<[u8]>) -> Option<(StreamId, Record)> {
        let record = Record {
            first: self.first,
            count: self.count,
            hash: self.hash,
            lines,
        };
        Some((StreamId::parse(&self.stream)?, record))
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct ObjectLine {
    object: Digest,
    bytes: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct EndLine {
    end: bool,
    records: u64,
    sha256: Digest,
    audit_head: Head,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    signature: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Record(RecordLine),
    Object(ObjectLine),
    End(EndLine),
}

/// A line whose bytes are still to come.
enum Pending {
    Record(RecordLine),
    Object(ObjectLine),
}

impl Pending {
    fn bytes(&self) -> usize {
        match self {
            Self::Record(line) => line.bytes,
            Self::Object(line) => line.bytes,
        }
    }
}

/// What a complete backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The coordinator's epoch when it was made.
    pub epoch: u64,
    /// When it was made, in domain time.
    pub at: Timestamp,
    /// Records in it.
    pub records: u64,
    /// Head of the audit stream in it.
    pub audit_head: Head,
    /// Ed25519 over the audit head's hash, hex; empty when it was not signed.
    pub signature: String,
}

/// Why a text is no backup, or not a whole one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// The first line is another one.
    #[error("this is not a backup")]
    NotABackup,
    /// A later version wrote it.
    #[error("the backup has version {0}; this version knows {VERSION}: use a newer one")]
    Newer(u32),
    /// A line is not what it should be.
    #[error("the backup is damaged after record {after}: {what}")]
    Damaged {
        /// How many records were sound.
        after: u64,
        /// What is wrong.
        what: String,
    },
    /// It ends before its end.
    #[error("the backup is cut off after record {after}")]
    CutOff {
        /// How many records were sound.
        after: u64,
    },
}

/// Writes a backup, piece by piece.
pub struct Encoder {
    hash: sha2::Sha256,
    records: u64,
}

impl Encoder {
    /// Begins a backup: the encoder and its first bytes.
    #[must_use]
    pub fn begin(epoch: u64, at: Timestamp) -> (Self, Vec<u8>) {
        let mut encoder = Self {
            hash: sha2::Sha256::new(),
            records: 0,
        };
        let bytes = encoder.line(&HeaderLine {
            drover_backup: VERSION,
            epoch,
            at,
        });
        (encoder, bytes)
    }

    /// One record.
    pub fn record(&mut self, stream: &StreamId, record: &Record) -> Vec<u8> {
        self.records += 1;
        let mut bytes = self.line(&RecordLine {
            stream: stream.to_string(),
            first: record.first,
            count: record.count,
            hash: record.hash,
            bytes: record.lines.len(),
        });
        self.hash.update(&record.lines);
        bytes.extend_from_slice(&record.lines);
        bytes
    }

    /// One large output.
    pub fn object(&mut self, text: &[u8]) -> Vec<u8> {
        let mut bytes = self.line(&ObjectLine {
            object: Digest::of(text),
            bytes: text.len(),
        });
        self.hash.update(text);
        bytes.extend_from_slice(text);
        bytes
    }

    /// The last bytes.
    #[must_use]
    pub fn end(mut self, audit_head: Head, signature: String) -> Vec<u8> {
        let sha256 = Digest(std::mem::take(&mut self.hash).finalize().into());
        let records = self.records;
        self.line(&EndLine {
            end: true,
            records,
            sha256,
            audit_head,
            signature,
        })
    }

    fn line(&mut self, line: &impl Serialize) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(line).expect("lines of a backup serialize");
        bytes.push(b'\n');
        self.hash.update(&bytes);
        bytes
    }
}

/// Reads a backup as its bytes arrive.
#[derive(Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    hash: sha2::Sha256,
    header: Option<HeaderLine>,
    pending: Option<Pending>,
    records: u64,
    end: Option<EndLine>,
    objects: Option<Vec<Vec<u8>>>,
}

impl Decoder {
    /// One that keeps objects until they are taken. [`Decoder::default`] checks them and lets them go.
    #[must_use]
    pub fn with_objects() -> Self {
        Self {
            objects: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// The objects that were complete since the last call.
    pub fn take_objects(&mut self) -> Vec<Vec<u8>> {
        self.objects
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Takes some bytes and gives the records that are complete now.
    ///
    /// # Errors
    /// When the bytes are not those of a backup.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<(StreamId, Record)>, BackupError> {
        self.buffer.extend_from_slice(bytes);
        let mut records = Vec::new();
        let mut at = 0;
        loop {
            let rest = &self.buffer[at..];
            if let Some(pending) = self.pending.take_if(|line| line.bytes() <= rest.len()) {
                let content = &rest[..pending.bytes()];
                self.hash.update(content);
                at += content.len();
                match pending {
                    Pending::Record(line) => {
                        records.push(line.with(Arc::from(content)).ok_or_else(|| {
                            BackupError::Damaged {
                                after: self.records,
                                what: format!("{:?} names no stream", line.stream),
                            }
                        })?);
                        self.records += 1;
                    }
                    Pending::Object(line) if Digest::of(content) == line.object => {
                        if let Some(objects) = &mut self.objects {
                            objects.push(content.to_vec());
                        }
                    }
                    Pending::Object(line) => {
                        return Err(BackupError::Damaged {
                            after: self.records,
                            what: format!("the object {} is not what its name says", line.object),
                        });
                    }
                }
                continue;
            }
            if self.pending.is_some() {
                break;
            }
            let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
                if rest.len() > LINE_BYTES_MAX {
                    return Err(self.not_a_line());
                }
                break;
            };
            if self.end.is_some() {
                return Err(BackupError::Damaged {
                    after: self.records,
                    what: "something follows its end".to_owned(),
                });
            }
            let line = rest[..=length].to_vec();
            at += line.len();
            self.take_line(&line)?;
        }
        self.buffer.drain(..at);
        Ok(records)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), BackupError> {
        if self.header.is_none() {
            let header: HeaderLine =
                serde_json::from_slice(line).map_err(|_| BackupError::NotABackup)?;
            if header.drover_backup > VERSION {
                return Err(BackupError::Newer(header.drover_backup));
            }
            self.header = Some(header);
            self.hash.update(line);
            return Ok(());
        }
        match serde_json::from_slice(line) {
            Ok(Line::Record(record)) => {
                self.hash.update(line);
                self.pending = Some(Pending::Record(record));
                Ok(())
            }
            Ok(Line::Object(object)) => {
                self.hash.update(line);
                self.pending = Some(Pending::Object(object));
                Ok(())
            }
            Ok(Line::End(end)) => {
                let sha256 = Digest(self.hash.clone().finalize().into());
                let what = if end.sha256 != sha256 {
                    "its checksum does not match"
                } else if end.records != self.records {
                    "records are missing"
                } else {
                    self.end = Some(end);
                    return Ok(());
                };
                Err(BackupError::Damaged {
                    after: self.records,
                    what: what.to_owned(),
                })
            }
            Err(_) => Err(self.not_a_line()),
        }
    }

    fn not_a_line(&self) -> BackupError {
        if self.header.is_none() {
            BackupError::NotABackup
        } else {
            BackupError::Damaged {
                after: self.records,
                what: "a line is not what it should be".to_owned(),
            }
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// When the backup was not whole.
    pub fn finish(self) -> Result<Summary, BackupError> {
        match (self.header, self.end) {
            (Some(header), Some(end)) => Ok(Summary {
                epoch: header.epoch,
                at: header.at,
                records: end.records,
                audit_head: end.audit_head,
                signature: end.signature,
            }),
            (None, _) => Err(BackupError::NotABackup),
            (Some(_), None) => Err(BackupError::CutOff {
                after: self.records,
            }),
        }
    }
}

/// Checks the chains of records as they pass.
#[derive(Clone, Debug, Default)]
pub struct ChainCheck {
    heads: std::collections::BTreeMap<StreamId, Head>,
    /// Records seen.
    pub records: u64,
    /// Events seen.
    pub events: u64,
}

impl ChainCheck {
    /// Takes the next record of a stream.
    ///
    /// # Errors
    /// When it does not continue the stream.
    pub fn take(&mut self, stream: &StreamId, record: &Record) -> Result<(), ChainError> {
        let head = self.heads.get(stream).copied().unwrap_or(Head::EMPTY);
        let next = record.verify(&head)?;
        self.heads.insert(stream.clone(), next);
        self.records += 1;
        self.events += u64::from(record.count);
        Ok(())
    }

    /// The head of a stream.
    #[must_use]
    pub fn head(&self, stream: &StreamId) -> Head {
        self.heads.get(stream).copied().unwrap_or(Head::EMPTY)
    }

    /// Streams seen.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.heads.len()
    }

    /// The heads of all streams seen.
    #[must_use]
    pub fn heads(&self) -> &std::collections::BTreeMap<StreamId, Head> {
        &self.heads
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::WorkflowId;

    const OBJECT: &[u8] = b"[\"large\",\n1]";

    fn sample() -> (Vec<(StreamId, Record)>, Vec<u8>) {
        let stream = StreamId::Workflow(WorkflowId::new("m1").unwrap());
        let first = Record::chain(&Head::EMPTY, 2, b"{\"a\":1}\n{\"b\":2}\n".to_vec());
        let second = Record::chain(&first.head(), 1, vec![b'x', b'\n']);
        let records = vec![
            (stream.clone(), first),
            (stream, second),
            (
                StreamId::Audit,
                Record::chain(&Head::EMPTY, 1, b"y\n".to_vec()),
            ),
        ];
        let (mut encoder, mut bytes) = Encoder::begin(7, Timestamp(5));
        for (stream, record) in &records {
            bytes.extend(encoder.record(stream, record));
        }
        bytes.extend(encoder.object(OBJECT));
        bytes.extend(encoder.end(records[2].1.head(), String::new()));
        (records, bytes)
    }

    fn read(bytes: &[u8], step: usize) -> Result<(Vec<(StreamId, Record)>, Summary), BackupError> {
        let mut decoder = Decoder::with_objects();
        let mut records = Vec::new();
        let mut objects = Vec::new();
        for piece in bytes.chunks(step) {
            records.extend(decoder.feed(piece)?);
            objects.extend(decoder.take_objects());
        }
        let summary = decoder.finish()?;
        assert_eq!(objects, [OBJECT]);
        Ok((records, summary))
    }

    #[test]
    fn a_backup_survives_the_round_trip_in_pieces_of_any_size() {
        let (records, bytes) = sample();
        for step in [1, 2, 7, 64, bytes.len()] {
            let (read, summary) = read(&bytes, step).unwrap();
            assert_eq!(read, records);
            assert_eq!(
                (summary.epoch, summary.records, summary.audit_head),
                (7, 3, records[2].1.head())
            );
        }
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_noticed() {
        let (_, bytes) = sample();
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length], 64).is_err(), "cut at {length}");
        }
        let end_of_hashed = bytes.len()
            - bytes
                .iter()
                .rev()
                .skip(1)
                .position(|byte| *byte == b'\n')
                .unwrap()
            - 1;
        for place in 0..end_of_hashed {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert!(read(&changed, 64).is_err(), "byte {place}");
        }
        assert_eq!(read(b"hello\n", 64).unwrap_err(), BackupError::NotABackup);
        assert_eq!(
            read(
                b"{\"drover_backup\":9,\"epoch\":1,\"at\":\"1970-01-01T00:00:00Z\"}\n",
                64
            )
            .unwrap_err(),
            BackupError::Newer(9)
        );
    }
}
