//! The encoding of records: the only place that knows the bytes on disk.
//!
//! A record is one header and its lines, cut into values of at most 4 KiB: sled keeps larger ones in files of their own
//! that it never syncs. Chunk 0 begins with the header; every chunk follows under the next chunk number.
//!
//! Header, version 1: version (1 byte), events (4, big-endian), bytes of all lines (4, big-endian), hash (32).

use std::sync::Arc;

use drover_core::{
    ids::Digest,
    stream::{Head, Record},
};

/// The largest value of one key.
pub(super) const VALUE_BYTES_MAX: usize = 4096;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 4 + 4 + 32;

/// The values of a record, by chunk.
pub(super) fn encode(record: &Record) -> Vec<Vec<u8>> {
    let length = u32::try_from(record.lines.len()).expect("a record is far smaller than 4 GiB");
    let in_first = record.lines.len().min(VALUE_BYTES_MAX - HEADER_BYTES);
    let (first, rest) = record.lines.split_at(in_first);
    let mut value = Vec::with_capacity(HEADER_BYTES + in_first);
    value.push(VERSION);
    value.extend_from_slice(&record.count.to_be_bytes());
    value.extend_from_slice(&length.to_be_bytes());
    value.extend_from_slice(&record.hash.0);
    value.extend_from_slice(first);
    let mut values = vec![value];
    values.extend(rest.chunks(VALUE_BYTES_MAX).map(<[u8]>::to_vec));
    values
}

/// A record whose chunks are being read.
pub(super) struct Decoder {
    first: u64,
    count: u32,
    hash: Digest,
    length: usize,
    next_chunk: u16,
    lines: Vec<u8>,
}

impl Decoder {
    /// Begins with chunk 0.
    pub(super) fn begin(first: u64, value: &[u8]) -> Result<Self, String> {
        let damaged = || format!("the record at event {first} has a damaged header");
        let version = value.first().copied().ok_or_else(damaged)?;
        if version != VERSION {
            return Err(format!(
                "the record at event {first} has encoding {version}; this version knows {VERSION}"
            ));
        }
        let (header, lines) = value.split_at_checked(HEADER_BYTES).ok_or_else(damaged)?;
        let word = |at: usize| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&header[at..at + 4]);
            u32::from_be_bytes(bytes)
        };
        let mut hash = [0; 32];
        hash.copy_from_slice(&header[9..]);
        Ok(Self {
            first,
            count: word(1),
            hash: Digest(hash),
            length: word(5) as usize,
            next_chunk: 1,
            lines: lines.to_vec(),
        })
    }

    /// Goes on with the next chunk.
    pub(super) fn chunk(&mut self, number: u16, value: &[u8]) -> Result<(), String> {
        if number != self.next_chunk {
            return Err(format!(
                "the record at event {} lacks chunk {}",
                self.first, self.next_chunk
            ));
        }
        self.next_chunk += 1;
        self.lines.extend_from_slice(value);
        Ok(())
    }

    /// Which record this is.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The head after this record; its lines are not needed for that.
    pub(super) fn head(&self) -> Head {
        Head {
            seq: self.first + u64::from(self.count) - 1,
            hash: self.hash,
        }
    }

    /// Ends with the last chunk.
    pub(super) fn end(self) -> Result<Record, String> {
        if self.lines.len() != self.length {
            return Err(format!(
                "the record at event {} should have {} bytes and has {}",
                self.first,
                self.length,
                self.lines.len()
            ));
        }
        Ok(Record {
            first: self.first,
            count: self.count,
            hash: self.hash,
            lines: Arc::from(self.lines),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(bytes: usize) {
        let mut lines = vec![b'x'; bytes];
        lines.push(b'\n');
        let record = Record::chain(&Head::EMPTY, 1, lines);
        let values = encode(&record);
        assert!(values.iter().all(|value| value.len() <= VALUE_BYTES_MAX));
        let mut decoder = Decoder::begin(record.first, &values[0]).unwrap();
        for (number, value) in (1..).zip(&values[1..]) {
            decoder.chunk(number, value).unwrap();
        }
        assert_eq!(decoder.end().unwrap(), record);
    }

    #[test]
    fn records_of_every_size_survive_the_round_trip_in_small_values() {
        for bytes in [0, 1, 4053, 4054, 4055, 4096, 8150, 8151, 1 << 20] {
            round_trip(bytes);
        }
    }

    #[test]
    fn a_missing_chunk_a_short_one_and_a_later_encoding_are_said_so() {
        let record = Record::chain(&Head::EMPTY, 1, vec![b'x'; 10_000]);
        let values = encode(&record);
        let mut decoder = Decoder::begin(1, &values[0]).unwrap();
        assert!(decoder.chunk(2, &values[2]).is_err());
        assert!(decoder.end().is_err());
        assert!(
            Decoder::begin(1, &[2, 0, 0])
                .err()
                .unwrap()
                .contains("encoding 2")
        );
        assert!(Decoder::begin(1, &[1, 0, 0]).is_err());
        assert!(Decoder::begin(1, &[]).is_err());
    }

    #[test]
    fn any_values_are_a_record_that_says_what_they_hold_or_a_reason() {
        bolero::check!()
            .with_type::<(bool, Vec<u8>, Vec<(u16, Vec<u8>)>)>()
            .with_iterations(3000)
            .with_max_len(512)
            .for_each(|(versioned, first, chunks)| {
                let mut first = first.clone();
                if *versioned {
                    first.insert(0, VERSION);
                }
                let Ok(mut decoder) = Decoder::begin(1, &first) else {
                    return;
                };
                let taken = chunks
                    .iter()
                    .all(|(number, value)| decoder.chunk(*number, value).is_ok());
                if let Ok(record) = decoder.end()
                    && taken
                {
                    let bytes = first.len() - HEADER_BYTES
                        + chunks.iter().map(|(_, value)| value.len()).sum::<usize>();
                    assert_eq!(record.lines.len(), bytes);
                    // Whatever it says of itself, checking it is safe.
                    drop(record.verify(&Head::EMPTY));
                }
            });
    }

    #[test]
    fn a_record_with_one_changed_byte_is_another_one_or_none() {
        let record = Record::chain(&Head::EMPTY, 2, b"{\"seq\":1}\n{\"seq\":2}\n".to_vec());
        bolero::check!()
            .with_type::<(u16, u8)>()
            .with_iterations(2000)
            .for_each(|(at, with)| {
                let mut value = encode(&record).remove(0);
                let at = usize::from(*at) % value.len();
                value[at] ^= with;
                let read = Decoder::begin(1, &value).and_then(Decoder::end);
                let is_sound = read.is_ok_and(|read| read.verify(&Head::EMPTY).is_ok());
                assert_eq!(is_sound, *with == 0, "byte {at}");
            });
    }
}
