//! The AWS provider: load balancer and groups for a cluster, an instance for a machine with bootstrap data.
//!
//! What it thinks of the VPC is decided by tags alone: a VPC with its ownership tag is its own, and then it puts the
//! routes to its liking, and deletes the VPC with the cluster.

use std::collections::{BTreeMap, BTreeSet};

use drover_model::{names, target::api};
use drover_ports::{SecurityGroup, Tags};
use drover_step_api::Timestamp;
use serde_json::{Value, json};

use super::{
    capi,
    ec2::{self, Launch},
    elb,
};
use crate::{
    genesis::elb_dns_name,
    objects::Key,
    state::{Cluster, Elb, InstanceRole, InstanceState},
};

/// Finalizer on the AWSCluster.
pub(crate) const FINALIZER_CLUSTER: &str = "awscluster.infrastructure.cluster.x-k8s.io";
/// Finalizer on an AWSMachine.
pub(crate) const FINALIZER_MACHINE: &str = "awsmachine.infrastructure.cluster.x-k8s.io";

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let mut acted = reconcile_cluster(cluster, now);
    let machines: Vec<(Key, Value)> = cluster
        .capi
        .of_kind("AWSMachine")
        .map(|(key, machine)| (key.clone(), machine.clone()))
        .collect();
    for (key, machine) in machines {
        if !capi::is_paused(cluster, &machine) {
            acted |= reconcile_machine(cluster, &key, &machine, now);
        }
    }
    acted
}

/// True when the VPC bears the tag with which CAPA calls it its own.
pub(super) fn owns_vpc(cluster: &Cluster) -> bool {
    let tag = names::tag_capa_cluster(&cluster.facts.id);
    cluster
        .cloud
        .vpc
        .as_ref()
        .is_some_and(|vpc| vpc.tags.get(&tag).map(String::as_str) == Some("owned"))
}

fn reconcile_cluster(cluster: &mut Cluster, now: Timestamp) -> bool {
    let key = capi::aws_cluster_key(cluster);
    let Some(object) = cluster.capi.get(&key).cloned() else {
        return false;
    };
    let going = object["metadata"].get("deletionTimestamp").is_some();
    let due = !going
        && !capi::is_paused(cluster, &object)
        && object["status"]["ready"] != true
        && has_identity(cluster, &object)
        && object["spec"]["network"]["vpc"]["id"].as_str()
            == cluster.cloud.vpc.as_ref().map(|vpc| vpc.id.as_str());
    let chance = &cluster.chance;
    if !cluster.timers.hold("capa-cluster", "", due, now, || {
        chance.millis(15_000, 35_000, "capa-cluster", "")
    }) {
        return false;
    }
    if owns_vpc(cluster) {
        rewrite_routes(cluster, now);
    }
    let asks = object["spec"]["controlPlaneLoadBalancer"]["healthCheckProtocol"] == "HTTPS";
    let host = make_load_balancer(cluster, asks);
    make_groups(cluster);
    cluster.capi.edit(&key, |object| {
        object["metadata"]["finalizers"] = json!([FINALIZER_CLUSTER]);
        object["spec"]["controlPlaneEndpoint"] = json!({"host": host, "port": 443});
        object["status"]["ready"] = json!(true);
        object["status"]["conditions"] = json!([
            {"type": "Ready", "status": "True"},
            {"type": "LoadBalancerReady", "status": "True"},
        ]);
    });
    true
}

fn has_identity(cluster: &Cluster, object: &Value) -> bool {
    let name = object["spec"]["identityRef"]["name"]
        .as_str()
        .unwrap_or_default();
    let key = Key::new(
        "infrastructure.cluster.x-k8s.io",
        "AWSClusterRoleIdentity",
        "",
        name,
    );
    cluster.cloud.capa_role_trusted
        && cluster.capi.get(&key).is_some_and(|identity| {
            identity["spec"]["roleARN"] == cluster.facts.capa_role_arn.as_str()
        })
}

fn rewrite_routes(cluster: &mut Cluster, now: Timestamp) {
    let foreign = |target: &str| {
        target.starts_with("pcx-") || target.starts_with("tgw-") || target.starts_with("vgw-")
    };
    let mut lost = false;
    for table in cluster.cloud.route_tables.values_mut() {
        let before = table.routes.len();
        table.routes.retain(|route| !foreign(&route.target));
        lost |= table.routes.len() != before;
    }
    if lost {
        cluster.accident(
            now,
            "CAPA took the VPC for its own and removed routes that others had made",
        );
    }
}

