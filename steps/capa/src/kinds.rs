//! Kinds of Kubernetes objects that steps act on.

use drover_model::{cr::keys, target::api};
use drover_ports::{Gvk, ObjectRef};

fn of(api_version: &str, kind: &str) -> Gvk {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Gvk::new(group, version, kind)
}

const VINTAGE: &str = "infrastructure.giantswarm.io/v1alpha3";

/// `Cluster`, on both management clusters.
pub(crate) fn cluster() -> Gvk {
    of(api::CAPI, "Cluster")
}

/// The vintage kinds that operators reconcile, the cluster's own object first.
pub(crate) fn vintage() -> [Gvk; 7] {
    [
        cluster(),
        of(VINTAGE, "AWSCluster"),
        of(VINTAGE, "G8sControlPlane"),
        of(VINTAGE, "AWSControlPlane"),
        of(api::CAPI, "MachineDeployment"),
        of(VINTAGE, "AWSMachineDeployment"),
        of("core.giantswarm.io/v1alpha1", "CertConfig"),
    ]
}

pub(crate) fn vintage_aws_cluster() -> Gvk {
    of(VINTAGE, "AWSCluster")
}

pub(crate) fn network_pool() -> Gvk {
    of(VINTAGE, "NetworkPool")
}

pub(crate) fn app() -> Gvk {
    of("application.giantswarm.io/v1alpha1", "App")
}

pub(crate) fn config_map() -> Gvk {
    of("v1", "ConfigMap")
}

pub(crate) fn secret() -> Gvk {
    of("v1", "Secret")
}

pub(crate) fn node() -> Gvk {
    of("v1", "Node")
}

pub(crate) fn pod() -> Gvk {
    of("v1", "Pod")
}

pub(crate) fn endpoints() -> Gvk {
    of("v1", "Endpoints")
}

pub(crate) fn job() -> Gvk {
    of("batch/v1", "Job")
}

pub(crate) fn lease() -> Gvk {
    of("coordination.k8s.io/v1", "Lease")
}

pub(crate) fn control_plane() -> Gvk {
    of(api::CONTROL_PLANE, "KubeadmControlPlane")
}

pub(crate) fn machine() -> Gvk {
    of(api::CAPI, "Machine")
}

pub(crate) fn kubeadm_config() -> Gvk {
    of(api::BOOTSTRAP, "KubeadmConfig")
}

pub(crate) fn capa_cluster() -> Gvk {
    of(api::INFRASTRUCTURE, "AWSCluster")
}

pub(crate) fn capa_machine() -> Gvk {
    of(api::INFRASTRUCTURE, "AWSMachine")
}

/// The KubeadmControlPlane of a cluster.
pub(crate) fn control_plane_of(namespace: &str, cluster: &str) -> ObjectRef {
    ObjectRef::new(&control_plane(), namespace, cluster)
}

/// Label by which everything of one cluster is found.
pub(crate) const CLUSTER_LABEL: &str = keys::CLUSTER;
/// The same, on what Cluster API makes.
pub(crate) const CAPI_CLUSTER_LABEL: &str = keys::CLUSTER_NAME;
