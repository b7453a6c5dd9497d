//! What deletion takes with it, on both sides.
//!
//! A vintage `Cluster` that goes takes its children along, and with them the CloudFormation stacks, and with those the VPC
//! in which everything lives. A Cluster API `Cluster` that goes takes its machines, CAPA's load balancer, the VPC if CAPA
//! calls it its own, and the load balancers of the customer's Services if it was told to collect them.

use std::time::Duration;

use drover_model::{cr::keys, names, target::EXTERNAL_RESOURCE_GC};
use drover_step_api::Timestamp;
use serde_json::{Value, json};

use super::{capa, capi, ec2, operators};
use crate::{objects::Key, state::Cluster};

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    if cluster.demolished {
        return false;
    }
    let going: Vec<(Key, Value)> = cluster
        .vintage
        .iter()
        .filter(|(_, object)| object.value["metadata"].get("deletionTimestamp").is_some())
        .map(|(key, object)| (key.clone(), object.value.clone()))
        .collect();
    let mut acted = false;
    for (key, object) in going {
        let of = format!("{}/{}", key.kind, key.name);
        let handled = !operators::is_paused(&object);
        if cluster
            .timers
            .hold("operator-deletes", &of, handled, now, || {
                Duration::from_secs(30)
            })
        {
            acted |= delete_vintage(cluster, &key, now);
        }
    }
    acted
}

fn delete_vintage(cluster: &mut Cluster, key: &Key, now: Timestamp) -> bool {
    let children: Vec<Key> = match key.kind.as_str() {
        "Cluster" => kinds(
            cluster,
            &["G8sControlPlane", "MachineDeployment", "AWSCluster"],
        ),
        "G8sControlPlane" => kinds(cluster, &["AWSControlPlane"]),
        "MachineDeployment" => {
            vec![cluster.key(keys::VINTAGE_GROUP, "AWSMachineDeployment", &key.name)]
        }
        "AWSCluster" => {
            demolish(
                cluster,
                now,
                "aws-operator deleted the cluster's stacks, the VPC among them",
            );
            Vec::new()
        }
        _ => Vec::new(),
    };
    for child in children {
        cluster.vintage.delete(&child, now);
    }
    cluster
        .vintage
        .edit(key, |object| object["metadata"]["finalizers"] = json!([]));
    true
}

fn kinds(cluster: &Cluster, kinds: &[&str]) -> Vec<Key> {
    kinds
        .iter()
        .flat_map(|kind| cluster.vintage.of_kind(kind))
        .map(|(key, _)| key.clone())
        .collect()
}

/// Everything in the VPC is gone.
pub(super) fn demolish(cluster: &mut Cluster, now: Timestamp, why: &str) {
    cluster.accident(now, why);
    let ids: Vec<String> = cluster.cloud.instances.keys().cloned().collect();
    for id in ids {
        ec2::terminate(cluster, &id);
    }
    let cloud = &mut cluster.cloud;
    cloud.vpc = None;
    cloud.subnets.clear();
    cloud.route_tables.clear();
    cloud.security_groups.clear();
    cloud.elbs.clear();
    cloud.groups.clear();
    cloud.stacks.clear();
    cloud.stack_details.clear();
    cloud.zones.clear();
    cluster.demolished = true;
}

pub(super) fn run_capi(cluster: &mut Cluster, now: Timestamp) -> bool {
    let key = capi::cluster_key(cluster);
    let Some(object) = cluster.capi.get(&key).cloned() else {
        return false;
    };
    let going = object["metadata"].get("deletionTimestamp").is_some();
    if !going || capi::is_paused(cluster, &object) {
        return false;
    }
    let delay = || Duration::from_secs(5);
    if !cluster.timers.hold("capi-deletes", "", true, now, delay) {
        return false;
    }
    // Control plane first, then machines, then infrastructure: each waits for the one before.
    let control_plane = capi::control_plane_key(cluster);
    if cluster.capi.contains(&control_plane) {
        cluster.capi.delete(&control_plane, now);
        let machines = capi::machines(cluster);
        if machines.is_empty() {
            cluster.capi.edit(&control_plane, |object| {
                object["metadata"]["finalizers"] = json!([])
            });
        }
        for machine in machines {
            delete_machine(cluster, &machine, now);
        }
        return true;
    }
    let aws_cluster = capi::aws_cluster_key(cluster);
    if let Some(object) = cluster.capi.get(&aws_cluster).cloned() {
        cluster.capi.delete(&aws_cluster, now);
        delete_infrastructure(cluster, &object, now);
        cluster.capi.edit(&aws_cluster, |object| {
            object["metadata"]["finalizers"] = json!([])
        });
        return true;
    }
    cluster
        .capi
        .edit(&key, |object| object["metadata"]["finalizers"] = json!([]))
}

/// With the whole control plane nobody cares for its etcd.
fn delete_machine(cluster: &mut Cluster, machine: &str, now: Timestamp) {
    let key = cluster.key(keys::CAPI_GROUP, "Machine", machine);
    cluster.capi.edit(&key, |machine| {
        if let Value::Object(annotations) = &mut machine["metadata"]["annotations"] {
            annotations.shift_remove(capi::PRE_TERMINATE);
        }
    });
    cluster.capi.delete(&key, now);
}

fn delete_infrastructure(cluster: &mut Cluster, object: &Value, now: Timestamp) {
    let id = cluster.facts.id.clone();
    if object["metadata"]["annotations"][EXTERNAL_RESOURCE_GC] == "true" {
        cluster.accident(
            now,
            "CAPA collected the load balancers of the customer's Services",
        );
        cluster
            .cloud
            .elbs
            .retain(|_, elb| !elb.tags.contains_key("kubernetes.io/service-name"));
    }
    if capa::owns_vpc(cluster) {
        demolish(
            cluster,
            now,
            "CAPA took the VPC for its own and deleted it with the cluster",
        );
        return;
    }
    cluster.cloud.elbs.remove(&names::capa_load_balancer(&id));
    let own = names::tag_capa_cluster(&id);
    cluster
        .cloud
        .security_groups
        .retain(|_, group| !group.tags.contains_key(&own));
}
