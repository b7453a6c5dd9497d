//! A node that dies where a fault says so: of those on which no customer runs anything, and once nobody replaces it.

use std::time::Duration;

use drover_step_api::Timestamp;

use super::healthcheck;
use crate::state::{Cluster, InstanceRole, VINTAGE_REALM};

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let due = cluster.faults.node_dies && !healthcheck::terminates_unready(cluster);
    let timers = &mut cluster.timers;
    if !timers.hold("node-dies", "", due, now, || Duration::from_secs(5 * 60)) {
        return false;
    }
    let Some(id) = idle_worker(cluster) else {
        return false;
    };
    let Some(instance) = cluster.cloud.instances.get_mut(&id) else {
        return false;
    };
    instance.kubelet = false;
    cluster.faults.node_dies = false;
    cluster.faults.dead_nodes += 1;
    true
}

/// A worker with nothing but what runs on every node.
fn idle_worker(cluster: &Cluster) -> Option<String> {
    let realm = cluster.realms.get(VINTAGE_REALM)?;
    let is_idle = |node: &str| {
        let mut pods = realm.of_kind("Pod").map(|(_, pod)| pod);
        !pods.any(|pod| {
            pod["spec"]["nodeName"] == node
                && pod["metadata"]["ownerReferences"][0]["kind"] != "DaemonSet"
        })
    };
    let mut instances = cluster.cloud.instances.values();
    let found = instances.find(|instance| {
        instance.runs()
            && matches!(instance.role, InstanceRole::Worker(_))
            && is_idle(&instance.dns)
    });
    found.map(|instance| instance.id.clone())
}
