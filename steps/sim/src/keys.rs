//! Key material of the simulated clusters. Made at run time, once, and part of the genesis: a replay has the same keys.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use drover_model::{pki, sha256_hex};
use drover_ports::SecretBytes;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::WorldError;

/// The keys of one cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterKeys {
    /// Certificate of the cluster CA, PEM.
    pub ca_certificate: String,
    /// Its key, PEM.
    pub ca_key: SecretBytes,
    /// The key that signs service-account tokens, PEM.
    pub sa_key: SecretBytes,
    /// Its public half, PEM.
    pub sa_public: String,
    /// The legacy key, PEM.
    pub sa_old_key: SecretBytes,
    /// The configuration of encryption at rest, YAML.
    pub encryption: SecretBytes,
}

impl ClusterKeys {
    /// Makes a new set.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn generate(common_name: &str) -> Result<Self, WorldError> {
        let failed = |error: rcgen::Error| WorldError::Keys(error.to_string());
        let ca_key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        let certificate = params.self_signed(&ca_key).map_err(failed)?;
        let sa_key = KeyPair::generate().map_err(failed)?;
        let sa_old_key = KeyPair::generate().map_err(failed)?;
        // Any 32 random bytes do for secretbox; the digest of a fresh key is random.
        let secretbox = KeyPair::generate().map_err(failed)?;
        let secretbox = STANDARD.encode(Sha256::digest(secretbox.serialized_der()));
        let private = |key: &KeyPair| SecretBytes::new(key.serialize_pem().into_bytes());
        Ok(Self {
            ca_certificate: certificate.pem(),
            ca_key: private(&ca_key),
            sa_public: sa_key.public_key_pem(),
            sa_key: private(&sa_key),
            sa_old_key: private(&sa_old_key),
            encryption: SecretBytes::new(encryption_config(&secretbox).into_bytes()),
        })
    }

    /// What the keys are recognised by.
    pub(crate) fn identities(&self) -> Identities {
        Identities {
            ca: ca_identity(self.ca_certificate.as_bytes()),
            sa: key_identity(self.sa_key.expose()),
            sa_old: key_identity(self.sa_old_key.expose()),
            encryption: sha256_hex(self.encryption.expose()),
        }
    }
}

fn encryption_config(secret: &str) -> String {
    format!(
        "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n- resources: [secrets]\n  providers:\n  - secretbox:\n      keys:\n      - {{name: key1, secret: {secret}}}\n  - identity: {{}}\n"
    )
}

/// SHA-256 of a CA certificate; of the text, when it is none.
pub(crate) fn ca_identity(pem: &[u8]) -> String {
    std::str::from_utf8(pem)
        .ok()
        .and_then(|pem| pki::Certificate::from_pem(pem).ok())
        .map_or_else(|| sha256_hex(pem), |certificate| certificate.fingerprint)
}

/// SHA-256 of the public half of a private key; of the text, when it is none.
pub(crate) fn key_identity(pem: &[u8]) -> String {
    pki::public_key_of_private(pem)
        .map_or_else(|_| sha256_hex(pem), |key| pki::key_fingerprint(&key))
}

/// What keys are recognised by: fingerprints of their public halves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identities {
    pub(crate) ca: String,
    pub(crate) sa: String,
    pub(crate) sa_old: String,
    pub(crate) encryption: String,
}

/// Ready-made keys, so that tests that build thousands of worlds make them once.
#[derive(Clone, Debug)]
pub struct KeyRing {
    keys: Vec<Arc<ClusterKeys>>,
    pub(crate) spare: Arc<ClusterKeys>,
}

impl KeyRing {
    /// Makes `size` sets (at least one); more clusters than that share them.
    ///
    /// # Errors
    /// As [`ClusterKeys::generate`].
    pub fn generate(size: usize) -> Result<Self, WorldError> {
        let keys = (0..size.max(1))
            .map(|n| ClusterKeys::generate(&format!("simulated cluster CA {n}")).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            keys,
            spare: Arc::new(ClusterKeys::generate("invented by a controller")?),
        })
    }

    pub(crate) fn get(&self, nth: usize) -> Arc<ClusterKeys> {
        Arc::clone(&self.keys[nth % self.keys.len()])
    }
}
