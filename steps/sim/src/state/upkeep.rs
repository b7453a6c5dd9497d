//! What keeps the cluster's objects as they should be, besides the operators.

use std::sync::Arc;

use serde_json::Value;

use crate::objects::Key;

/// Objects as they should be.
pub(crate) type Manifests = Vec<(Key, Value)>;

/// Objects as those who apply them have them. They never change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upkeep {
    /// The cluster's custom resources as they stand in Git, by the object by which Flux applies them.
    pub(crate) git: Arc<Vec<(Key, Manifests)>>,
    /// How often the stores had changed when nothing was left to do: nobody looks again before the next change.
    pub(crate) at_rest: Option<(u64, u64)>,
    /// The Charts that app-operator makes in the cluster.
    pub(crate) charts: Arc<Manifests>,
}
