//! Where the cluster CA's private key comes from: Vault in production. The key never leaves the installation.

use serde::{Deserialize, Serialize};

use crate::{
    Call, PortError, Reply, SecretBytes,
    ports::{Line, mismatch},
};

/// A request to the CA's source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum CaCall {
    /// Certificate and private key of the cluster CA.
    Fetch,
    /// Whether the key could be fetched, without fetching it.
    Check,
}

impl CaCall {
    /// As permissions name it.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Fetch => "ca:Fetch",
            Self::Check => "ca:Check",
        }
    }
}

/// The answer to a [`CaCall`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum CaReply {
    /// To `Fetch`.
    Bundle(CaBundle),
    /// To `Check`.
    Available {
        /// PEM of the certificate whose key is there.
        certificate_pem: String,
    },
}

/// A CA: certificate and key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaBundle {
    /// One PEM block.
    pub certificate_pem: String,
    /// One PEM block, PKCS#1 or PKCS#8.
    pub private_key_pem: SecretBytes,
}

/// The port.
#[derive(Clone)]
pub struct CaSource {
    line: Line,
    cluster: String,
}

impl CaSource {
    pub(crate) fn new(line: Line, cluster: &str) -> Self {
        Self {
            line,
            cluster: cluster.to_owned(),
        }
    }

    async fn call(&self, call: CaCall) -> Result<CaReply, PortError> {
        let action = call.action();
        match self
            .line
            .read(Call::Ca {
                cluster: self.cluster.clone(),
                call,
            })
            .await?
        {
            Reply::Ca(reply) => Ok(reply),
            _ => Err(mismatch(action)),
        }
    }

    /// Certificate and private key of the cluster CA.
    ///
    /// # Errors
    /// `NotFound` when the source has no such CA; `Denied`; `Unavailable` when it is sealed.
    pub async fn fetch(&self) -> Result<CaBundle, PortError> {
        match self.call(CaCall::Fetch).await? {
            CaReply::Bundle(bundle) => Ok(bundle),
            CaReply::Available { .. } => Err(mismatch("ca:Fetch")),
        }
    }

    /// The certificate whose key could be fetched.
    ///
    /// # Errors
    /// As [`CaSource::fetch`].
    pub async fn check(&self) -> Result<String, PortError> {
        match self.call(CaCall::Check).await? {
            CaReply::Available { certificate_pem } => Ok(certificate_pem),
            CaReply::Bundle(_) => Err(mismatch("ca:Check")),
        }
    }
}
