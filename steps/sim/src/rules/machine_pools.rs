//! Node pools of Cluster API: CAPA makes an Auto Scaling group of a MachinePool, and keeps its bounds; the group starts
//! instances where a subnet has addresses; they join like any kubeadm node.
//!
//! The MachinePools say that somebody else counts their replicas, so CAPA reads the number from the group and never sets it.
//! A lower bound above it raises it, as Auto Scaling does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use drover_model::{cr::keys, names};
use drover_ports::Tags;
use drover_step_api::Timestamp;
use serde_json::{Value, json};

use super::{
    api, capi,
    ec2::{self, Launch},
    nodes,
};
use crate::{
    objects::Key,
    state::{Cluster, Group, InstanceRole, NodeState, Status},
};

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let pools: Vec<(Key, Value)> = cluster
        .capi
        .of_kind("AWSMachinePool")
        .map(|(key, pool)| (key.clone(), pool.clone()))
        .collect();
    let mut acted = false;
    for (key, pool) in pools {
        if !capi::is_paused(cluster, &pool) {
            acted |= reconcile(cluster, &key, &pool, now);
        }
    }
    acted
}

fn reconcile(cluster: &mut Cluster, key: &Key, pool: &Value, now: Timestamp) -> bool {
    let machine_pool = cluster.key(keys::CAPI_GROUP, "MachinePool", &key.name);
    let ready = cluster
        .capi
        .get(&machine_pool)
        .is_some_and(|found| has_bootstrap_data(cluster, found))
        && capi::infrastructure_ready(cluster);
    let bounds = (
        number(&pool["spec"]["minSize"]),
        number(&pool["spec"]["maxSize"]),
    );
    let known = cluster.cloud.groups.get(&key.name);
    let differs = known.is_none_or(|group| (group.min, group.max) != bounds);
    let chance = &cluster.chance;
    if cluster
        .timers
        .hold("capa-pool", &key.name, ready && differs, now, || {
            chance.millis(5_000, 12_000, "capa-pool", &key.name)
        })
    {
        keep_group(cluster, key, pool, bounds);
        return true;
    }
    report(cluster, key, &machine_pool)
}

fn number(value: &Value) -> u32 {
    value
        .as_u64()
        .and_then(|n| u32::try_from(n).ok())
        .unwrap_or(0)
}

fn has_bootstrap_data(cluster: &Cluster, machine_pool: &Value) -> bool {
    let config = &machine_pool["spec"]["template"]["spec"]["bootstrap"]["configRef"]["name"];
    config
        .as_str()
        .is_some_and(|config| cluster.bootstraps.contains_key(config))
}

fn keep_group(cluster: &mut Cluster, key: &Key, pool: &Value, (min, max): (u32, u32)) {
    let id = &cluster.facts.id;
    if let Some(group) = cluster.cloud.groups.get_mut(&key.name) {
        (group.min, group.max) = (min, max);
        group.desired = group.desired.clamp(min, max);
        return;
    }
    let texts = |value: &Value, field: Option<&str>| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items
            .filter_map(|item| field.map_or(item, |field| &item[field]).as_str())
            .map(str::to_owned)
            .collect()
    };
    let vintage = key
        .name
        .strip_prefix(&format!("{id}-"))
        .unwrap_or(&key.name);
    let group = Group {
        name: key.name.clone(),
        role: InstanceRole::PoolNode(vintage.to_owned()),
        min,
        desired: min,
        max,
        zones: texts(&pool["spec"]["availabilityZones"], None),
        instances: BTreeSet::new(),
        suspended: BTreeSet::new(),
        hooks: Vec::new(),
        ending: BTreeMap::new(),
        subnets: texts(&pool["spec"]["subnets"], Some("id")),
        load_balancers: Vec::new(),
        tags: tags(id, &key.name),
    };
    cluster.cloud.groups.insert(key.name.clone(), group);
}

fn tags(id: &str, name: &str) -> Tags {
    [
        (names::tag_capa_cluster(id), "owned".to_owned()),
        (names::TAG_CAPA_ROLE.to_owned(), "node".to_owned()),
        (format!("kubernetes.io/cluster/{id}"), "owned".to_owned()),
        ("Name".to_owned(), name.to_owned()),
    ]
    .into()
}

/// What the objects say of the group.
fn report(cluster: &mut Cluster, key: &Key, machine_pool: &Key) -> bool {
    let Some(group) = cluster.cloud.groups.get(&key.name) else {
        return false;
    };
    let desired = group.desired;
    let nodes = group
        .instances
        .iter()
        .filter_map(|id| cluster.cloud.instances.get(id))
        .filter(|instance| instance.node == NodeState::Ready)
        .count();
    let known = cluster.capi.get(machine_pool);
    let same = known.is_some_and(|known| {
        known["spec"]["replicas"] == desired && known["status"]["readyReplicas"] == nodes
    });
    if same {
        return false;
    }
    cluster
        .capi
        .edit(key, |pool| pool["status"]["ready"] = json!(true));
    cluster.capi.edit(machine_pool, |pool| {
        pool["spec"]["replicas"] = json!(desired);
        pool["status"]["replicas"] = json!(desired);
        pool["status"]["readyReplicas"] = json!(nodes);
    })
}

/// The group starts an instance: in the zone with the fewest, of those whose subnet has an address left.
pub(super) fn launch(cluster: &mut Cluster, group: &str, now: Timestamp) -> Option<String> {
    let group = cluster.cloud.groups.get(group)?.clone();
    let in_subnet = |subnet: &str| {
        let instances = group.instances.iter();
        instances
            .filter_map(|id| cluster.cloud.instances.get(id))
            .filter(|instance| instance.subnet == subnet)
            .count()
    };
    let (subnet, zone) = group
        .subnets
        .iter()
        .filter_map(|id| cluster.cloud.subnets.get(id))
        .filter(|subnet| subnet.available_ips > 0)
        .min_by_key(|subnet| (in_subnet(&subnet.id), subnet.zone.clone()))
        .map(|subnet| (subnet.id.clone(), subnet.zone.clone()))?;
    let mut tags = group.tags.clone();
    tags.insert("aws:autoscaling:groupName".to_owned(), group.name.clone());
    let launch = Launch {
        role: group.role.clone(),
        zone,
        subnet,
        security_groups: Vec::new(),
        tags,
    };
    let id = ec2::launch(cluster, launch, now)?;
    if let Some(group) = cluster.cloud.groups.get_mut(&group.name) {
        group.instances.insert(id.clone());
    }
    let lost = &mut cluster.faults.lost_pool_nodes;
    if *lost > 0 {
        *lost -= 1;
        if let Some(instance) = cluster.cloud.instances.get_mut(&id) {
            instance.kubelet = false;
        }
    }
    Some(id)
}

/// A node of a pool joins: somebody has to sign its kubelet's certificate.
pub(super) fn boot(cluster: &mut Cluster, id: &str, now: Timestamp) -> Option<u8> {
    let ready = cluster.cloud.instances[id].kubelet
        && api::through_new_name(cluster) == Status::Ok
        && nodes::signer_leads(cluster);
    let chance = &cluster.chance;
    let (from, to) = if cluster.faults.slow_boot {
        (200_000, 300_000)
    } else {
        (60_000, 100_000)
    };
    if !cluster.timers.hold("boot-pool-node", id, ready, now, || {
        chance.millis(from, to, "boot-pool-node", id)
    }) {
        return None;
    }
    nodes::register(cluster, id, now);
    Some(ec2::BOOTED)
}

/// From one instance of a group to the next.
pub(super) const BETWEEN_LAUNCHES: Duration = Duration::from_secs(8);
