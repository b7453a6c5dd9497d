//! The pod CIDR that runs is the one that was configured, and service and pod networks are apart.

use ipnet::Ipv4Net;

use super::{Findings, Look, blocker};
use crate::kinds;

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let network = &look.plan.network;
    let mut found = Vec::new();
    let pods = look
        .workload()
        .list(&kinds::pod(), "kube-system", &[])
        .await?;
    // Every controller manager, not only the one that the inventory read: the one that leads next may be another.
    for pod in &pods {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        if !name.starts_with("k8s-controller-manager-") {
            continue;
        }
        let flag = pod["spec"]["containers"][0]["command"]
            .as_array()
            .into_iter()
            .flatten()
            .find_map(|flag| flag.as_str()?.strip_prefix("--cluster-cidr="));
        if flag != Some(network.pod_cidr.as_str()) {
            found.push(blocker(
                "pod-cidr-differs",
                format!(
                    "{name} hands out {}, and the new nodes would get {}",
                    flag.unwrap_or("no pod CIDR at all"),
                    network.pod_cidr
                ),
            ));
        }
    }
    let overlap = network
        .pod_cidr
        .parse::<Ipv4Net>()
        .ok()
        .zip(network.service_cidr.parse::<Ipv4Net>().ok())
        .is_some_and(|(pods, services)| {
            pods.contains(&services.network()) || services.contains(&pods.network())
        });
    if overlap {
        found.push(blocker(
            "networks-overlap",
            format!(
                "pods {} and services {} overlap",
                network.pod_cidr, network.service_cidr
            ),
        ));
    }
    Ok(found)
}
