//! One HTTP/2 connection to each host, kept until it fails.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use drover_ports::{Host, PortError, PortErrorKind, Tunnel, TunnelStream};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::{
    error::{Asked, chain},
    tls,
};

/// etcd's client port on every control-plane host.
const PORT: u16 = 2379;
/// Tunnel, TLS and HTTP/2 together. Hosts are tried at once, so this is what a dead one costs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Finds connections whose other end has vanished silently. etcd refuses more than one ping in 5 s.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

type Stream = TlsStream<Box<dyn TunnelStream>>;

/// Connections to the members of all clusters.
pub(crate) struct Connections {
    tunnel: Arc<dyn Tunnel>,
    known: Mutex<HashMap<String, Known>>,
}

/// What is kept of a cluster.
#[derive(Default)]
struct Known {
    tls: Option<Arc<ClientConfig>>,
    channels: HashMap<Host, Channel>,
}

impl Connections {
    /// None yet; `tunnel` leads to the hosts.
    pub(crate) fn new(tunnel: Arc<dyn Tunnel>) -> Self {
        Self {
            tunnel,
            known: Mutex::default(),
        }
    }

    /// Control-plane hosts, ordered by node.
    ///
    /// # Errors
    /// As [`Tunnel::hosts`]; none is `Unreachable`.
    pub(crate) async fn hosts(
        &self,
        cluster: &str,
        asked: Asked<'_>,
    ) -> Result<Vec<Host>, PortError> {
        let hosts = self
            .tunnel
            .hosts(cluster)
            .await
            .map_err(|error| asked.on_the_way(error))?;
        if hosts.is_empty() {
            let message = "there is no control-plane host with a pod in its network";
            return Err(asked.error(PortErrorKind::Unreachable, message));
        }
        Ok(hosts)
    }

    /// Our side of TLS to members of a cluster.
    ///
    /// # Errors
    /// As [`Tunnel::etcd_identity`]; a missing identity is `Unreachable`.
    pub(crate) async fn tls(
        &self,
        cluster: &str,
        asked: Asked<'_>,
    ) -> Result<Arc<ClientConfig>, PortError> {
        if let Some(known) = self.known().get(cluster)
            && let Some(config) = &known.tls
        {
            return Ok(Arc::clone(config));
        }
        let identity = self
            .tunnel
            .etcd_identity(cluster)
            .await
            .map_err(|error| asked.on_the_way(error))?;
        let config = Arc::new(tls::client_config(&identity, asked.action)?);
        self.known().entry(cluster.to_owned()).or_default().tls = Some(Arc::clone(&config));
        Ok(config)
    }

    /// The connection to a host, made now when there is none.
    ///
    /// # Errors
    /// One line that says why there is none.
    pub(crate) async fn to(
        &self,
        cluster: &str,
        host: &Host,
        config: &Arc<ClientConfig>,
    ) -> Result<Channel, String> {
        if let Some(known) = self.known().get(cluster)
            && let Some(channel) = known.channels.get(host)
        {
            return Ok(channel.clone());
        }
        let channel = timeout(CONNECT_TIMEOUT, self.connect(cluster, host, config))
            .await
            .map_err(|_| format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()))?
            .map_err(|error| chain(&error))?;
        self.known()
            .entry(cluster.to_owned())
            .or_default()
            .channels
            .insert(host.clone(), channel.clone());
        Ok(channel)
    }

    /// Forgets one connection: it has failed.
    pub(crate) fn drop_one(&self, cluster: &str, host: &Host) {
        if let Some(known) = self.known().get_mut(cluster) {
            known.channels.remove(host);
        }
    }

    /// Forgets all connections to a cluster, and who we are to it.
    pub(crate) fn drop_cluster(&self, cluster: &str) {
        self.known().remove(cluster);
    }

    /// Forgets everything.
    pub(crate) fn drop_all(&self) {
        self.known().clear();
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(
        &self,
        cluster: &str,
        host: &Host,
        config: &Arc<ClientConfig>,
    ) -> Result<Channel, tonic::transport::Error> {
        let way = Way {
            tunnel: Arc::clone(&self.tunnel),
            cluster: cluster.to_owned(),
            host: host.clone(),
            connector: TlsConnector::from(Arc::clone(config)),
        };
        // TLS is the connector's business, so the endpoint looks plain; the origin tells etcd what it is.
        Endpoint::from_static("http://etcd")
            .origin(Uri::from_static("https://etcd"))
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(CONNECT_TIMEOUT)
            .connect_with_connector(service_fn(move |_: Uri| {
                let way = way.clone();
                async move { way.open().await.map(TokioIo::new) }
            }))
            .await
    }
}

/// Everything it takes to open a stream to a member.
#[derive(Clone)]
struct Way {
    tunnel: Arc<dyn Tunnel>,
    cluster: String,
    host: Host,
    connector: TlsConnector,
}

impl Way {
    async fn open(&self) -> Result<Stream, io::Error> {
        let stream = self
            .tunnel
            .open(&self.cluster, &self.host, PORT)
            .await
            .map_err(io::Error::other)?;
        // Any name will do: see `tls`.
        let name = ServerName::try_from("etcd").expect("a host name");
        self.connector.connect(name, stream).await
    }
}
