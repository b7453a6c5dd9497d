//! Cluster API's core: the Cluster takes over what its infrastructure says, Machines find their Nodes, and a Machine that is
//! deleted takes its instance along, once its Node is drained and nobody holds that up.

use std::time::Duration;

use drover_model::{cr::keys, target::api};
use drover_step_api::Timestamp;
use serde_json::{Value, json};

use super::{api as api_rules, apps, budgets, nodes};
use crate::{
    objects::Key,
    state::{Cluster, NodeState, Status, VINTAGE_REALM},
};

/// Key of the Cluster.
pub(crate) fn cluster_key(cluster: &Cluster) -> Key {
    cluster.key(keys::CAPI_GROUP, "Cluster", &cluster.facts.id)
}

/// Key of the KubeadmControlPlane.
pub(crate) fn control_plane_key(cluster: &Cluster) -> Key {
    cluster.key(
        "controlplane.cluster.x-k8s.io",
        "KubeadmControlPlane",
        &cluster.facts.id,
    )
}

/// Key of the AWSCluster.
pub(crate) fn aws_cluster_key(cluster: &Cluster) -> Key {
    cluster.key(
        keys::CAPI_INFRASTRUCTURE_GROUP,
        "AWSCluster",
        &cluster.facts.id,
    )
}

/// True when controllers leave this object alone: because of itself, or because its Cluster is paused.
pub(super) fn is_paused(cluster: &Cluster, object: &Value) -> bool {
    let owner = cluster.capi.get(&cluster_key(cluster));
    let annotated = |object: &Value| {
        object["metadata"]["annotations"]
            .get(keys::PAUSED)
            .is_some()
    };
    owner.is_none_or(|owner| owner["spec"]["paused"] == true || annotated(owner))
        || annotated(object)
}

/// True once the Cluster's infrastructure is ready.
pub(super) fn infrastructure_ready(cluster: &Cluster) -> bool {
    cluster
        .capi
        .get(&cluster_key(cluster))
        .is_some_and(|object| object["status"]["infrastructureReady"] == true)
}

/// A Machine by name.
pub(crate) fn machine<'c>(cluster: &'c Cluster, name: &str) -> Option<&'c Value> {
    cluster
        .capi
        .get(&cluster.key(keys::CAPI_GROUP, "Machine", name))
}

/// Names of the control plane's Machines, oldest first.
pub(crate) fn machines(cluster: &Cluster) -> Vec<String> {
    let mut machines: Vec<(u64, String)> = cluster
        .capi
        .of_kind("Machine")
        .map(|(key, machine)| (ordinal(machine), key.name.clone()))
        .collect();
    machines.sort();
    machines.into_iter().map(|(_, name)| name).collect()
}

/// Machines are told apart by the order in which they were made, which their uid carries.
fn ordinal(machine: &Value) -> u64 {
    machine["metadata"]["uid"]
        .as_str()
        .and_then(|uid| uid.rsplit_once('-')?.1.parse().ok())
        .unwrap_or(0)
}

/// The Node that a Machine was matched with.
pub(crate) fn node_of<'c>(cluster: &'c Cluster, machine: &str) -> Option<&'c str> {
    self::machine(cluster, machine)?["status"]["nodeRef"]["name"].as_str()
}

/// Finalizer on a Machine.
pub(super) const FINALIZER_MACHINE: &str = "machine.cluster.x-k8s.io";

/// Annotation by which the control plane's controller holds up the end of a Machine until it has taken the etcd member
/// away. Paused, it never does.
pub(super) const PRE_TERMINATE: &str =
    "pre-terminate.delete.hook.machine.cluster.x-k8s.io/kcp-cleanup";

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let Some(object) = cluster.capi.get(&cluster_key(cluster)).cloned() else {
        return false;
    };
    if is_paused(cluster, &object) {
        return false;
    }
    let acted = drain_machines(cluster, now) | end_machines(cluster, now);
    if object["metadata"].get("deletionTimestamp").is_some() {
        return acted;
    }
    acted | take_over(cluster, &object) | match_nodes(cluster, now)
}

