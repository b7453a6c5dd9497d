//! What a continuous backup's folder holds, as a backup that can be uploaded: what `drover restore FOLDER` does.

use std::{collections::BTreeMap, fs::File, path::Path};

use drover_core::{
    backup::{
        Encoder,
        continuous::{Copied, Entry, SegmentName, read},
    },
    stream::{Record, StreamId},
};

/// What the commits hold, and all records of streams that were not retired.
pub fn read_folder(folder: &Path) -> (Copied, BTreeMap<StreamId, Vec<Record>>) {
    let names: Vec<SegmentName> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| SegmentName::parse(entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    let open = |name: SegmentName| File::open(folder.join(name.to_string()));
    let mut entries = Vec::new();
    let (generation, copied) = read(&names, open, |name, entry| entries.push((name, entry)))
        .unwrap()
        .expect("there is a commit");
    let mut streams: BTreeMap<StreamId, Vec<Record>> = BTreeMap::new();
    let records = entries.into_iter().filter_map(|(name, entry)| match entry {
        Entry::Record(stream, record) if name.generation == generation => Some((stream, record)),
        Entry::Record(..) | Entry::Retired(_) => None,
    });
    for (stream, record) in records.take(usize::try_from(copied.records).unwrap()) {
        if copied.streams.contains_key(&stream) {
            streams.entry(stream).or_default().push(record);
        }
    }
    (copied, streams)
}

/// The folder as a backup in one piece.
pub fn as_backup(folder: &Path) -> Vec<u8> {
    let (copied, streams) = read_folder(folder);
    let (mut encoder, mut bytes) = Encoder::begin(copied.epoch, copied.at);
    for (stream, records) in &streams {
        for record in records {
            bytes.extend(encoder.record(stream, record));
        }
    }
    if let Ok(objects) = std::fs::read_dir(folder.join("objects")) {
        for object in objects {
            bytes.extend(encoder.object(&std::fs::read(object.unwrap().path()).unwrap()));
        }
    }
    bytes.extend(encoder.end(copied.head(&StreamId::Audit), String::new()));
    bytes
}
