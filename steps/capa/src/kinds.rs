//! Kinds of Kubernetes objects that steps act on.

use drover_model::{cr::keys, target::api};
use drover_ports::{Gvk, ObjectRef};

const VINTAGE: &str = "infrastructure.giantswarm.io/v1alpha3";

/// `Cluster`, on both management clusters.
pub(crate) fn cluster() -> Gvk {
    Gvk::of(api::CAPI, "Cluster")
}

/// The vintage kinds that operators reconcile, the cluster's own object first.
pub(crate) fn vintage() -> [Gvk; 7] {
    [
        cluster(),
        Gvk::of(VINTAGE, "AWSCluster"),
        Gvk::of(VINTAGE, "G8sControlPlane"),
        Gvk::of(VINTAGE, "AWSControlPlane"),
        Gvk::of(api::CAPI, "MachineDeployment"),
        Gvk::of(VINTAGE, "AWSMachineDeployment"),
        Gvk::of("core.giantswarm.io/v1alpha1", "CertConfig"),
    ]
}

pub(crate) fn vintage_aws_cluster() -> Gvk {
    Gvk::of(VINTAGE, "AWSCluster")
}

pub(crate) fn network_pool() -> Gvk {
    Gvk::of(VINTAGE, "NetworkPool")
}

pub(crate) fn app() -> Gvk {
    Gvk::of("application.giantswarm.io/v1alpha1", "App")
}

pub(crate) fn config_map() -> Gvk {
    Gvk::of("v1", "ConfigMap")
}

pub(crate) fn secret() -> Gvk {
    Gvk::of("v1", "Secret")
}

pub(crate) fn node() -> Gvk {
    Gvk::of("v1", "Node")
}

pub(crate) fn pod() -> Gvk {
    Gvk::of("v1", "Pod")
}

pub(crate) fn disruption_budget() -> Gvk {
    Gvk::of("policy/v1", "PodDisruptionBudget")
}

pub(crate) fn volume_attachment() -> Gvk {
    Gvk::of("storage.k8s.io/v1", "VolumeAttachment")
}

pub(crate) fn drainer_config() -> Gvk {
    Gvk::of("core.giantswarm.io/v1alpha1", "DrainerConfig")
}

pub(crate) fn endpoints() -> Gvk {
    Gvk::of("v1", "Endpoints")
}

pub(crate) fn job() -> Gvk {
    Gvk::of("batch/v1", "Job")
}

pub(crate) fn deployment() -> Gvk {
    Gvk::of("apps/v1", "Deployment")
}

pub(crate) fn daemon_set() -> Gvk {
    Gvk::of("apps/v1", "DaemonSet")
}

/// By which the Cluster API side installs apps.
pub(crate) fn helm_release() -> Gvk {
    Gvk::of("helm.toolkit.fluxcd.io/v2", "HelmRelease")
}

/// What chart-operator installs, in the workload cluster.
pub(crate) fn chart() -> Gvk {
    Gvk::of("application.giantswarm.io/v1alpha1", "Chart")
}

pub(crate) fn lease() -> Gvk {
    Gvk::of("coordination.k8s.io/v1", "Lease")
}

pub(crate) fn control_plane() -> Gvk {
    Gvk::of(api::CONTROL_PLANE, "KubeadmControlPlane")
}

pub(crate) fn machine() -> Gvk {
    Gvk::of(api::CAPI, "Machine")
}

pub(crate) fn kubeadm_config() -> Gvk {
    Gvk::of(api::BOOTSTRAP, "KubeadmConfig")
}

pub(crate) fn capa_machine_pool() -> Gvk {
    Gvk::of(api::INFRASTRUCTURE, "AWSMachinePool")
}

pub(crate) fn capa_cluster() -> Gvk {
    Gvk::of(api::INFRASTRUCTURE, "AWSCluster")
}

pub(crate) fn capa_machine() -> Gvk {
    Gvk::of(api::INFRASTRUCTURE, "AWSMachine")
}

/// The KubeadmControlPlane of a cluster.
pub(crate) fn control_plane_of(namespace: &str, cluster: &str) -> ObjectRef {
    ObjectRef::new(&control_plane(), namespace, cluster)
}

/// Label by which everything of one cluster is found.
pub(crate) const CLUSTER_LABEL: &str = keys::CLUSTER;
/// The same, on what Cluster API makes.
pub(crate) const CAPI_CLUSTER_LABEL: &str = keys::CLUSTER_NAME;
