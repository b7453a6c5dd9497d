//! The way to ports of control-plane hosts: port-forward to a pod in the host's network, through the old name.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use drover_ports::{
    Cluster, EtcdIdentity, Gvk, Host, PortError, PortErrorKind, SecretObject, Tunnel, TunnelStream,
    Via,
};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::Value;
use tokio::time::timeout;

use crate::{adapter::KubeAdapter, asked::Asked, error, forwarded::Forwarded, secrets, verbs};

/// Connecting and upgrading.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

#[async_trait]
impl Tunnel for KubeAdapter {
    async fn hosts(&self, cluster: &str) -> Result<Vec<Host>, PortError> {
        let at = old_name(cluster);
        let found = self.control_plane(&at).await;
        let (nodes, pods) = self.doors().noted(&at, found)?;
        Ok(hosts(&nodes, &pods))
    }

    /// That nobody listens becomes known only when the stream is read: the node says so when it has tried.
    async fn open(
        &self,
        cluster: &str,
        host: &Host,
        port: u16,
    ) -> Result<Box<dyn TunnelStream>, PortError> {
        let at = old_name(cluster);
        let asked = Asked::read("workload:port-forward:Pod");
        let connection = self.doors().connection(&at, asked).await?;
        let pods: Api<Pod> = Api::namespaced(connection.client(), &host.namespace);
        let opened = match timeout(OPEN_TIMEOUT, pods.portforward(&host.pod, &[port])).await {
            Ok(Ok(forwarder)) => Forwarded::new(forwarder, port)
                .ok_or_else(|| error::of_garble(asked, "forwarded port")),
            Ok(Err(error)) => Err(refused(asked, &error)),
            Err(_) => Err(error::of_silence(asked, OPEN_TIMEOUT)),
        };
        // A pod that refuses says nothing about the API, but a look-up more does no harm.
        let stream = self.doors().noted(&at, opened)?;
        Ok(Box::new(stream))
    }

    async fn etcd_identity(&self, cluster: &str) -> Result<EtcdIdentity, PortError> {
        let at = Cluster::VintageMc;
        let asked = Asked::read("vintage-mc:get-data:Secret");
        let connection = self.doors().connection(&at, asked).await?;
        let labels = [
            ("giantswarm.io/certificate", "calico-etcd-client"),
            ("giantswarm.io/cluster", cluster),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let labels = BTreeMap::from(labels);
        let found = secrets::find(&connection, &labels, asked).await;
        let secrets = self.doors().noted(&at, found)?;
        secrets.into_iter().find_map(identity).ok_or_else(|| {
            let message = format!("{cluster} has no client certificate for etcd");
            asked.error(PortErrorKind::NotFound, message)
        })
    }
}

impl KubeAdapter {
    /// Nodes, and pods of kube-system.
    async fn control_plane(&self, at: &Cluster) -> Result<(Vec<Value>, Vec<Value>), PortError> {
        let asked = Asked::read("workload:list:Node");
        let connection = self.doors().connection(at, asked).await?;
        let all = BTreeMap::new();
        let nodes = Gvk::new("", "v1", "Node");
        let nodes = verbs::list(&connection, &nodes, "", &all, asked).await?;
        let asked = Asked::read("workload:list:Pod");
        let pods = Gvk::new("", "v1", "Pod");
        let pods = verbs::list(&connection, &pods, "kube-system", &all, asked).await?;
        Ok((nodes, pods))
    }
}

fn old_name(cluster: &str) -> Cluster {
    Cluster::Workload {
        cluster: cluster.to_owned(),
        via: Via::OldName,
    }
}

/// Control-plane nodes with a running pod in their network each, ordered by node.
fn hosts(nodes: &[Value], pods: &[Value]) -> Vec<Host> {
    let control_plane: BTreeSet<&str> = nodes
        .iter()
        .filter(|node| is_control_plane(node))
        .filter_map(|node| node["metadata"]["name"].as_str())
        .collect();
    let mut best: BTreeMap<&str, (u8, &str)> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| is_usable(pod)) {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if !control_plane.contains(node) {
            continue;
        }
        let candidate = (rank(name, node), name);
        best.entry(node)
            .and_modify(|known| *known = candidate.min(*known))
            .or_insert(candidate);
    }
    best.into_iter()
        .map(|(node, (_, pod))| Host {
            node: node.to_owned(),
            namespace: "kube-system".to_owned(),
            pod: pod.to_owned(),
        })
        .collect()
}

fn is_control_plane(node: &Value) -> bool {
    [
        "node-role.kubernetes.io/control-plane",
        "node-role.kubernetes.io/master",
    ]
    .iter()
    .any(|label| node["metadata"]["labels"].get(label).is_some())
}

