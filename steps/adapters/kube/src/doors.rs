//! Which API server is behind each door, and with which credentials.
//!
//! Sources: a vintage cluster's kubeconfig is the Secret `<id>-kubeconfig`, key `kubeConfig`, in the namespace `<id>` of
//! its management cluster; the new name is `spec.controlPlaneEndpoint` of the Cluster API Cluster that has the label
//! `cluster.x-k8s.io/cluster-name=<id>`; instances are asked of EC2.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use drover_ports::{Addresses, Cluster, Gvk, PortError, Via};
use http::Uri;
use serde_json::Value;

use crate::{
    asked::Asked,
    clients::{Clients, Key},
    config::{self, KubeConfig},
    connection::Connection,
    credentials::Credentials,
    error, secrets, verbs,
};

/// Every API server's port, vintage and Cluster API alike.
const API_PORT: u16 = 443;

/// All doors.
pub(crate) struct Doors {
    config: KubeConfig,
    addresses: Arc<dyn Addresses>,
    clients: Clients,
    credentials: Mutex<HashMap<String, Arc<Credentials>>>,
}

impl Doors {
    /// None is open yet.
    pub(crate) fn new(config: KubeConfig, addresses: Arc<dyn Addresses>) -> Self {
        Self {
            config,
            addresses,
            clients: Clients::default(),
            credentials: Mutex::default(),
        }
    }

    /// A connection through a door; a kept one when its address is still the same.
    ///
    /// # Errors
    /// `Unreachable` with the code `NoDoor` when there is no such door; the management cluster's errors when it cannot
    /// say. Never `NotFound`.
    pub(crate) async fn connection(
        &self,
        at: &Cluster,
        asked: Asked<'_>,
    ) -> Result<Arc<Connection>, PortError> {
        let Cluster::Workload { cluster, via } = at else {
            return self.management(at, asked).await;
        };
        let key = Key::from(at);
        if let Some(connection) = self.clients.get(&key, Instant::now()) {
            return Ok(connection);
        }
        let now = Instant::now();
        let config = self.find(cluster, via, asked).await?;
        let address = config.cluster_url.to_string();
        if let Some(connection) = self.clients.confirm(&key, &address, now) {
            return Ok(connection);
        }
        let connection = Arc::new(Connection::new(config, asked)?);
        self.clients
            .keep(key, address, Arc::clone(&connection), now);
        Ok(connection)
    }

    /// Looks up where a door of a workload cluster leads.
    ///
    /// # Errors
    /// As [`Doors::connection`].
    pub(crate) async fn find(
        &self,
        cluster: &str,
        via: &Via,
        asked: Asked<'_>,
    ) -> Result<kube::Config, PortError> {
        let credentials = self.credentials(cluster, asked).await?;
        match via {
            Via::OldName => Ok(credentials.old_name()),
            Via::NewName => {
                let url = self.new_name(cluster, asked).await?;
                Ok(credentials.at_name(url))
            }
            Via::Instance { id } => {
                let address = self.addresses.private_address(cluster, id).await.map_err(
                    |error| match error.is_not_found() {
                        true => asked.no_door(error.message),
                        false => asked.on_the_way(&format!("address of {id}"), error),
                    },
                )?;
                let authority = SocketAddr::new(address, API_PORT);
                let url = url(&authority.to_string(), asked)?;
                Ok(credentials.at_address(url))
            }
        }
    }

    /// Passes a result on. What failed is looked up afresh next time.
    pub(crate) fn noted<T>(
        &self,
        at: &Cluster,
        result: Result<T, PortError>,
    ) -> Result<T, PortError> {
        if let Err(error) = &result
            && error::spoils_connection(error)
        {
            self.clients.drop_one(&Key::from(at));
            if let Cluster::Workload { cluster, .. } = at {
                self.known().remove(cluster);
            }
        }
        result
    }

    /// Forgets all connections and credentials.
    pub(crate) fn refresh(&self) {
        self.clients.drop_all();
        self.known().clear();
    }

