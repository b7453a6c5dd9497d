//! Backups and event lines, damaged in any way.

use bolero::{TypeGenerator, check};
use drover_core::{
    backup::{ChainCheck, Decoder, Encoder},
    ids::WorkflowId,
    stream::{Head, Record, StreamId},
    time::Timestamp,
    workflow::event::Event,
};

/// What happens to some bytes.
#[derive(Clone, Debug, TypeGenerator)]
enum Damage {
    /// One byte becomes another one.
    Flip(u16, u8),
    /// A part goes.
    Cut(u16, u8),
    /// Something comes in between.
    Insert(u16, Vec<u8>),
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let place = |n: u16, length: usize| usize::from(n) % length;
        match damage {
            Damage::Flip(at, with) => {
                let at = place(*at, bytes.len());
                bytes[at] ^= with;
            }
            Damage::Cut(at, length) => {
                let at = place(*at, bytes.len());
                let end = (at + usize::from(*length)).min(bytes.len());
                bytes.drain(at..end);
            }
            Damage::Insert(at, what) => {
                let at = place(*at, bytes.len());
                bytes.splice(at..at, what.iter().copied());
            }
        }
    }
    bytes
}

fn backup() -> (Vec<u8>, Vec<(StreamId, Record)>) {
    let stream = StreamId::Workflow(WorkflowId::new("m1").unwrap());
    let first = Record::chain(&Head::EMPTY, 2, b"{\"seq\":1}\n{\"seq\":2}\n".to_vec());
    let second = Record::chain(&first.head(), 1, b"{\"seq\":3}\n".to_vec());
    let audit = Record::chain(&Head::EMPTY, 1, b"{}\n".to_vec());
    let records = vec![
        (StreamId::Audit, audit.clone()),
        (stream.clone(), first),
        (stream, second),
    ];
    let (mut encoder, mut bytes) = Encoder::begin(7, Timestamp(0));
    for (stream, record) in &records {
        bytes.extend(encoder.record(stream, record));
    }
    bytes.extend(encoder.end(audit.head(), String::new()));
    (bytes, records)
}

/// Reads a backup as a restore does; what it holds, when it is sound.
fn read(bytes: &[u8], chunk: usize) -> Option<Vec<(StreamId, Record)>> {
    let mut decoder = Decoder::default();
    let mut check = ChainCheck::default();
    let mut records = Vec::new();
    for part in bytes.chunks(chunk.max(1)) {
        for (stream, record) in decoder.feed(part).ok()? {
            check.take(&stream, &record).ok()?;
            records.push((stream, record));
        }
    }
    decoder.finish().ok()?;
    Some(records)
}

#[test]
fn a_damaged_backup_is_refused_or_reads_as_it_was() {
    check!()
        .with_type::<(u8, Vec<Damage>)>()
        .with_iterations(3000)
        .with_max_len(128)
        .for_each(|(chunk, damages)| {
            let (bytes, records) = backup();
            let after = damaged(bytes, damages);
            if let Some(read) = read(&after, usize::from(*chunk)) {
                assert_eq!(read, records, "it reads, and as something else");
            }
        });
}

#[test]
fn any_bytes_are_no_backup_and_no_panic() {
    check!()
        .with_type::<Vec<u8>>()
        .with_iterations(2000)
        .with_max_len(512)
        .for_each(|bytes| assert_eq!(read(bytes, 64), None));
}

/// A line of each shape, as it lies on disks today.
const LINE: &[u8] = br#"{"seq":7,"at":"1970-01-01T00:00:01.000000Z","step":"etcd-join","attempt":2,"type":"AttemptFailed","data":{"fence":"1.9","failure":{"code":"throttled","certainty":"transient","message":"slow down"},"then":{"retry":{"at":"1970-01-01T00:00:02.000000Z"}}}}"#;

#[test]
fn a_line_that_reads_is_written_as_something_that_reads_the_same() {
    check!()
        .with_type::<Vec<Damage>>()
        .with_iterations(3000)
        .with_max_len(64)
        .for_each(|damages| {
            let line = damaged(LINE.to_vec(), damages);
            if let Ok(event) = Event::read_line(&line) {
                let mut written = Vec::new();
                event.write_line(&mut written);
                let again = Event::read_line(&written).expect("what was written reads");
                assert_eq!(again, event);
            }
        });
}
