//! The masters are there, run what the migration will stop, and are of one Kubernetes version with everybody.

use std::collections::BTreeSet;

use super::{Findings, Look, blocker, warning};
use crate::kinds;

/// Static pods of a vintage master.
const PODS: [&str; 4] = [
    "k8s-api-server",
    "k8s-controller-manager",
    "k8s-scheduler",
    "k8s-api-healthz",
];

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let plan = look.plan;
    let mut found = Vec::new();
    let masters = plan.masters.len();
    let wanted = plan.control_plane.zones.len();
    if masters != wanted {
        found.push(blocker(
            "masters-missing",
            format!("{masters} masters run, and there should be {wanted}; wait until the control plane is whole"),
        ));
    }
    if masters == 1 {
        found.push(warning(
            "single-master",
            "the cluster has one master: while two members share etcd, losing either stops it; three masters are safer",
        ));
    }
    let pods = look
        .workload()
        .list(&kinds::pod(), "kube-system", &[])
        .await?;
    let names: BTreeSet<&str> = pods
        .iter()
        .filter_map(|pod| pod["metadata"]["name"].as_str())
        .collect();
    for master in &plan.masters {
        let missing: Vec<&str> = PODS
            .into_iter()
            .filter(|pod| !names.contains(format!("{pod}-{}", master.node).as_str()))
            .collect();
        if !missing.is_empty() {
            found.push(blocker(
                "static-pods-missing",
                format!(
                    "on {} these do not run: {}",
                    master.node,
                    missing.join(", ")
                ),
            ));
        }
    }
    let nodes = look.workload().list(&kinds::node(), "", &[]).await?;
    let versions: BTreeSet<&str> = nodes
        .iter()
        .filter_map(|node| node["status"]["nodeInfo"]["kubeletVersion"].as_str())
        .collect();
    if versions.len() > 1 {
        let versions: Vec<&str> = versions.into_iter().collect();
        found.push(blocker(
            "versions-differ",
            format!(
                "nodes run different Kubernetes versions: {}; finish the upgrade first",
                versions.join(", ")
            ),
        ));
    }
    let unready: Vec<&str> = nodes
        .iter()
        .filter(|node| !is_ready(node))
        .filter_map(|node| node["metadata"]["name"].as_str())
        .collect();
    if !unready.is_empty() {
        found.push(warning(
            "nodes-not-ready",
            format!("nodes are not ready: {}", unready.join(", ")),
        ));
    }
    Ok(found)
}

fn is_ready(node: &serde_json::Value) -> bool {
    node["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}