fn make_load_balancer(cluster: &mut Cluster, asks: bool) -> String {
    let name = names::capa_load_balancer(&cluster.facts.id);
    if let Some(elb) = cluster.cloud.elbs.get(&name) {
        return elb.dns_name.clone();
    }
    let zones: BTreeSet<String> = cluster
        .cloud
        .subnets
        .values()
        .filter(|subnet| {
            subnet.tags.get(names::TAG_STACK).map(String::as_str) == Some(names::STACK_NETWORK)
        })
        .map(|subnet| subnet.zone.clone())
        .collect();
    let dns_name = elb_dns_name(&cluster.facts, &cluster.chance, &name);
    let elb = Elb {
        name: name.clone(),
        dns_name: dns_name.clone(),
        scheme: "internet-facing",
        zones,
        health_check: if asks {
            elb::CAPA_ASKS
        } else {
            elb::CAPA_CONNECTS
        },
        timing: (5, 2, 6),
        backends: BTreeMap::new(),
        connection_draining: None,
        tags: own_tags(cluster, "apiserver"),
    };
    cluster.cloud.elbs.insert(name, elb);
    dns_name
}

/// Suffixes of its security groups.
pub(crate) const GROUPS: [&str; 4] = ["apiserver-lb", "lb", "controlplane", "node"];

fn make_groups(cluster: &mut Cluster) {
    for suffix in GROUPS {
        let name = format!("{}-{suffix}", cluster.facts.id);
        let id = format!("sg-0{}", cluster.chance.hex(16, "security-group", suffix));
        let group = SecurityGroup {
            id: id.clone(),
            name,
            tags: own_tags(cluster, suffix),
        };
        cluster.cloud.security_groups.insert(id, group);
    }
}

fn own_tags(cluster: &Cluster, role: &str) -> Tags {
    let id = &cluster.facts.id;
    [
        (names::tag_capa_cluster(id), "owned".to_owned()),
        (names::TAG_CAPA_ROLE.to_owned(), role.to_owned()),
        (format!("kubernetes.io/cluster/{id}"), "owned".to_owned()),
    ]
    .into()
}

fn reconcile_machine(cluster: &mut Cluster, key: &Key, machine: &Value, now: Timestamp) -> bool {
    if machine["metadata"].get("deletionTimestamp").is_some() {
        return finish_machine(cluster, key, machine);
    }
    let name = &key.name;
    let due = machine["spec"]["providerID"].is_null()
        && cluster.bootstraps.contains_key(name)
        && keeps_bootstrap_data(cluster, machine);
    let chance = &cluster.chance;
    if cluster.timers.hold("capa-machine", name, due, now, || {
        chance.millis(6_000, 12_000, "capa-machine", name)
    }) {
        return start(cluster, key, machine, now);
    }
    if capi::is_going(cluster, name) {
        return deregister(cluster, machine, now);
    }
    register(cluster, key, machine)
}

/// Ignition goes into the cluster's bucket, unless the machine says otherwise: without one CAPA starts nothing (upstream
/// `controllers/awsmachine_controller.go`, "ignitionUserData").
fn keeps_bootstrap_data(cluster: &Cluster, machine: &Value) -> bool {
    if machine["spec"]["ignition"]["storageType"] == "UnencryptedUserData" {
        return true;
    }
    let found = cluster.capi.get(&capi::aws_cluster_key(cluster));
    found.is_some_and(|found| found["spec"]["s3Bucket"]["name"].is_string())
}