fn is_usable(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running"
        && pod["spec"]["hostNetwork"] == true
        && pod["metadata"]["deletionTimestamp"].is_null()
}

/// etcd's own pod lives exactly as long as what we want to reach; static pods come next, for nobody evicts them.
fn rank(pod: &str, node: &str) -> u8 {
    if pod.strip_prefix("etcd-") == Some(node) {
        return 0;
    }
    match ["kube-apiserver-", "k8s-api-server-"]
        .iter()
        .any(|prefix| pod.starts_with(prefix))
    {
        true => 1,
        false => 2,
    }
}

/// A complete identity; `None` when the Secret lacks a part.
fn identity(mut secret: SecretObject) -> Option<EtcdIdentity> {
    let text = |key: &str| {
        let bytes = secret.data.get(key)?;
        String::from_utf8(bytes.expose().to_vec()).ok()
    };
    let (ca_pem, certificate_pem) = (text("ca")?, text("crt")?);
    Some(EtcdIdentity {
        ca_pem,
        certificate_pem,
        private_key_pem: secret.data.remove("key")?,
    })
}

/// There is no way through this pod, whatever the API's reason.
fn refused(asked: Asked<'_>, error: &kube::Error) -> PortError {
    let kube::Error::Api(status) = error else {
        return error::of_client(asked, error);
    };
    let code =
        http::StatusCode::from_u16(status.code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(status).unwrap_or_default();
    let error = error::of_answer(asked, code, None, &body);
    let kind = match error.kind {
        PortErrorKind::NotFound | PortErrorKind::Invalid | PortErrorKind::Unavailable => {
            PortErrorKind::Unreachable
        }
        kind => kind,
    };
    PortError {
        kind,
        message: error::shortened(&status.message),
        ..error
    }
}

#[cfg(test)]
mod tests {
    use drover_ports::SecretBytes;
    use serde_json::json;

    use super::*;

    fn node(name: &str, role: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {format!("node-role.kubernetes.io/{role}"): ""}}})
    }

    fn pod(name: &str, node: &str) -> Value {
        json!({
            "metadata": {"name": name},
            "spec": {"nodeName": node, "hostNetwork": true},
            "status": {"phase": "Running"},
        })
    }

    fn chosen(nodes: &[Value], pods: &[Value]) -> Vec<(String, String)> {
        hosts(nodes, pods)
            .into_iter()
            .map(|host| (host.node, host.pod))
            .collect()
    }

    fn pair(node: &str, pod: &str) -> (String, String) {
        (node.to_owned(), pod.to_owned())
    }

    #[test]
    fn one_pod_a_node_and_the_best_one() {
        let nodes = [
            node("b", "control-plane"),
            node("a", "master"),
            node("w", "worker"),
            node("c", "control-plane"),
        ];
        let pods = [
            pod("aws-node-x", "b"),
            pod("kube-apiserver-b", "b"),
            pod("etcd-b", "b"),
            pod("calico-node-z", "a"),
            pod("k8s-api-server-a", "a"),
            pod("kube-proxy-9", "c"),
            pod("kube-proxy-1", "c"),
            pod("etcd-b-backup", "c"),
            pod("kube-proxy-w", "w"),
        ];
        let expected = [
            pair("a", "k8s-api-server-a"),
            pair("b", "etcd-b"),
            pair("c", "etcd-b-backup"),
        ];
        assert_eq!(chosen(&nodes, &pods), expected);
    }

    #[test]
    fn pods_that_lead_nowhere_are_left_out() {
        let nodes = [node("a", "control-plane")];
        let mut going = pod("etcd-a", "a");
        going["metadata"]["deletionTimestamp"] = "2024-01-01T00:00:00Z".into();
        let mut own_network = pod("kube-apiserver-a", "a");
        own_network["spec"]["hostNetwork"] = false.into();
        let mut pending = pod("calico", "a");
        pending["status"]["phase"] = "Pending".into();
        assert!(hosts(&nodes, &[going, own_network, pending]).is_empty());
    }

    #[test]
    fn an_identity_has_three_parts() {
        let mut secret = SecretObject {
            namespace: "default".to_owned(),
            name: "c0001-calico-etcd-client".to_owned(),
            type_: String::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            data: BTreeMap::new(),
        };
        for key in ["ca", "crt", "key"] {
            assert!(identity(secret.clone()).is_none());
            let value = SecretBytes::new(key.as_bytes().to_vec());
            secret.data.insert(key.to_owned(), value);
        }
        let identity = identity(secret).unwrap();
        assert_eq!(identity.ca_pem, "ca");
        assert_eq!(identity.certificate_pem, "crt");
        assert_eq!(identity.private_key_pem.expose(), b"key");
    }
}
