//! Outputs that are too large for an event. They lie in files named by their digest; the event holds the reference.

use serde::{Deserialize, Serialize};

use crate::ids::Digest;

/// The largest object, in bytes.
pub const OBJECT_BYTES_MAX: u64 = 64 << 20;

/// The first version of the worker protocol that carries objects.
pub const OBJECT_PROTOCOL: u32 = 2;

/// Names one JSON text that lies beside the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// SHA-256 of the text.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}
