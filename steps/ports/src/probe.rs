//! Looks at a workload cluster from the outside, the way its customer does.

use serde::{Deserialize, Serialize};

use crate::{
    Call, PortError, Reply, Via,
    ports::{Line, mismatch},
};

/// A look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum ProbeCall {
    /// `GET /readyz` of the Kubernetes API, and a read that needs etcd.
    Api {
        /// Through which door.
        via: Via,
    },
    /// The certificate chain's root that the API serves.
    ServedCa {
        /// Through which door.
        via: Via,
    },
}

impl ProbeCall {
    /// As permissions name it.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Api { .. } => "probe:Api",
            Self::ServedCa { .. } => "probe:ServedCa",
        }
    }
}

/// The answer to a [`ProbeCall`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ProbeReply {
    /// To `Api`.
    Api(ProbeResult),
    /// To `ServedCa`.
    ServedCa {
        /// SHA-256 of the root certificate's DER, hex.
        fingerprint: String,
    },
}

/// What a look at the API found. A failed request is a finding, not an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// True when the request succeeded.
    pub ok: bool,
    /// One short line.
    pub detail: String,
}

/// The port.
#[derive(Clone)]
pub struct Probe {
    line: Line,
    cluster: String,
}

impl Probe {
    pub(crate) fn new(line: Line, cluster: &str) -> Self {
        Self {
            line,
            cluster: cluster.to_owned(),
        }
    }

    async fn call(&self, call: ProbeCall) -> Result<ProbeReply, PortError> {
        let action = call.action();
        match self
            .line
            .read(Call::Probe {
                cluster: self.cluster.clone(),
                call,
            })
            .await?
        {
            Reply::Probe(reply) => Ok(reply),
            _ => Err(mismatch(action)),
        }
    }

    /// `GET /readyz` of the Kubernetes API, and a read that needs etcd.
    ///
    /// # Errors
    /// Only when the look itself could not be taken.
    pub async fn api(&self, via: Via) -> Result<ProbeResult, PortError> {
        match self.call(ProbeCall::Api { via }).await? {
            ProbeReply::Api(result) => Ok(result),
            ProbeReply::ServedCa { .. } => Err(mismatch("probe:Api")),
        }
    }

    /// SHA-256 of the root certificate that the API serves, hex.
    ///
    /// # Errors
    /// `Unreachable` when the API does not answer.
    pub async fn served_ca(&self, via: Via) -> Result<String, PortError> {
        match self.call(ProbeCall::ServedCa { via }).await? {
            ProbeReply::ServedCa { fingerprint } => Ok(fingerprint),
            ProbeReply::Api(_) => Err(mismatch("probe:ServedCa")),
        }
    }
}
