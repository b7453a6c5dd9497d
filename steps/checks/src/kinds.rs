//! Kinds of Kubernetes objects that checks look at.

use drover_model::target::api;
use drover_ports::Gvk;

fn of(api_version: &str, kind: &str) -> Gvk {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Gvk::new(group, version, kind)
}

/// `Cluster`, on both management clusters.
pub(crate) fn cluster() -> Gvk {
    of(api::CAPI, "Cluster")
}

pub(crate) fn vintage_aws_cluster() -> Gvk {
    of("infrastructure.giantswarm.io/v1alpha3", "AWSCluster")
}

pub(crate) fn capa_cluster() -> Gvk {
    of(api::INFRASTRUCTURE, "AWSCluster")
}

pub(crate) fn control_plane() -> Gvk {
    of(api::CONTROL_PLANE, "KubeadmControlPlane")
}

pub(crate) fn machine() -> Gvk {
    of(api::CAPI, "Machine")
}

pub(crate) fn namespace() -> Gvk {
    of("v1", "Namespace")
}

pub(crate) fn deployment() -> Gvk {
    of("apps/v1", "Deployment")
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

pub(crate) fn chart() -> Gvk {
    of("application.giantswarm.io/v1alpha1", "Chart")
}
