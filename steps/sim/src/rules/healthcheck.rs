//! Things on and beside vintage masters that end them: each master's own health check, and aws-operator's terminator of
//! unhealthy nodes.
//!
//! The first compares this node's API server with the cluster's endpoint. It exists so that a broken master is replaced;
//! but a master whose API server was stopped on purpose, while another node answers under the old name, looks just the
//! same, and condemns itself within five minutes.

use std::time::Duration;

use drover_model::cr::keys;
use drover_step_api::Timestamp;

use super::{api, asg, ec2, etcd, operators};
use crate::{
    objects::Key,
    state::{Cluster, InstanceRole, Proc, Status, units},
};

const UPTIME: Duration = Duration::from_secs(15 * 60);
/// Six looks, three minutes apart.
const TERMINATOR: Duration = Duration::from_secs(18 * 60);

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    condemn_masters(cluster, now) | terminate_unready(cluster, now)
}

fn condemn_masters(cluster: &mut Cluster, now: Timestamp) -> bool {
    // Single masters have no such timer: nobody could take over.
    if cluster.facts.masters == 1 || cluster.demolished {
        return false;
    }
    let suspects: Vec<(String, bool)> = cluster
        .hosts
        .iter()
        .filter(|(_, host)| host.is_vintage())
        .map(|(id, host)| {
            let watches = host.units.get(units::HEALTHCHECK) == Some(&true);
            let bad =
                !host.runs(Proc::ApiServer) || !etcd::member_is_up(cluster, id) || !host.kubelet;
            let old_enough =
                cluster.cloud.instances.get(id).is_some_and(|instance| {
                    now.since(instance.launched) >= UPTIME && instance.healthy
                });
            (id.clone(), watches && bad && old_enough)
        })
        .collect();
    if suspects.iter().all(|(_, suspect)| !suspect) && !cluster.timers.has("master-condemns-itself")
    {
        return false;
    }
    let endpoint_answers = api::through_old_name(cluster) == Status::Ok;
    let mut acted = false;
    for (id, suspect) in suspects {
        let chance = &cluster.chance;
        if cluster.timers.hold(
            "master-condemns-itself",
            &id,
            suspect && endpoint_answers,
            now,
            || {
                // The timer fires every five minutes, at its own time on each node.
                chance.millis(60_000, 300_000, "healthcheck-timer", &id)
            },
        ) {
            acted |= asg::condemn(cluster, &id);
        }
    }
    acted
}

/// Whether aws-operator ends nodes that are not ready.
pub(super) fn terminates_unready(cluster: &Cluster) -> bool {
    let key = cluster.key(keys::VINTAGE_GROUP, "AWSCluster", &cluster.facts.id);
    cluster.vintage.get(&key).is_some_and(|object| {
        !operators::is_paused(object)
            && object["metadata"]["annotations"][keys::TERMINATE_UNHEALTHY] != "false"
    })
}

fn terminate_unready(cluster: &mut Cluster, now: Timestamp) -> bool {
    let acts = terminates_unready(cluster);
    let mut acted = false;
    let vintage: Vec<String> = cluster
        .cloud
        .instances
        .values()
        .filter(|instance| {
            instance.runs()
                && !matches!(
                    instance.role,
                    InstanceRole::ControlPlane(_) | InstanceRole::PoolNode(_)
                )
        })
        .map(|instance| instance.id.clone())
        .collect();
    for id in vintage {
        let node = Key::new("", "Node", "", &cluster.cloud.instances[&id].dns);
        let unready = acts
            && api::realm(cluster)
                .and_then(|realm| realm.get(&node))
                .is_some_and(|node| node["status"]["conditions"][0]["status"] != "True");
        if cluster
            .timers
            .hold("terminator", &id, unready, now, || TERMINATOR)
        {
            cluster.accident(
                now,
                "aws-operator ended a node that was not ready for 18 minutes",
            );
            acted |= ec2::terminate(cluster, &id);
        }
    }
    acted
}