/// Whether the Node of a Machine that is being deleted is drained first, and deleted in the end: not with the whole cluster,
/// and not when it is the control plane's last one.
fn drains(cluster: &Cluster, name: &str) -> bool {
    is_going(cluster, name)
        && node_of(cluster, name).is_some()
        && cluster
            .capi
            .get(&cluster_key(cluster))
            .is_some_and(|owner| owner["metadata"].get("deletionTimestamp").is_none())
        && machines(cluster)
            .iter()
            .any(|other| !is_going(cluster, other))
}

/// Whether a Machine is being deleted.
pub(super) fn is_going(cluster: &Cluster, name: &str) -> bool {
    machine(cluster, name)
        .is_some_and(|machine| machine["metadata"].get("deletionTimestamp").is_some())
}

/// Whether nothing of customers is left on the Node of a Machine that is being deleted. For one that nobody hears of nobody
/// waits.
pub(super) fn is_drained(cluster: &Cluster, name: &str) -> bool {
    let Some(node) = node_of(cluster, name).filter(|_| drains(cluster, name)) else {
        return true;
    };
    let mut instances = cluster.cloud.instances.values();
    let is_heard =
        instances.any(|instance| instance.dns == node && instance.node == NodeState::Ready);
    !is_heard || apps::has_left(cluster, node)
}

/// Nodes of Machines that are being deleted: cordoned, and whoever is there is asked to go, as budgets allow; whoever may not
/// is asked again after twenty seconds.
fn drain_machines(cluster: &mut Cluster, now: Timestamp) -> bool {
    let mut acted = false;
    for name in machines(cluster) {
        let draining = !is_drained(cluster, &name);
        let node = node_of(cluster, &name).filter(|_| draining);
        let Some(node) = node.map(str::to_owned) else {
            continue;
        };
        let key = nodes::key(&node);
        let realm = cluster.realms.get(VINTAGE_REALM);
        let is_cordoned = realm
            .and_then(|realm| realm.get(&key))
            .is_some_and(|node| node["spec"]["unschedulable"] == true);
        let wait = Duration::from_secs(if is_cordoned { 20 } else { 1 });
        if !cluster
            .timers
            .hold("machine-drains", &name, true, now, || wait)
        {
            continue;
        }
        nodes::edit(cluster, &key, |node| {
            node["spec"]["unschedulable"] = json!(true);
        });
        for (pod, uid) in apps::leaving(cluster, &node) {
            if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
                let asked = budgets::evict(realm, (&pod.namespace, &pod.name), &uid, "drain", now);
                acted |= asked.unwrap_or(false);
            }
        }
    }
    acted
}

/// Machines that are being deleted: their infrastructure goes, then their Node, then they do.
fn end_machines(cluster: &mut Cluster, now: Timestamp) -> bool {
    let going: Vec<Key> = cluster
        .capi
        .of_kind("Machine")
        .filter(|(_, machine)| machine["metadata"].get("deletionTimestamp").is_some())
        .filter(|(key, machine)| !holds_up(machine) && is_drained(cluster, &key.name))
        .map(|(key, _)| key.clone())
        .collect();
    let mut acted = false;
    for key in going {
        let infrastructure = cluster.key(keys::CAPI_INFRASTRUCTURE_GROUP, "AWSMachine", &key.name);
        if cluster.capi.contains(&infrastructure) {
            acted |= cluster.capi.delete(&infrastructure, now);
            continue;
        }
        if let (true, Some(node)) = (drains(cluster, &key.name), node_of(cluster, &key.name)) {
            let node = node.to_owned();
            if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
                realm.remove(&nodes::key(&node));
            }
            nodes::forget(cluster, &node);
        }
        acted |= cluster.capi.edit(&key, |machine| {
            machine["metadata"]["finalizers"] = json!([])
        });
        cluster.bootstraps.remove(&key.name);
    }
    acted
}

