//! The installation's own store (a bucket or a volume) for what must be kept and must not leave: snapshots, copies of
//! custom resources and secrets.

use serde::{Deserialize, Serialize};

use drover_step_api::Permit;

use crate::{
    Call, PortError, Reply, SecretBytes,
    ports::{Line, mismatch},
};

/// A request to the region store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum StoreCall {
    /// SHA-256 of an object, hex.
    Head {
        /// Path-like.
        key: String,
    },
    /// An object's bytes.
    Get {
        /// Path-like.
        key: String,
    },
    /// Writes an object, replacing an older one.
    Put {
        /// Path-like.
        key: String,
        /// What to keep.
        data: SecretBytes,
    },
}

impl StoreCall {
    /// As permissions name it.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Head { .. } => "region-store:Head",
            Self::Get { .. } => "region-store:Get",
            Self::Put { .. } => "region-store:Put",
        }
    }

    /// True when it changes something.
    pub fn mutates(&self) -> bool {
        matches!(self, Self::Put { .. })
    }
}

/// The answer to a [`StoreCall`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum StoreReply {
    /// To `Head` and `Put`.
    Digest {
        /// SHA-256 of the object, hex.
        sha256: String,
    },
    /// To `Get`.
    Data {
        /// The object.
        data: SecretBytes,
    },
}

/// The port.
#[derive(Clone)]
pub struct RegionStore {
    line: Line,
}

impl RegionStore {
    pub(crate) fn new(line: Line) -> Self {
        Self { line }
    }

    /// SHA-256 of an object, hex.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn head(&self, key: &str) -> Result<String, PortError> {
        let call = StoreCall::Head {
            key: key.to_owned(),
        };
        match self.line.read(Call::RegionStore { call }).await? {
            Reply::RegionStore(StoreReply::Digest { sha256 }) => Ok(sha256),
            _ => Err(mismatch("region-store:Head")),
        }
    }

    /// An object's bytes.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn get(&self, key: &str) -> Result<SecretBytes, PortError> {
        let call = StoreCall::Get {
            key: key.to_owned(),
        };
        match self.line.read(Call::RegionStore { call }).await? {
            Reply::RegionStore(StoreReply::Data { data }) => Ok(data),
            _ => Err(mismatch("region-store:Get")),
        }
    }

    /// Writes an object, replacing an older one; answers its SHA-256, hex.
    ///
    /// # Errors
    /// `Denied`, `Unavailable`.
    pub async fn put(
        &self,
        permit: Permit,
        key: &str,
        data: SecretBytes,
    ) -> Result<String, PortError> {
        let call = StoreCall::Put {
            key: key.to_owned(),
            data,
        };
        match self.line.write(permit, Call::RegionStore { call }).await? {
            Reply::RegionStore(StoreReply::Digest { sha256 }) => Ok(sha256),
            _ => Err(mismatch("region-store:Put")),
        }
    }
}
