//! Auto Scaling groups replace what is gone or unhealthy, unless the process that does it is suspended.
//!
//! A master that comes back so is a vintage master in full: the old network interface and the old etcd volume are
//! attached to it, all manifests are in place, and its controller manager competes for the lease.

use drover_step_api::Timestamp;

use super::ec2;
use crate::state::{Cluster, InstanceState};

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let mut acted = false;
    let names: Vec<String> = cluster.cloud.groups.keys().cloned().collect();
    for name in names {
        acted |= notice_the_dead(cluster, &name, now);
        acted |= replace_the_unhealthy(cluster, &name, now);
        acted |= launch(cluster, &name, now);
    }
    acted
}

fn notice_the_dead(cluster: &mut Cluster, name: &str, now: Timestamp) -> bool {
    let group = &cluster.cloud.groups[name];
    let watches = group.does("HealthCheck");
    let mut acted = false;
    for id in group.instances.clone() {
        let dead = cluster
            .cloud
            .instances
            .get(&id)
            .is_none_or(|instance| !instance.lives());
        let chance = &cluster.chance;
        if cluster
            .timers
            .hold("asg-notices", &id, dead && watches, now, || {
                chance.millis(30_000, 75_000, "asg-notices", &id)
            })
        {
            if let Some(group) = cluster.cloud.groups.get_mut(name) {
                group.instances.remove(&id);
            }
            acted = true;
        }
    }
    acted
}

fn replace_the_unhealthy(cluster: &mut Cluster, name: &str, now: Timestamp) -> bool {
    let group = &cluster.cloud.groups[name];
    let acts =
        group.does("HealthCheck") && group.does("ReplaceUnhealthy") && group.does("Terminate");
    let mut acted = false;
    for id in group.instances.clone() {
        let unhealthy = cluster
            .cloud
            .instances
            .get(&id)
            .is_some_and(|instance| instance.lives() && !instance.healthy);
        let chance = &cluster.chance;
        if cluster
            .timers
            .hold("asg-replaces", &id, unhealthy && acts, now, || {
                chance.millis(20_000, 60_000, "asg-replaces", &id)
            })
        {
            let what = format!(
                "the Auto Scaling group ended {}, which was marked unhealthy",
                role(cluster, &id)
            );
            cluster.accident(now, what);
            ec2::terminate(cluster, &id);
            acted = true;
        }
    }
    acted
}

fn role(cluster: &Cluster, id: &str) -> String {
    crate::normalized::role_name(cluster, id).unwrap_or_else(|| id.to_owned())
}

fn launch(cluster: &mut Cluster, name: &str, now: Timestamp) -> bool {
    let group = &cluster.cloud.groups[name];
    let missing = (group.instances.len() as u64) < u64::from(group.desired);
    let acts = group.does("Launch");
    let chance = &cluster.chance;
    if !cluster
        .timers
        .hold("asg-launches", name, missing && acts, now, || {
            chance.millis(10_000, 30_000, "asg-launches", name)
        })
    {
        return false;
    }
    match ec2::launch_for_group(cluster, name, now) {
        Some(id) => {
            let what = format!(
                "the Auto Scaling group started a new {}",
                role(cluster, &id)
            );
            cluster.accident(now, what);
            true
        }
        None => false,
    }
}

/// Marks an instance unhealthy, as `SetInstanceHealth` does.
pub(super) fn condemn(cluster: &mut Cluster, id: &str) -> bool {
    match cluster.cloud.instances.get_mut(id) {
        Some(instance) if instance.healthy && instance.state == InstanceState::Running => {
            instance.healthy = false;
            true
        }
        _ => false,
    }
}
