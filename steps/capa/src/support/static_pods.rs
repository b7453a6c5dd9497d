//! Which static pods run on which node, as their kubelets publish them.

use std::collections::BTreeSet;

use drover_ports::{Ports, Via};
use drover_step_api::{Context, StepError};

use super::cluster::name;
use crate::kinds;

/// Manifests of a vintage master.
pub(crate) const API_SERVER: &str = "k8s-api-server.yaml";
pub(crate) const API_HEALTHZ: &str = "k8s-api-healthz.yaml";
pub(crate) const CONTROLLER_MANAGER: &str = "k8s-controller-manager.yaml";
pub(crate) const SCHEDULER: &str = "k8s-scheduler.yaml";

/// Names of the pods in `kube-system`.
pub(crate) struct StaticPods(BTreeSet<String>);

impl StaticPods {
    /// True when the static pod of a manifest runs on a node.
    pub(crate) fn runs(&self, manifest: &str, node: &str) -> bool {
        let stem = manifest.trim_end_matches(".yaml");
        self.0.contains(&format!("{stem}-{node}"))
    }

    /// Which of the manifests run on a node.
    pub(crate) fn running<'m>(&self, manifests: &[&'m str], node: &str) -> Vec<&'m str> {
        manifests
            .iter()
            .copied()
            .filter(|manifest| self.runs(manifest, node))
            .collect()
    }
}

/// The static pods of all nodes, through one of the cluster's doors.
///
/// # Errors
/// As the port.
pub(crate) async fn list(
    ctx: &Context<Ports>,
    cluster: &str,
    via: Via,
) -> Result<StaticPods, StepError> {
    let pods = ctx
        .ports()
        .workload(cluster, via)
        .list(&kinds::pod(), "kube-system", &[])
        .await?;
    Ok(StaticPods(pods.iter().map(name).collect()))
}
