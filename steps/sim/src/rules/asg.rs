//! Auto Scaling groups replace what is gone or unhealthy, unless the process that does it is suspended.
//!
//! A master that comes back so is a vintage master in full: the old network interface and the old etcd volume are
//! attached to it, all manifests are in place, and its controller manager competes for the lease.

use std::time::Duration;

use drover_step_api::Timestamp;

use super::{apps, ec2, machine_pools};
use crate::state::{Cluster, Held, InstanceRole, InstanceState};

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let mut acted = false;
    let names: Vec<String> = cluster.cloud.groups.keys().cloned().collect();
    for name in names {
        acted |= finish_ends(cluster, &name, now);
        acted |= notice_the_dead(cluster, &name, now);
        acted |= replace_the_unhealthy(cluster, &name, now);
        acted |= launch(cluster, &name, now);
    }
    acted
}

/// A hook's own patience.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(3600);

/// Instances that the group itself ends leave it when they have ended.
fn finish_ends(cluster: &mut Cluster, name: &str, now: Timestamp) -> bool {
    let mut acted = false;
    for (id, held) in cluster.cloud.groups[name].ending.clone() {
        let waits = held == Held::Up;
        if cluster
            .timers
            .hold("hook-runs-out", &id, waits, now, || HEARTBEAT_TIMEOUT)
        {
            let_end(cluster, name, &id);
            acted = true;
        }
        let instance = cluster.cloud.instances.get(&id);
        let ended = instance.is_none_or(|instance| instance.state == InstanceState::Terminated);
        if let (true, Some(group)) = (ended, cluster.cloud.groups.get_mut(name)) {
            group.instances.remove(&id);
            group.ending.remove(&id);
            acted = true;
        }
    }
    acted
}

/// No hook holds up an instance's end any more.
pub(crate) fn let_end(cluster: &mut Cluster, group: &str, id: &str) {
    if let Some(group) = cluster.cloud.groups.get_mut(group) {
        group.ending.insert(id.to_owned(), Held::NoMore);
    }
    ec2::terminate(cluster, id);
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
            apps::notice_undrained(cluster, &id, now);
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
    if let InstanceRole::PoolNode(_) = group.role {
        // One of a MachinePool: nothing that nobody wants.
        let due = cluster
            .timers
            .hold("asg-launches", name, missing && acts, now, || {
                machine_pools::BETWEEN_LAUNCHES
            });
        return due && machine_pools::launch(cluster, name, now).is_some();
    }
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
