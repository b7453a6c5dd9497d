//! Kinds of Kubernetes objects that checks look at.

use drover_model::target::api;
use drover_ports::Gvk;

/// `Cluster`, on both management clusters.
pub(crate) fn cluster() -> Gvk {
    Gvk::of(api::CAPI, "Cluster")
}

pub(crate) fn vintage_aws_cluster() -> Gvk {
    Gvk::of("infrastructure.giantswarm.io/v1alpha3", "AWSCluster")
}

pub(crate) fn capa_cluster() -> Gvk {
    Gvk::of(api::INFRASTRUCTURE, "AWSCluster")
}

pub(crate) fn control_plane() -> Gvk {
    Gvk::of(api::CONTROL_PLANE, "KubeadmControlPlane")
}

pub(crate) fn machine() -> Gvk {
    Gvk::of(api::CAPI, "Machine")
}

pub(crate) fn namespace() -> Gvk {
    Gvk::of("v1", "Namespace")
}

pub(crate) fn deployment() -> Gvk {
    Gvk::of("apps/v1", "Deployment")
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

pub(crate) fn endpoints() -> Gvk {
    Gvk::of("v1", "Endpoints")
}

pub(crate) fn kustomization() -> Gvk {
    Gvk::of("kustomize.toolkit.fluxcd.io/v1", "Kustomization")
}

pub(crate) fn job() -> Gvk {
    Gvk::of("batch/v1", "Job")
}
