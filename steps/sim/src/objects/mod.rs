//! Objects of a Kubernetes API: names, versions of resources, finalizers and deletion, owner references, labels.
//!
//! A store knows nothing of what its objects mean; the rules do.

mod key;
mod merge;
mod secret;
mod store;

pub(crate) use key::Key;
pub(crate) use merge::{deep_merge, merge_patch, tidy};
pub(crate) use secret::SecretData;
pub(crate) use store::{Object, Store, StoreError};
