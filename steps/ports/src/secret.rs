//! Key material, and references to it.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Key material in memory that is zeroized when dropped. `Debug` never shows it. It serializes (as base64) because the
/// simulated world sits behind a wire; outputs, checkpoints and progress are plain JSON values that it never enters.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes ownership of the bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for the one call that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} secret bytes>", self.0.len())
    }
}

impl Serialize for SecretBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = STANDARD.encode(&self.0);
        let result = serializer.serialize_str(&text);
        text.zeroize();
        result
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(&text).map_err(D::Error::custom);
        text.zeroize();
        bytes.map(Self)
    }
}

/// Where a secret is, and how to recognise it: what steps pass to each other instead of the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// The installation that the secret never leaves.
    pub installation: String,
    /// "vintage-mc", "capi-mc", "workload" or "region-store".
    pub place: String,
    /// Kubernetes namespace; empty in the region store.
    pub namespace: String,
    /// Object name, or key in the region store.
    pub name: String,
    /// Key within the object; empty in the region store.
    pub key: String,
    /// SHA-256 of the public part (of a certificate or public key) or of the ciphertext, hex; never of a key.
    pub fingerprint: String,
}
