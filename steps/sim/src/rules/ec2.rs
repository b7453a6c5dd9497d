//! Instances: they start, run, and end.

use std::time::Duration;

use drover_step_api::Timestamp;

use crate::{
    genesis::{security_groups_of, stack_tags},
    state::{Cluster, Instance, InstanceRole, InstanceState, NodeState},
};

/// `Instance::boot` of a machine whose system is up.
pub(crate) const BOOTED: u8 = u8::MAX;

/// How long AWS shows a terminated instance.
const REMEMBERED: Duration = Duration::from_secs(3600);

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let mut acted = false;
    let ids: Vec<String> = cluster.cloud.instances.keys().cloned().collect();
    for id in ids {
        let state = cluster.cloud.instances[&id].state;
        let chance = &cluster.chance;
        let (pending, ending, ended) = (
            state == InstanceState::Pending,
            state == InstanceState::ShuttingDown,
            state == InstanceState::Terminated,
        );
        let timers = &mut cluster.timers;
        if timers.hold("instance-starts", &id, pending, now, || {
            chance.millis(8_000, 16_000, "instance-starts", &id)
        }) {
            set_state(cluster, &id, InstanceState::Running);
            acted = true;
        } else if timers.hold("instance-ends", &id, ending, now, || {
            chance.millis(25_000, 45_000, "instance-ends", &id)
        }) {
            set_state(cluster, &id, InstanceState::Terminated);
            give_address_back(cluster, &id);
            // A classic load balancer drops terminated instances by itself.
            for elb in cluster.cloud.elbs.values_mut() {
                elb.backends.remove(&id);
            }
            acted = true;
        } else if timers.hold("instance-forgotten", &id, ended, now, || REMEMBERED) {
            cluster.cloud.instances.remove(&id);
            acted = true;
        }
    }
    acted
}

fn set_state(cluster: &mut Cluster, id: &str, state: InstanceState) {
    if let Some(instance) = cluster.cloud.instances.get_mut(id) {
        instance.state = state;
    }
}

/// What a new instance is to be.
pub(crate) struct Launch {
    pub(crate) role: InstanceRole,
    pub(crate) zone: String,
    pub(crate) subnet: String,
    pub(crate) security_groups: Vec<String>,
    pub(crate) tags: drover_ports::Tags,
}

/// Starts an instance. `None` when its subnet has no address left.
pub(crate) fn launch(cluster: &mut Cluster, launch: Launch, now: Timestamp) -> Option<String> {
    let address = take_address(cluster, &launch.subnet)?;
    let facts = &cluster.facts;
    cluster.cloud.launches += 1;
    let ordinal = cluster.cloud.launches;
    let id = format!(
        "i-0{}",
        cluster.chance.hex(16, "instance", &ordinal.to_string())
    );
    let instance = Instance {
        dns: format!(
            "ip-{}.{}",
            address.replace('.', "-"),
            facts.partition.compute_domain(&facts.region)
        ),
        id: id.clone(),
        role: launch.role,
        ordinal,
        state: InstanceState::Pending,
        launched: now,
        address,
        zone: launch.zone,
        subnet: launch.subnet,
        security_groups: launch.security_groups,
        tags: launch.tags,
        healthy: true,
        boot: 0,
        kubelet: true,
        node: NodeState::Absent,
        pod_cidr: None,
    };
    cluster.cloud.instances.insert(id.clone(), instance);
    Some(id)
}

/// Starts an instance of an Auto Scaling group.
pub(crate) fn launch_for_group(
    cluster: &mut Cluster,
    group: &str,
    now: Timestamp,
) -> Option<String> {
    let group = cluster.cloud.groups.get(group)?.clone();
    let zone = group
        .zones
        .get(group.instances.len() % group.zones.len().max(1))?
        .clone();
    let subnet = subnet_of(cluster, &group.role, &zone)?;
    let name = match group.role {
        InstanceRole::Master(_) => format!("{}-master", cluster.facts.id),
        _ => format!("{}-worker", cluster.facts.id),
    };
    let stack = group
        .tags
        .get(drover_model::names::TAG_STACK)
        .cloned()
        .unwrap_or_default();
    let mut tags = stack_tags(&cluster.facts, &stack, &name);
    tags.extend(group.tags.clone());
    tags.insert("aws:autoscaling:groupName".to_owned(), group.name.clone());
    let id = launch(
        cluster,
        Launch {
            security_groups: security_groups_of(cluster, &group.role),
            role: group.role.clone(),
            zone,
            subnet,
            tags,
        },
        now,
    )?;
    if let Some(group) = cluster.cloud.groups.get_mut(&group.name) {
        group.instances.insert(id.clone());
    }
    if group.does("AddToLoadBalancer") {
        for name in &group.load_balancers {
            if let Some(elb) = cluster.cloud.elbs.get_mut(name) {
                elb.register(&id);
            }
        }
    }
    Some(id)
}

fn subnet_of(cluster: &Cluster, role: &InstanceRole, zone: &str) -> Option<String> {
    use drover_model::names;
    cluster
        .cloud
        .subnets
        .values()
        .filter(|subnet| subnet.zone == zone)
        .find(|subnet| {
            let tag = |key: &str| subnet.tags.get(key).map(String::as_str);
            match role {
                InstanceRole::Worker(pool) => tag(names::TAG_MACHINE_DEPLOYMENT) == Some(pool),
                // Its group says where.
                InstanceRole::PoolNode(_) => false,
                InstanceRole::Master(_) | InstanceRole::ControlPlane(_) => {
                    tag(names::TAG_STACK) == Some(names::STACK_NETWORK)
                        && tag(names::TAG_CAPA_ROLE) == Some("private")
                }
            }
        })
        .map(|subnet| subnet.id.clone())
}

fn take_address(cluster: &mut Cluster, subnet: &str) -> Option<String> {
    let entry = cluster.cloud.subnets.get_mut(subnet)?;
    if entry.available_ips == 0 {
        return None;
    }
    entry.available_ips -= 1;
    let net: ipnet::Ipv4Net = entry.cidr.parse().ok()?;
    let taken = cluster
        .cloud
        .addresses
        .entry(subnet.to_owned())
        .or_insert(4);
    // Addresses come round again once the subnet has been gone through.
    let size = 1u32 << (32 - net.prefix_len());
    let offset = *taken % size.saturating_sub(1).max(5);
    *taken += 1;
    let number = u32::from(net.network()) + offset.max(4);
    Some(std::net::Ipv4Addr::from(number).to_string())
}

/// Its network interface goes with it, and only then is its address free.
fn give_address_back(cluster: &mut Cluster, id: &str) {
    let subnet = cluster.cloud.instances[id].subnet.clone();
    if let Some(subnet) = cluster.cloud.subnets.get_mut(&subnet) {
        subnet.available_ips += 1;
    }
}

/// Ends an instance: its processes die at once and ungracefully.
pub(crate) fn terminate(cluster: &mut Cluster, id: &str) -> bool {
    let Some(instance) = cluster.cloud.instances.get_mut(id) else {
        return false;
    };
    if !instance.lives() {
        return false;
    }
    instance.state = InstanceState::ShuttingDown;
    cluster.hosts.remove(id);
    true
}
