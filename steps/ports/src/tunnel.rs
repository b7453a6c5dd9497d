//! What adapters need of each other, so that none depends on another: whoever puts them together hands one to the other.

use std::net::IpAddr;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{PortError, SecretBytes};

/// A byte stream to a port of a control-plane host.
pub trait TunnelStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> TunnelStream for S {}

/// A control-plane host of a workload cluster, and the pod through which its own ports are reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// Name of its Node.
    pub node: String,
    /// Namespace of a running pod in the host's network.
    pub namespace: String,
    /// Name of that pod.
    pub pod: String,
}

/// Who we are to etcd, and whom we believe. PEM.
#[derive(Clone, Debug)]
pub struct EtcdIdentity {
    /// The cluster CA, which signs peers, servers and clients alike.
    pub ca_pem: String,
    /// Client certificate.
    pub certificate_pem: String,
    /// Its key.
    pub private_key_pem: SecretBytes,
}

/// The way to ports that no network path leads to: etcd's load balancer is internal to the customer's VPC, but the
/// Kubernetes API forwards ports of pods, and a pod in the host's network has the host's ports.
#[async_trait]
pub trait Tunnel: Send + Sync {
    /// Control-plane hosts that can be reached, ordered by node, one pod each.
    ///
    /// # Errors
    /// As a list of pods by the old name.
    async fn hosts(&self, cluster: &str) -> Result<Vec<Host>, PortError>;

    /// A stream to a port of a host.
    ///
    /// # Errors
    /// `Unreachable` when nobody listens there or the pod has gone.
    async fn open(
        &self,
        cluster: &str,
        host: &Host,
        port: u16,
    ) -> Result<Box<dyn TunnelStream>, PortError>;

    /// The client certificate that the vintage side made for etcd's clients.
    ///
    /// # Errors
    /// `NotFound` when the vintage management cluster has none.
    async fn etcd_identity(&self, cluster: &str) -> Result<EtcdIdentity, PortError>;
}

/// Where instances are.
#[async_trait]
pub trait Addresses: Send + Sync {
    /// Private address of an EC2 instance.
    ///
    /// # Errors
    /// `NotFound` when there is no such instance, or it is terminated.
    async fn private_address(&self, cluster: &str, instance: &str) -> Result<IpAddr, PortError>;
}

/// Keeps objects for the region store.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// SHA-256 of an object, hex, with its size in bytes; `None` when there is none.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    async fn head(&self, key: &str) -> Result<Option<(String, u64)>, PortError>;

    /// An object's bytes.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    async fn get(&self, key: &str) -> Result<SecretBytes, PortError>;

    /// Writes an object, replacing an older one; durable when this returns. Answers its SHA-256, hex.
    ///
    /// # Errors
    /// `Unavailable` when the store does not take it.
    async fn put(&self, key: &str, data: &SecretBytes) -> Result<String, PortError>;
}
