//! The folder of a continuous backup, read without any coordinator.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use drover_core::{
    backup::{
        Encoder,
        continuous::{Copied, Entry, SegmentName, read},
    },
    ids::Digest,
    stream::{Record, StreamId},
};

use crate::{
    failure::{Failure, Outcome},
    output::say,
};

/// Bytes that are handed on at once.
const CHUNK: usize = 1 << 18;

/// A folder whose newest generation was read once, and holds.
pub(crate) struct CopiedFolder {
    path: PathBuf,
    names: Vec<SegmentName>,
    /// What it holds.
    pub(crate) copied: Copied,
}

impl CopiedFolder {
    /// Reads a folder.
    pub(crate) fn open(path: &Path) -> Outcome<Self> {
        let shown = path.display();
        let unreadable = |error: std::io::Error| Failure::usage(format!("{shown}: {error}"));
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            names.extend(name.to_str().and_then(SegmentName::parse));
        }
        let found = pass(path, &names, |_, _| {})?;
        let Some((generation, copied)) = found else {
            return Err(Failure::usage(format!(
                "{shown} holds no backup, or none that was ever complete"
            )));
        };
        names.retain(|name| name.generation == generation);
        Ok(Self {
            path: path.to_path_buf(),
            names,
            copied,
        })
    }

    /// Visits every record of the streams that were not retired.
    pub(crate) fn each(&self, mut visit: impl FnMut(&StreamId, &Record)) -> Outcome {
        // Whatever follows the last commit does not count, also when it grows just now.
        let mut left = self.copied.records;
        pass(&self.path, &self.names, |_, entry| {
            if let Entry::Record(stream, record) = entry
                && left > 0
            {
                left -= 1;
                if self.copied.streams.contains_key(&stream) {
                    visit(&stream, &record);
                }
            }
        })?;
        Ok(())
    }

    /// Visits the texts of large outputs. One that is damaged is told and left out: its step asks for it when it is read.
    fn each_object(&self, mut visit: impl FnMut(&[u8])) -> Outcome {
        let folder = self.path.join("objects");
        if !folder.is_dir() {
            return Ok(());
        }
        let unreadable = |path: &Path| {
            let shown = path.display().to_string();
            move |error: std::io::Error| Failure::failed(format!("{shown}: {error}"))
        };
        for entry in fs::read_dir(&folder).map_err(unreadable(&folder))? {
            let path = entry.map_err(unreadable(&folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(digest) = name.and_then(Digest::parse) else {
                continue;
            };
            let text = fs::read(&path).map_err(unreadable(&path))?;
            if Digest::of(&text) == digest {
                visit(&text);
            } else {
                say(&format!("{}: it is damaged, and left out", path.display()));
            }
        }
        Ok(())
    }

    /// The same as one backup, chunk by chunk, until `send` has had enough.
    pub(crate) fn as_backup(&self, mut send: impl FnMut(Vec<u8>) -> bool) -> Outcome {
        let (mut encoder, mut buffer) = Encoder::begin(self.copied.epoch, self.copied.at);
        let mut wanted = true;
        self.each(|stream, record| {
            buffer.extend(encoder.record(stream, record));
            if buffer.len() >= CHUNK && wanted {
                wanted = send(std::mem::take(&mut buffer));
            }
        })?;
        self.each_object(|text| {
            buffer.extend(encoder.object(text));
            for chunk in std::mem::take(&mut buffer).chunks(CHUNK) {
                wanted = wanted && send(chunk.to_vec());
            }
        })?;
        buffer.extend(encoder.end(self.copied.head(&StreamId::Audit), String::new()));
        if wanted {
            send(buffer);
        }
        Ok(())
    }
}

fn pass(
    path: &Path,
    names: &[SegmentName],
    visit: impl FnMut(SegmentName, Entry),
) -> Outcome<Option<(u64, Copied)>> {
    read(names, |name| File::open(path.join(name.to_string())), visit)
        .map_err(|error| Failure::failed(format!("{}: {}", path.display(), chain(&error))))
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        None => error.to_string(),
        Some(source) => format!("{error} ({source})"),
    }
}