fn start(cluster: &mut Cluster, key: &Key, machine: &Value, now: Timestamp) -> bool {
    let zone = capi::machine(cluster, &key.name)
        .and_then(|machine| machine["spec"]["failureDomain"].as_str())
        .unwrap_or_default()
        .to_owned();
    let Some(subnet) = pick_subnet(cluster, &machine["spec"]["subnet"], &zone) else {
        return false;
    };
    let additional = machine["spec"]["additionalSecurityGroups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|group| Some(group["id"].as_str()?.to_owned()));
    let own = cluster
        .cloud
        .security_groups
        .values()
        .filter(|group| {
            ["node", "lb", "controlplane"]
                .iter()
                .any(|suffix| group.name == format!("{}-{suffix}", cluster.facts.id))
        })
        .map(|group| group.id.clone());
    let security_groups = own.chain(additional).collect();
    let mut tags = own_tags(cluster, "control-plane");
    tags.insert("Name".to_owned(), key.name.clone());
    let launch = Launch {
        role: InstanceRole::ControlPlane(key.name.clone()),
        zone: zone.clone(),
        subnet,
        security_groups,
        tags,
    };
    let Some(id) = ec2::launch(cluster, launch, now) else {
        return false;
    };
    cluster.capi.edit(key, |machine| {
        machine["metadata"]["finalizers"] = json!([FINALIZER_MACHINE]);
        machine["spec"]["providerID"] = json!(format!("aws:///{zone}/{id}"));
        machine["status"]["instanceState"] = json!("pending");
    });
    true
}

/// The first subnet that every filter takes.
fn pick_subnet(cluster: &Cluster, wanted: &Value, zone: &str) -> Option<String> {
    let filters = wanted["filters"].as_array().cloned().unwrap_or_default();
    cluster
        .cloud
        .subnets
        .values()
        .filter(|subnet| zone.is_empty() || subnet.zone == zone)
        .filter(|subnet| subnet.available_ips > 0)
        .find(|subnet| {
            filters.iter().all(|filter| {
                let values = filter["values"].as_array().cloned().unwrap_or_default();
                let name = filter["name"].as_str().unwrap_or_default();
                let actual = match name.strip_prefix("tag:") {
                    Some(tag) => subnet.tags.get(tag).cloned(),
                    None => cluster.cloud.vpc.as_ref().map(|vpc| vpc.id.clone()),
                };
                actual.is_some_and(|actual| values.iter().any(|value| *value == actual.as_str()))
            })
        })
        .map(|subnet| subnet.id.clone())
}

/// Puts a running instance behind the load balancer, and says so.
fn register(cluster: &mut Cluster, key: &Key, machine: &Value) -> bool {
    let Some(id) = capi::instance_of(&machine["spec"]["providerID"]) else {
        return false;
    };
    let state = cluster
        .cloud
        .instances
        .get(id)
        .map(|instance| instance.state);
    let word = state.map_or("terminated", InstanceState::word);
    if machine["status"]["instanceState"] == word {
        return false;
    }
    if state == Some(InstanceState::Running) {
        let name = names::capa_load_balancer(&cluster.facts.id);
        if let Some(elb) = cluster.cloud.elbs.get_mut(&name) {
            elb.register(id);
        }
    }
    cluster.capi.edit(key, |machine| {
        machine["status"]["instanceState"] = json!(word);
        machine["status"]["ready"] = json!(word == "running");
    })
}

/// Takes the instance of a Machine that is being deleted off the load balancer, while it is drained still: before its API
/// loses etcd (upstream `controllers/awsmachine_controller.go`, `reconcileLBAttachment`). CAPA makes one that does not drain.
fn deregister(cluster: &mut Cluster, machine: &Value, now: Timestamp) -> bool {
    let name = names::capa_load_balancer(&cluster.facts.id);
    let id = capi::instance_of(&machine["spec"]["providerID"]);
    let Some((id, elb)) = id.zip(cluster.cloud.elbs.get_mut(&name)) else {
        return false;
    };
    let cut = elb.cut_by_losing(id);
    let removed = elb.backends.remove(id).is_some();
    if let Some(why) = cut {
        cluster.accident(now, why);
    }
    removed
}

/// A machine that is being deleted: its instance ends, then the object goes.
fn finish_machine(cluster: &mut Cluster, key: &Key, machine: &Value) -> bool {
    let id = capi::instance_of(&machine["spec"]["providerID"]).map(str::to_owned);
    let state = id
        .as_ref()
        .and_then(|id| cluster.cloud.instances.get(id))
        .map(|instance| instance.state);
    match (id, state) {
        (Some(id), Some(InstanceState::Pending | InstanceState::Running)) => {
            let name = names::capa_load_balancer(&cluster.facts.id);
            if let Some(elb) = cluster.cloud.elbs.get_mut(&name) {
                elb.backends.remove(&id);
            }
            ec2::terminate(cluster, &id)
        }
        (_, Some(InstanceState::ShuttingDown)) => false,
        (_, None | Some(InstanceState::Terminated)) | (None, Some(_)) => cluster
            .capi
            .edit(key, |machine| machine["metadata"]["finalizers"] = json!([])),
    }
}

/// API version of its kinds.
pub(super) const API: &str = api::INFRASTRUCTURE;
