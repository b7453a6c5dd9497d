//! What is wrong with a cluster from the beginning, when a fault says so.

use drover_model::names;
use serde_json::json;

use crate::{
    rules::budgets,
    state::{Cluster, InstanceRole, VINTAGE_REALM},
};

/// One node of a pool on which no customer runs anything is dead, and nobody has replaced it.
pub(super) fn dead_nodes(cluster: &mut Cluster) {
    let Some(realm) = cluster.realms.get(VINTAGE_REALM) else {
        return;
    };
    let is_idle = |node: &str| {
        let mut pods = realm.of_kind("Pod").map(|(_, pod)| pod);
        !pods.any(|pod| {
            pod["spec"]["nodeName"] == node
                && pod["metadata"]["ownerReferences"][0]["kind"] != "DaemonSet"
        })
    };
    let found = cluster.cloud.instances.values().find(|instance| {
        matches!(instance.role, InstanceRole::Worker(_)) && is_idle(&instance.dns)
    });
    let found = found.map(|instance| instance.id.clone());
    if let Some(instance) = found.and_then(|id| cluster.cloud.instances.get_mut(&id)) {
        instance.kubelet = false;
        cluster.faults.dead_nodes = 1;
    }
}

/// The subnets of node pools have one address each.
pub(super) fn scarce_addresses(cluster: &mut Cluster) {
    for subnet in cluster.cloud.subnets.values_mut() {
        let stack = subnet.tags.get(names::TAG_STACK);
        if stack.is_some_and(|stack| stack == names::STACK_POOL) {
            subnet.available_ips = subnet.available_ips.min(1);
            cluster.faults.full_subnets += 1;
        }
    }
}

/// A budget lets no pod go. See [`budgets::run`] for who changes that.
pub(super) fn blocking_budget(cluster: &mut Cluster) {
    if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
        cluster.faults.stern_budget = realm.edit(&budgets::stern(), |budget| {
            budget["spec"]["maxUnavailable"] = json!(0);
        });
    }
}
