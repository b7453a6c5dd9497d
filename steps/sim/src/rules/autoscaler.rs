//! cluster-autoscaler: pods that find no room because a node is cordoned bring its pool a node more, just when somebody wants
//! to empty the pool.

use std::time::Duration;

use drover_model::cr::keys;
use drover_step_api::Timestamp;

use super::deployments;
use crate::state::{Cluster, InstanceRole, VINTAGE_REALM};

/// Its Deployment, in kube-system.
pub(crate) const NAME: &str = "cluster-autoscaler";

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let Some(realm) = cluster.realms.get(VINTAGE_REALM) else {
        return false;
    };
    if !deployments::runs(realm, "kube-system", NAME) {
        return false;
    }
    let cordoned: Vec<String> = realm
        .of_kind("Node")
        .filter(|(_, node)| node["spec"]["unschedulable"] == true)
        .filter_map(|(_, node)| {
            let pool = &node["metadata"]["labels"][keys::MACHINE_DEPLOYMENT];
            pool.as_str().map(str::to_owned)
        })
        .collect();
    let mut acted = false;
    for pool in cordoned {
        let timers = &mut cluster.timers;
        if !timers.hold(NAME, &pool, true, now, || Duration::from_secs(60)) {
            continue;
        }
        let role = InstanceRole::Worker(pool.clone());
        let mut groups = cluster.cloud.groups.values_mut();
        let Some(group) = groups.find(|group| group.role == role && group.desired < group.max)
        else {
            continue;
        };
        group.desired += 1;
        let what =
            format!("cluster-autoscaler brought pool {pool} a node while others are cordoned");
        cluster.accident(now, what);
        acted = true;
    }
    acted
}
