//! Holds a history against an earlier copy of it: it begins with what the copy holds, or forks where a restore says so.
//!
//! A chain proves that nothing inside it was changed, not that it was not cut off or written anew as a whole. A copy that
//! somebody kept elsewhere does: whatever it holds must be how the streams begin now. The one exception is a restore
//! from an older backup. Then the audit stream forks with `Restored`, which names the head that it forks from, and so
//! does every workflow that was open; the catalog and the pools may fork with them, and nothing else may.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    audit::AuditEvent,
    ids::Digest,
    stream::{Head, Record, Recorded, StreamId},
};

/// The records of a copy, by where they end.
#[derive(Debug, Default)]
pub struct Known {
    streams: BTreeMap<StreamId, BTreeMap<u64, Digest>>,
}

impl Known {
    /// Takes the next record of a stream of the copy.
    pub fn take(&mut self, stream: &StreamId, record: &Record) {
        let head = record.head();
        self.streams
            .entry(stream.clone())
            .or_default()
            .insert(head.seq, head.hash);
    }

    fn head(&self, stream: &StreamId) -> Head {
        let last = self
            .streams
            .get(stream)
            .and_then(|ends| ends.last_key_value());
        last.map_or(Head::EMPTY, |(seq, hash)| Head {
            seq: *seq,
            hash: *hash,
        })
    }
}

/// How a stream departs from its copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fork {
    /// With a `Restored` that names the head before it.
    Declared,
    /// Without one.
    Silent,
}

#[derive(Clone, Copy, Debug)]
struct Common {
    head: Head,
    fork: Option<Fork>,
}

/// A fork, or an end, that nothing explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Which stream.
    pub stream: StreamId,
    /// The first event that is not as in the copy.
    pub seq: u64,
    /// One sentence.
    pub message: String,
}

/// The comparison, while the records of the history pass.
#[derive(Debug)]
pub struct Against {
    known: Known,
    common: BTreeMap<StreamId, Common>,
    /// Last hashes of retired workflows.
    retired: BTreeMap<StreamId, Digest>,
    /// The audit stream tells of a restore where it leaves the copy.
    restored: bool,
}

/// What a fork begins with.
#[derive(Deserialize)]
#[serde(tag = "type", content = "data")]
enum Begin {
    Restored {
        head: Digest,
    },
    #[serde(other)]
    Other,
}

impl Against {
    /// Compares with this copy.
    #[must_use]
    pub fn new(known: Known) -> Self {
        Self {
            known,
            common: BTreeMap::new(),
            retired: BTreeMap::new(),
            restored: false,
        }
    }

    /// Takes the next record of a stream of the history.
    pub fn take(&mut self, stream: &StreamId, record: &Record) {
        if *stream == StreamId::Audit {
            for line in record.lines() {
                if let Ok(Recorded {
                    body: AuditEvent::Retired(tombstone),
                    ..
                }) = Recorded::<AuditEvent>::read_line(line)
                {
                    let id = StreamId::Workflow(tombstone.workflow);
                    self.retired.insert(id, tombstone.last);
                }
            }
        }
        let known = self.known.head(stream);
        let common = self.common.entry(stream.clone()).or_insert(Common {
            head: Head::EMPTY,
            fork: None,
        });
        if common.fork.is_some() {
            return;
        }
        let declared = record.lines().next().is_some_and(|line| {
            matches!(
                serde_json::from_slice(line),
                Ok(Begin::Restored { head }) if head == common.head.hash
            )
        });
        self.restored |= declared && *stream == StreamId::Audit;
        if common.head == known {
            // It has left the copy behind.
            return;
        }
        let head = record.head();
        let ends = self.known.streams.get(stream);
        if ends.and_then(|ends| ends.get(&head.seq)) == Some(&head.hash) {
            common.head = head;
            return;
        }
        common.fork = Some(if declared {
            Fork::Declared
        } else {
            Fork::Silent
        });
    }

