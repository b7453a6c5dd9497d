//! What people did: the events of the audit stream, which is never deleted.

use serde::{Deserialize, Serialize};

use crate::ids::Digest;

/// One entry of the audit stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum AuditEvent {
    /// Somebody changed something.
    Acted {
        /// `workflow.cancel`, `definition.register`, `brake.on`, …
        act: String,
        /// What it was done to.
        target: String,
        /// Why, in the actor's words.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// What it came to.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
    },
    /// The store was filled from a backup. The only fork that verification accepts.
    Restored {
        /// The new epoch.
        epoch: u64,
        /// The audit stream's head in the backup.
        head: Digest,
        /// The coordinator's epoch when the backup was made.
        backup_epoch: u64,
    },
}