    /// A connection to a management cluster.
    async fn management(
        &self,
        at: &Cluster,
        asked: Asked<'_>,
    ) -> Result<Arc<Connection>, PortError> {
        let key = Key::from(at);
        if let Some(connection) = self.clients.get(&key, Instant::now()) {
            return Ok(connection);
        }
        let path = match at {
            Cluster::CapiMc => &self.config.capi_mc,
            _ => &self.config.vintage_mc,
        };
        let config = config::read(path)
            .await
            .map_err(|why| asked.invalid(format!("kubeconfig {}: {why}", path.display())))?;
        let address = config.cluster_url.to_string();
        let connection = Arc::new(Connection::new(config, asked)?);
        self.clients
            .keep(key, address, Arc::clone(&connection), Instant::now());
        Ok(connection)
    }

    async fn credentials(
        &self,
        cluster: &str,
        asked: Asked<'_>,
    ) -> Result<Arc<Credentials>, PortError> {
        if let Some(credentials) = self.known().get(cluster) {
            return Ok(Arc::clone(credentials));
        }
        let what = format!("kubeconfig of {cluster}");
        let asked = asked.reading();
        let found = self.kubeconfig_secret(cluster, asked).await;
        let secret = self
            .noted(&Cluster::VintageMc, found)
            .map_err(|error| asked.on_the_way(&what, error))?;
        let text = secret
            .data
            .get("kubeConfig")
            .ok_or_else(|| asked.invalid(format!("{what}: the Secret has no key kubeConfig")))?;
        let credentials = Credentials::parse(text)
            .await
            .map_err(|why| asked.invalid(format!("{what}: {why}")))?;
        let credentials = Arc::new(credentials);
        self.known()
            .insert(cluster.to_owned(), Arc::clone(&credentials));
        Ok(credentials)
    }

    async fn kubeconfig_secret(
        &self,
        cluster: &str,
        asked: Asked<'_>,
    ) -> Result<drover_ports::SecretObject, PortError> {
        let vintage = self.management(&Cluster::VintageMc, asked).await?;
        secrets::get(&vintage, cluster, &format!("{cluster}-kubeconfig"), asked).await
    }

    async fn new_name(&self, cluster: &str, asked: Asked<'_>) -> Result<Uri, PortError> {
        let asked = asked.reading();
        let found = self.clusters(cluster, asked).await;
        let clusters = self
            .noted(&Cluster::CapiMc, found)
            .map_err(|error| asked.on_the_way(&format!("Cluster {cluster}"), error))?;
        let authority = clusters
            .iter()
            .find_map(endpoint)
            .ok_or_else(|| asked.no_door(format!("{cluster} has no control plane endpoint yet")))?;
        url(&authority, asked)
    }

    async fn clusters(&self, cluster: &str, asked: Asked<'_>) -> Result<Vec<Value>, PortError> {
        let capi = self.management(&Cluster::CapiMc, asked).await?;
        let gvk = Gvk::new("cluster.x-k8s.io", "v1beta1", "Cluster");
        let label = "cluster.x-k8s.io/cluster-name".to_owned();
        let labels = BTreeMap::from([(label, cluster.to_owned())]);
        verbs::list(&capi, &gvk, "", &labels, asked).await
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<Credentials>>> {
        self.credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// `host:port` of a Cluster, once it has one.
fn endpoint(cluster: &Value) -> Option<String> {
    let endpoint = &cluster["spec"]["controlPlaneEndpoint"];
    let host = endpoint["host"].as_str().filter(|host| !host.is_empty())?;
    let port = endpoint["port"].as_u64().filter(|port| *port != 0)?;
    Some(format!("{host}:{port}"))
}

fn url(authority: &str, asked: Asked<'_>) -> Result<Uri, PortError> {
    Uri::builder()
        .scheme("https")
        .authority(authority)
        .path_and_query("/")
        .build()
        .map_err(|_| asked.invalid(format!("{authority:?} is no address")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_endpoint_is_one_when_it_is_complete() {
        let with = |endpoint: Value| json!({"spec": {"controlPlaneEndpoint": endpoint}});
        let full = with(json!({"host": "elb.example.com", "port": 6443}));
        assert_eq!(endpoint(&full).as_deref(), Some("elb.example.com:6443"));
        assert_eq!(endpoint(&with(json!({"host": "", "port": 0}))), None);
        assert_eq!(endpoint(&json!({"spec": {}})), None);
    }

    #[test]
    fn addresses_of_both_families() {
        let asked = Asked::read("workload:get:Node");
        let v6 = SocketAddr::new("fd00::1".parse().unwrap(), API_PORT).to_string();
        let url = url(&v6, asked).unwrap();
        assert_eq!(url.to_string(), "https://[fd00::1]:443/");
    }
}
