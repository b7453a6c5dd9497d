//! What is wrong with a cluster from the beginning, when a fault says so.

use drover_model::names;
use serde_json::json;

use crate::{
    rules::budgets,
    state::{Cluster, VINTAGE_REALM},
};

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
