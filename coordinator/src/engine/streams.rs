//! Events on their way to the store: one record a stream and commit.

use std::collections::{BTreeMap, HashMap};

use drover_core::{
    stream::{Head, Record, Recorded, StreamId},
    time::Timestamp,
    workflow::event::Event,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::store::Batch;

#[derive(Default)]
struct Pending {
    count: u32,
    lines: Vec<u8>,
}

/// The heads of all streams and what is to follow them.
#[derive(Default)]
pub(super) struct Streams {
    heads: HashMap<StreamId, Head>,
    pending: BTreeMap<StreamId, Pending>,
    removed: Vec<StreamId>,
}

impl Streams {
    /// A stream that is there.
    pub(super) fn found(&mut self, stream: StreamId, head: Head) {
        self.heads.insert(stream, head);
    }

    /// The durable head of a stream.
    pub(super) fn head(&self, stream: &StreamId) -> Head {
        self.heads.get(stream).copied().unwrap_or(Head::EMPTY)
    }

    /// All durable heads.
    pub(super) fn heads(&self) -> BTreeMap<StreamId, Head> {
        self.heads
            .iter()
            .map(|(stream, head)| (stream.clone(), *head))
            .collect()
    }

    /// Seq of the next event of a stream, those on their way counted.
    pub(super) fn next_seq(&self, stream: &StreamId) -> u64 {
        self.head(stream).seq
            + 1
            + self
                .pending
                .get(stream)
                .map_or(0, |pending| u64::from(pending.count))
    }

    /// Events of a workflow.
    pub(super) fn push_events(&mut self, stream: &StreamId, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let pending = self.pending_of(stream);
        for event in events {
            event.write_line(&mut pending.lines);
            pending.count += 1;
        }
    }

    /// One event of another stream.
    pub(super) fn push<B: Serialize + DeserializeOwned>(
        &mut self,
        stream: &StreamId,
        event: &Recorded<B>,
    ) {
        let pending = self.pending_of(stream);
        event.write_line(&mut pending.lines);
        pending.count += 1;
    }

    /// A stream is taken away; nothing is on its way to it.
    pub(super) fn remove(&mut self, stream: StreamId) {
        self.removed.push(stream);
    }

    fn pending_of(&mut self, stream: &StreamId) -> &mut Pending {
        if !self.pending.contains_key(stream) {
            self.pending.insert(stream.clone(), Pending::default());
        }
        self.pending
            .get_mut(stream)
            .expect("it was inserted just now")
    }

    /// True when nothing is on its way.
    pub(super) fn is_clean(&self) -> bool {
        self.pending.is_empty() && self.removed.is_empty()
    }

    /// Everything on its way, as one batch.
    pub(super) fn take(&mut self, mark: Timestamp) -> Batch {
        let records = std::mem::take(&mut self.pending)
            .into_iter()
            .map(|(stream, pending)| {
                let record = Record::chain(&self.head(&stream), pending.count, pending.lines);
                (stream, record)
            })
            .collect();
        Batch {
            records,
            removed: std::mem::take(&mut self.removed),
            mark: Some(mark),
            clear_restore: false,
        }
    }

    /// The batch is durable.
    pub(super) fn committed(&mut self, batch: &Batch) {
        for (stream, record) in &batch.records {
            self.heads.insert(stream.clone(), record.head());
        }
        for stream in &batch.removed {
            self.heads.remove(stream);
        }
    }
}
