//! Large outputs in a continuous backup: every object that a copied event names lies in the folder's `objects/` before that
//! event counts, and goes once no copied stream names it any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use drover_core::{
    backup::continuous::Entry, ids::Digest, object::ObjectRef, stream::StreamId, workflow::named_by,
};

use crate::{objects::Objects, refusal::Refusal};

/// The objects of a folder.
pub(super) struct CopiedObjects {
    from: Arc<Objects>,
    to: Objects,
    named: BTreeMap<StreamId, BTreeSet<Digest>>,
    /// Named by events that count with the next commit.
    wanted: BTreeSet<ObjectRef>,
    /// A stream went that named some.
    released: bool,
}

impl CopiedObjects {
    /// Those of a backup's folder, copied from the data folder's.
    pub(super) fn below(folder: &Path, from: &Arc<Objects>) -> Self {
        Self {
            from: Arc::clone(from),
            to: Objects::below(folder, Arc::new(|| None), 0),
            named: BTreeMap::new(),
            wanted: BTreeSet::new(),
            released: false,
        }
    }

    /// Notes what an entry names.
    pub(super) fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::Record(stream, record) => {
                let objects = named_by(record);
                if !objects.is_empty() {
                    let named = self.named.entry(stream.clone()).or_default();
                    named.extend(objects.iter().map(|object| object.digest));
                    self.wanted.extend(objects);
                }
            }
            Entry::Retired(stream) => self.released |= self.named.remove(stream).is_some(),
        }
    }

    /// Copies what is named and not there yet; call it before the commit. What the data folder has lost itself is no
    /// failure of the backup.
    pub(super) fn copy(&mut self) -> Result<(), Refusal> {
        while let Some(object) = self.wanted.first().copied() {
            if self.to.stored(&object) != object.size {
                match self.from.read(&object) {
                    Ok(text) => self.to.put(&text)?,
                    Err(refusal) => tracing::error!("a backup lacks an object: {refusal}"),
                }
            }
            self.wanted.remove(&object);
        }
        Ok(())
    }

    /// Removes what nothing names any more; call it after the commit.
    pub(super) fn clean_up(&mut self) {
        if std::mem::take(&mut self.released) {
            self.to
                .keep_only(&self.named.values().flatten().copied().collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use drover_core::{
        ids::{Fence, WorkflowId},
        stream::{Head, Record},
        time::Timestamp,
        workflow::event::{Body, Event},
    };
    use serde_json::Value;

    use super::*;

    fn stream(id: &str) -> StreamId {
        StreamId::Workflow(WorkflowId::new(id).unwrap())
    }

    /// What a workflow's stream holds once a step has ended with a large output.
    fn naming(id: &str, text: &[u8]) -> Entry {
        let event = Event {
            seq: 1,
            at: Timestamp(0),
            step: None,
            attempt: Some(1),
            actor: None,
            body: Body::AttemptSucceeded {
                fence: Fence {
                    epoch: 1,
                    counter: 1,
                },
                output: Arc::new(Value::Null),
                object: Some(ObjectRef {
                    digest: Digest::of(text),
                    size: text.len() as u64,
                }),
                observed: false,
            },
        };
        let mut lines = Vec::new();
        event.write_line(&mut lines);
        Entry::Record(stream(id), Record::chain(&Head::EMPTY, 1, lines))
    }

    #[test]
    fn what_copied_events_name_is_there_and_goes_with_the_last_of_them() {
        let (data, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let from = Arc::new(Objects::below(data.path(), Arc::new(|| None), 0));
        let (shared, own) = (b"[\"of both\"]".as_slice(), b"[\"of one\"]".as_slice());
        for text in [shared, own, b"[\"that nobody names\"]"] {
            from.put(text).unwrap();
        }
        let mut objects = CopiedObjects::below(backup.path(), &from);
        for (id, text) in [("m1", shared), ("m1", own), ("m2", shared)] {
            objects.take(&naming(id, text));
        }
        objects.take(&naming("m2", b"[\"lost by the data folder\"]"));
        objects.copy().unwrap();
        let held = |objects: &CopiedObjects| -> BTreeSet<Digest> {
            let all = objects.to.all().unwrap();
            all.into_iter().map(|object| object.digest).collect()
        };
        let both = BTreeSet::from([Digest::of(shared), Digest::of(own)]);
        assert_eq!(held(&objects), both);
        objects.take(&Entry::Retired(stream("m1")));
        assert_eq!(held(&objects), both, "until that is committed");
        objects.clean_up();
        assert_eq!(held(&objects), BTreeSet::from([Digest::of(shared)]));
        assert_eq!(
            fs::read_dir(data.path().join("objects")).unwrap().count(),
            3
        );
    }
}
