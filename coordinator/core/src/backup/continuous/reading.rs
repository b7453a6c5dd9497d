//! Reading the segments of a continuous backup, torn ends included.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    sync::Arc,
};

use sha2::Digest as _;

use super::{
    CommitHash, CommitLine, Copied, Entry, HeaderLine, LINE_BYTES_MAX, Line, SegmentName, Staged,
    VERSION, has_commit,
};
use crate::{
    backup::{BackupError, RecordLine},
    stream::{Head, StreamId},
};

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
        let Some((stream, record)) = line.with(lines) else {
            self.lose("a record is of no stream");
            return None;
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