/// Whether a Machine's end waits for the control plane's controller.
pub(super) fn holds_up(machine: &Value) -> bool {
    machine["metadata"]["annotations"]
        .get(PRE_TERMINATE)
        .is_some()
}

fn take_over(cluster: &mut Cluster, object: &Value) -> bool {
    let Some(infrastructure) = cluster.capi.get(&aws_cluster_key(cluster)).cloned() else {
        return false;
    };
    let ready = infrastructure["status"]["ready"] == true;
    let endpoint = infrastructure["spec"]["controlPlaneEndpoint"].clone();
    let phase = if ready { "Provisioned" } else { "Provisioning" };
    if object["status"]["phase"] == phase {
        return false;
    }
    let key = cluster_key(cluster);
    cluster.capi.edit(&key, |object| {
        object["metadata"]["finalizers"] = json!(["cluster.cluster.x-k8s.io"]);
        object["status"]["phase"] = json!(phase);
        object["status"]["infrastructureReady"] = json!(ready);
        if ready {
            object["spec"]["controlPlaneEndpoint"] = endpoint;
        }
    })
}

fn match_nodes(cluster: &mut Cluster, now: Timestamp) -> bool {
    let mut acted = false;
    for name in machines(cluster) {
        let Some(machine) = machine(cluster, &name) else {
            continue;
        };
        let provider_id = aws_machine(cluster, &name)["spec"]["providerID"].clone();
        let matched = !machine["status"]["nodeRef"].is_null();
        let instance = instance_of(&provider_id).and_then(|id| cluster.cloud.instances.get(id));
        let phase = match instance {
            _ if matched => "Running",
            Some(instance) if instance.runs() => "Provisioned",
            Some(_) => "Provisioning",
            None => "Pending",
        };
        let node = instance
            .filter(|instance| instance.node != NodeState::Absent)
            .map(|instance| instance.dns.clone());
        let reachable = api_rules::through_new_name(cluster) == Status::Ok;
        let found = node.is_some() && reachable && !matched;
        let key = cluster.key(keys::CAPI_GROUP, "Machine", &name);
        if machine["status"]["phase"] != phase {
            acted |= cluster.capi.edit(&key, |machine| {
                machine["status"]["phase"] = json!(phase);
                machine["spec"]["providerID"] = provider_id;
            });
        }
        if cluster
            .timers
            .hold("node-ref", &name, found, now, || Duration::from_secs(2))
            && let Some(node) = node
        {
            let annotation = json!({
                "cluster.x-k8s.io/machine": name,
                "cluster.x-k8s.io/cluster-name": cluster.facts.id,
                "cluster.x-k8s.io/owner-kind": "KubeadmControlPlane",
            });
            nodes::edit(cluster, &nodes::key(&node), |node| {
                node["metadata"]["annotations"] = annotation;
            });
            acted |= cluster.capi.edit(&key, |machine| {
                machine["status"]["nodeRef"] =
                    json!({"apiVersion": "v1", "kind": "Node", "name": node});
                machine["status"]["phase"] = json!("Running");
            });
        }
    }
    acted
}

/// The AWSMachine of a Machine; null when there is none.
pub(super) fn aws_machine(cluster: &Cluster, name: &str) -> Value {
    let key = cluster.key(keys::CAPI_INFRASTRUCTURE_GROUP, "AWSMachine", name);
    cluster.capi.get(&key).cloned().unwrap_or(Value::Null)
}

/// The instance id in a provider id.
pub(crate) fn instance_of(provider_id: &Value) -> Option<&str> {
    provider_id.as_str()?.rsplit('/').next()
}

/// API version of Machines.
pub(super) const API: &str = api::CAPI;
