//! Keys: stream, event, chunk, so that a scan is in order.

use drover_core::stream::StreamId;

/// Keys that begin so are no records.
pub(super) const META: u8 = 0;

/// The prefix of all keys of a stream. Stream names hold no NUL byte.
pub(super) fn prefix(stream: &StreamId) -> Vec<u8> {
    let mut key = stream.to_string().into_bytes();
    key.push(0);
    key
}

/// The key of one chunk of the record that begins with event `first`.
pub(super) fn key(stream: &StreamId, first: u64, chunk: u16) -> Vec<u8> {
    let mut key = prefix(stream);
    key.extend_from_slice(&first.to_be_bytes());
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

/// Stream, first event and chunk of a key.
pub(super) fn parse(key: &[u8]) -> Option<(StreamId, u64, u16)> {
    let (rest, chunk) = key.split_last_chunk::<2>()?;
    let (rest, first) = rest.split_last_chunk::<8>()?;
    let (end, name) = rest.split_last()?;
    if *end != 0 {
        return None;
    }
    let stream = StreamId::parse(std::str::from_utf8(name).ok()?)?;
    Some((
        stream,
        u64::from_be_bytes(*first),
        u16::from_be_bytes(*chunk),
    ))
}

#[cfg(test)]
mod tests {
    use drover_core::ids::WorkflowId;

    use super::*;

    #[test]
    fn keys_sort_as_events_do_and_survive_the_round_trip() {
        let id = |text: &str| StreamId::Workflow(WorkflowId::new(text).unwrap());
        let ordered = [
            key(&StreamId::Audit, 1, 0),
            key(&StreamId::Catalog, 300, 0),
            key(&id("a"), 1, 0),
            key(&id("a"), 1, 1),
            key(&id("a"), 2, 0),
            key(&id("a"), 256, 0),
            key(&id("a-b"), 1, 0),
            key(&id("ab"), 1, 0),
        ];
        assert!(ordered.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(parse(&ordered[5]), Some((id("a"), 256, 0)));
        assert_eq!(parse(b"\0mark"), None);
        assert!(
            ordered[2].starts_with(&prefix(&id("a"))) && !ordered[6].starts_with(&prefix(&id("a")))
        );
    }

    #[test]
    fn any_key_is_read_as_what_was_written_or_not_at_all() {
        bolero::check!()
            .with_type::<(bool, Vec<u8>, u64, u16)>()
            .with_iterations(3000)
            .with_max_len(64)
            .for_each(|(framed, name, first, chunk)| {
                let mut bytes = name.clone();
                if *framed {
                    bytes.push(0);
                    bytes.extend_from_slice(&first.to_be_bytes());
                    bytes.extend_from_slice(&chunk.to_be_bytes());
                }
                if let Some((stream, first, chunk)) = parse(&bytes) {
                    assert_eq!(key(&stream, first, chunk), bytes);
                }
            });
    }
}