    /// What nothing explains.
    #[must_use]
    pub fn departures(self) -> Vec<Departure> {
        let restored = self.restored;
        let mut departures = Vec::new();
        for stream in self.known.streams.keys() {
            let known = self.known.head(stream);
            let common = self.common.get(stream);
            let reached = common.map_or(Head::EMPTY, |common| common.head);
            let excused = match (stream, common.and_then(|common| common.fork)) {
                (_, Some(Fork::Declared)) => true,
                (StreamId::Audit, _) => false,
                // After a restore whatever came later in the lost future is gone.
                (StreamId::Catalog | StreamId::Pools, _) => restored,
                (StreamId::Workflow(_), Some(Fork::Silent)) => false,
                (StreamId::Workflow(_), None) => {
                    let whole = self.retired.get(stream) == Some(&known.hash);
                    whole || (restored && reached == Head::EMPTY)
                }
            };
            if reached == known || excused {
                continue;
            }
            let message = match common.and_then(|common| common.fork) {
                Some(_) => {
                    "it is another one than in the copy from here on, and no restore says so"
                }
                None => "the copy goes on from here, and the stream does not",
            };
            departures.push(Departure {
                stream: stream.clone(),
                seq: reached.seq + 1,
                message: message.to_owned(),
            });
        }
        departures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::WorkflowId;

    type History = Vec<(StreamId, Record)>;

    fn workflow() -> StreamId {
        StreamId::Workflow(WorkflowId::new("m1").unwrap())
    }

    fn grow(history: &mut History, stream: &StreamId, line: &str) {
        let last = history.iter().rfind(|(name, _)| name == stream);
        let head = last.map_or(Head::EMPTY, |(_, record)| record.head());
        let record = Record::chain(&head, 1, format!("{line}\n").into_bytes());
        history.push((stream.clone(), record));
    }

    fn restored(history: &History, stream: &StreamId) -> String {
        let last = history.iter().rfind(|(name, _)| name == stream).unwrap();
        let head = last.1.head().hash;
        format!(
            r#"{{"seq":9,"at":"2026-01-01T00:00:00Z","type":"Restored","data":{{"epoch":9,"backup_epoch":1,"head":"{head}"}}}}"#
        )
    }

    fn departures(known: &History, now: &History) -> Vec<String> {
        let mut copy = Known::default();
        for (stream, record) in known {
            copy.take(stream, record);
        }
        let mut against = Against::new(copy);
        for (stream, record) in now {
            against.take(stream, record);
        }
        let departures = against.departures().into_iter();
        departures
            .map(|departure| format!("{} {}", departure.stream, departure.seq))
            .collect()
    }

    /// A history, and the one that a restore of its beginning leads to.
    fn forked() -> (History, History) {
        let mut known = History::new();
        for stream in [StreamId::Audit, StreamId::Pools, workflow()] {
            grow(&mut known, &stream, "{}");
        }
        let mut fork = known.clone();
        for stream in [StreamId::Audit, StreamId::Pools, workflow()] {
            grow(&mut known, &stream, r#"{"lost":true}"#);
            let line = match stream {
                StreamId::Pools => "{}".to_owned(),
                StreamId::Audit | StreamId::Catalog | StreamId::Workflow(_) => {
                    restored(&fork, &stream)
                }
            };
            grow(&mut fork, &stream, &line);
        }
        (known, fork)
    }

    #[test]
    fn what_goes_on_is_sound_and_what_was_cut_off_is_not() {
        let (known, _) = forked();
        let mut longer = known.clone();
        grow(&mut longer, &workflow(), "{}");
        assert_eq!(departures(&known, &longer), [""; 0]);
        assert_eq!(departures(&longer, &known), ["workflow/m1 3"]);
        let without: History = known
            .iter()
            .filter(|(name, _)| *name != workflow())
            .cloned()
            .collect();
        assert_eq!(departures(&known, &without), ["workflow/m1 1"]);
    }

    #[test]
    fn a_restore_is_the_only_fork() {
        let (known, fork) = forked();
        assert_eq!(departures(&known, &fork), [""; 0]);
        // The same without the audit entry, and without the workflow's own.
        for (undeclared, expected) in [
            (StreamId::Audit, vec!["audit 2", "pools 2"]),
            (workflow(), vec!["workflow/m1 2"]),
        ] {
            let mut silent: History = fork[..3].to_vec();
            for (stream, record) in &fork[3..] {
                let line = String::from_utf8(record.lines.to_vec()).unwrap();
                let line = if *stream == undeclared {
                    "{}"
                } else {
                    line.trim_end()
                };
                grow(&mut silent, stream, line);
            }
            assert_eq!(departures(&known, &silent), expected);
        }
        // A restore that forks from another head than it says.
        let mut elsewhere: History = fork[..3].to_vec();
        grow(
            &mut elsewhere,
            &StreamId::Audit,
            &restored(&fork, &workflow()),
        );
        assert_eq!(departures(&known, &elsewhere)[0], "audit 2");
    }
}
