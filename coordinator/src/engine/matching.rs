//! Steps that wait for a worker, in the order in which they began to wait.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
};

use drover_core::{
    ids::{InstallationName, KindRef, WorkflowId},
    lease::LeaseKey,
};

/// Steps that the same workers can take.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueueKey {
    /// Inside a critical span: a draining worker will do. First in line.
    pub(super) not_critical: bool,
    /// Offers come with a large output: a build that can fetch it.
    pub(super) with_object: bool,
    /// Where.
    pub(super) installation: InstallationName,
    /// What the worker must serve. Class and reach follow from it.
    pub(super) kind: KindRef,
}

/// What workers must have for a queue.
#[derive(Clone, Debug)]
pub(super) struct QueueNeed {
    /// Credit class.
    pub(super) class: Arc<str>,
    /// Places.
    pub(super) reach: Arc<[String]>,
}

/// The queues.
#[derive(Default)]
pub(super) struct Queues {
    queues: BTreeMap<QueueKey, (QueueNeed, VecDeque<LeaseKey>)>,
    queued: HashSet<LeaseKey>,
    /// Something has changed since nobody could take anything.
    dirty: bool,
}

impl Queues {
    /// A step waits. One that waits already keeps its place.
    pub(super) fn push(&mut self, key: QueueKey, need: impl FnOnce() -> QueueNeed, step: LeaseKey) {
        if self.queued.insert(step.clone()) {
            self.queues
                .entry(key)
                .or_insert_with(|| (need(), VecDeque::new()))
                .1
                .push_back(step);
            self.dirty = true;
        }
    }

    /// Nothing of this workflow waits any more; what still does is pushed again.
    pub(super) fn forget(&mut self, workflow: &WorkflowId) {
        self.queued.retain(|(id, _)| id != workflow);
        for (_, queue) in self.queues.values_mut() {
            queue.retain(|(id, _)| id != workflow);
        }
        self.queues.retain(|_, (_, queue)| !queue.is_empty());
    }

    /// A worker came, or a credit became free.
    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    /// The queues to look at, when there is any reason to look.
    pub(super) fn take_keys(&mut self) -> Vec<(QueueKey, QueueNeed)> {
        if !std::mem::take(&mut self.dirty) {
            return Vec::new();
        }
        self.queues
            .iter()
            .map(|(key, (need, _))| (key.clone(), need.clone()))
            .collect()
    }

    /// The first step of a queue. It must be offered, or it no longer waits.
    pub(super) fn pop(&mut self, key: &QueueKey) -> Option<LeaseKey> {
        let (_, queue) = self.queues.get_mut(key)?;
        let step = queue.pop_front()?;
        self.queued.remove(&step);
        if queue.is_empty() {
            self.queues.remove(key);
        }
        Some(step)
    }
}
