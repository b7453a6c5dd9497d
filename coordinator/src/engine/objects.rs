//! Large outputs that steps read: fetched from disk beside the engine, which goes on meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drover_core::{ids::WorkflowId, object::ObjectRef, workflow::Input};
use serde_json::Value;
use tokio::task::JoinSet;

use super::{Engine, Slot};
use crate::objects::Objects;

/// An object, and what reading it came to.
pub(super) type Read = (ObjectRef, Result<Arc<Value>, String>);

/// Objects that are being read, and for whom.
#[derive(Default)]
pub(super) struct Readings {
    tasks: JoinSet<Read>,
    waiting: BTreeMap<ObjectRef, BTreeSet<WorkflowId>>,
}

impl Readings {
    /// A workflow waits for an object; the first one begins to read it.
    pub(super) fn want(&mut self, object: ObjectRef, id: &WorkflowId, objects: &Arc<Objects>) {
        let waiting = self.waiting.entry(object).or_default();
        waiting.insert(id.clone());
        if waiting.len() > 1 {
            return;
        }
        let objects = Arc::clone(objects);
        self.tasks.spawn_blocking(move || {
            let value = objects
                .read(&object)
                .map_err(|refusal| refusal.message)
                .and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
            (object, value.map(Arc::new))
        });
    }

    /// The next object that has been read; never while nothing is. Cancel-safe: a join set.
    pub(super) async fn next(&mut self) -> Read {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(read)) => return read,
                // A reader that panicked is said by the panic; its steps wait until the next start.
                Some(Err(_)) => {}
                None => return std::future::pending().await,
            }
        }
    }
}

impl Engine {
    /// Hands an object to the workflows that wait for it.
    pub(super) fn object_read(&mut self, (object, value): Read) {
        for id in self.readings.waiting.remove(&object).unwrap_or_default() {
            match &value {
                Ok(value) => {
                    if let Some(Slot::Open(workflow)) = self.workflows.get_mut(&id) {
                        workflow.put_at_hand(object, Arc::clone(value));
                        self.react(&id, Input::Tick);
                    }
                }
                Err(message) => {
                    tracing::error!(workflow = %id, "a step's output cannot be read: {message}");
                    let message = message.clone();
                    self.react(&id, Input::ObjectUnreadable { object, message });
                }
            }
        }
    }
}
