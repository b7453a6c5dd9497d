//! An installation: what its clusters share.

use std::collections::BTreeMap;

use drover_ports::{SecretBytes, Snapshot};
use drover_step_api::Timestamp;
use serde_json::json;

use crate::{InstallationConfig, objects::Store};

/// An installation: two management clusters' shared objects and the region store.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) config: InstallationConfig,
    /// Objects of the vintage management cluster that belong to no single cluster.
    pub(crate) vintage: Store,
    /// The same on the Cluster API management cluster.
    pub(crate) capi: Store,
    /// The installation's bucket.
    pub(crate) region_store: BTreeMap<String, SecretBytes>,
    /// What is known of the etcd snapshots in it.
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
}

impl Site {
    pub(super) fn new(config: &InstallationConfig, start: Timestamp) -> Self {
        let mut capi = Store::new(format!("{}-capi", config.name));
        capi.put(
            json!({
                "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2",
                "kind": "AWSClusterControllerIdentity",
                "metadata": {"name": "default"},
                "spec": {"allowedNamespaces": {}},
            }),
            start,
        );
        // Where a Cluster API management cluster keeps the base domain of its clusters.
        capi.put(
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "cluster-apps-operator", "namespace": "giantswarm"},
                "data": {"config.yml": format!(
                    "service:\n  workload:\n    cluster:\n      baseDomain: {}\n",
                    config.capi_domain
                )},
            }),
            start,
        );
        for (kind, name) in [
            ("Deployment", "capi-controller-manager"),
            ("Deployment", "capi-kubeadm-bootstrap-controller-manager"),
            (
                "Deployment",
                "capi-kubeadm-control-plane-controller-manager",
            ),
            ("Deployment", "capa-controller-manager"),
        ] {
            capi.put(
                json!({
                    "apiVersion": "apps/v1",
                    "kind": kind,
                    "metadata": {"name": name, "namespace": "giantswarm"},
                    "spec": {"replicas": 1},
                    "status": {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1},
                }),
                start,
            );
        }
        Self {
            config: config.clone(),
            vintage: Store::new(format!("{}-vintage", config.name)),
            capi,
            region_store: BTreeMap::new(),
            snapshots: BTreeMap::new(),
        }
    }

    /// Makes sure that a namespace exists on both sides.
    pub(super) fn namespace(&mut self, name: &str, start: Timestamp) {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.vintage.put(namespace.clone(), start);
        self.capi.put(namespace, start);
    }
}
