//! Objects of a Kubernetes API: names, versions of resources, finalizers and deletion, owner references, labels.
//!
//! A store knows nothing of what its objects mean; the rules do.

mod key;
mod merge;
mod store;

pub(crate) use key::Key;
pub(crate) use merge::{deep_merge, merge_patch};
pub(crate) use store::{Object, SecretData, Store, StoreError};
