//! The kubeadm control plane controller.
//!
//! What matters to a migration: it invents every key that it does not find; it makes one Machine, waits for its Node, then
//! removes every etcd member that belongs to no Machine, one after the other, and only then makes the second and third
//! Machine, one at a time. Machines that were made from another spec it replaces, see [`rollout`]. Paused, it does none of
//! it.

use std::time::Duration;

use drover_model::{cr::keys, names, target::api};
use drover_ports::SecretBytes;
use drover_step_api::Timestamp;
use serde_json::{Value, json};

use super::{api as api_rules, cabpk, capa, capi, etcd, rollout};
use crate::{
    objects::{Key, SecretData},
    state::{Cluster, NodeState},
};

/// Finalizer on the KubeadmControlPlane.
pub(crate) const FINALIZER: &str = "kubeadm.controlplane.cluster.x-k8s.io";
/// Type of the Secrets that it takes for its own.
const SECRET_TYPE: &str = "cluster.x-k8s.io/secret";

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let key = capi::control_plane_key(cluster);
    let Some(object) = cluster.capi.get(&key).cloned() else {
        return false;
    };
    let active =
        !capi::is_paused(cluster, &object) && object["metadata"].get("deletionTimestamp").is_none();
    if !active {
        cluster.evictions = 0;
    }
    keys_first(cluster, &key, &object, active, now)
        | clean_up(cluster, active, now)
        | evict(cluster, active, now)
        | scale(cluster, &object, active, now)
        | rollout::run(cluster, &object, active, now)
        | status(cluster, &key, &object, active, now)
}

/// The first thing it does: look for certificates and keys, and invent what is missing.
fn keys_first(
    cluster: &mut Cluster,
    key: &Key,
    object: &Value,
    active: bool,
    now: Timestamp,
) -> bool {
    let fresh = active
        && object["metadata"]["finalizers"]
            .as_array()
            .is_none_or(Vec::is_empty);
    if !cluster
        .timers
        .hold("kcp-keys", "", fresh, now, || Duration::from_secs(1))
    {
        return false;
    }
    let spare = std::sync::Arc::clone(&cluster.spare);
    let id = cluster.facts.id.clone();
    let mut wanted: Vec<(String, Vec<u8>, SecretBytes)> = names::ca_secrets(&id)
        .into_iter()
        .map(|name| {
            (
                name,
                spare.ca_certificate.clone().into_bytes(),
                spare.ca_key.clone(),
            )
        })
        .collect();
    wanted.push((
        names::sa_secret(&id),
        spare.sa_public.clone().into_bytes(),
        spare.sa_key.clone(),
    ));
    let namespace = cluster.facts.namespace.clone();
    for (name, public, private) in wanted {
        if cluster.capi.secret(&namespace, &name).is_none() {
            cluster.accident(
                now,
                format!(
                    "the control plane controller did not find Secret {id}{} and invented one",
                    &name[id.len()..]
                ),
            );
            let data = [("tls.crt", SecretBytes::new(public)), ("tls.key", private)];
            write_secret(cluster, &name, data.into_iter(), now);
        }
        own(cluster, &name, object);
    }
    let kubeconfig = SecretBytes::new(b"a kubeconfig".to_vec());
    let name = format!("{id}-kubeconfig");
    write_secret(cluster, &name, [("value", kubeconfig)].into_iter(), now);
    own(cluster, &name, object);
    cluster.capi.edit(key, |object| {
        object["metadata"]["finalizers"] = json!([FINALIZER])
    })
}

fn write_secret(
    cluster: &mut Cluster,
    name: &str,
    data: impl Iterator<Item = (&'static str, SecretBytes)>,
    now: Timestamp,
) {
    let data = SecretData {
        type_: SECRET_TYPE.to_owned(),
        data: data.map(|(key, value)| (key.to_owned(), value)).collect(),
        sealed: None,
    };
    let namespace = cluster.facts.namespace.clone();
    let id = cluster.facts.id.clone();
    cluster
        .capi
        .put_secret(&namespace, name, &[(keys::CLUSTER_NAME, &id)], data, now);
}

/// Secrets of its own type get it as owner and go with it; others are the user's.
fn own(cluster: &mut Cluster, name: &str, object: &Value) {
    let key = Key::secret(&cluster.facts.namespace, name);
    let is_own = cluster
        .capi
        .get(&key)
        .is_some_and(|secret| secret["type"] == SECRET_TYPE);
    if is_own {
        let owner = owner_reference(api::CONTROL_PLANE, object);
        cluster.capi.edit(&key, |secret| {
            secret["metadata"]["ownerReferences"] = json!([owner])
        });
    }
}

fn owner_reference(api_version: &str, object: &Value) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": object["kind"],
        "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"],
        "controller": true,
    })
}

/// Members that belong to no Machine.
pub(super) fn unknown_members(cluster: &Cluster) -> Vec<u64> {
    let machines = capi::machines(cluster);
    let nodes: Vec<&str> = machines
        .iter()
        .filter_map(|machine| capi::node_of(cluster, machine))
        .collect();
    cluster
        .etcd
        .members
        .iter()
        .filter(|member| !nodes.contains(&member.name.as_str()))
        .map(|member| member.id)
        .collect()
}

/// Every owned Machine has a Node whose member is up: the controller can talk to etcd and trusts what it sees.
fn sees_etcd(cluster: &Cluster) -> bool {
    let machines = capi::machines(cluster);
    !machines.is_empty()
        && cabpk::is_initialised(cluster)
        && machines.iter().all(|machine| {
            capi::node_of(cluster, machine)
                .and_then(|node| cluster.etcd.by_name(node))
                .is_some_and(|member| etcd::is_up(cluster, member) && !member.learner)
        })
        && etcd::has_quorum(cluster)
        && api_rules::through_new_name(cluster) == crate::state::Status::Ok
}

fn evict(cluster: &mut Cluster, active: bool, now: Timestamp) -> bool {
    let unknown = unknown_members(cluster);
    let due = active && !unknown.is_empty() && sees_etcd(cluster);
    let nth = cluster.evictions;
    let chance = &cluster.chance;
    if !cluster
        .timers
        .hold("kcp-evicts", "", due, now, || match nth {
            0 => chance.millis(8_000, 12_000, "kcp-evicts", ""),
            nth => chance.millis_nth(1_500, 2_500, "kcp-evicts", "next", nth),
        })
    {
        return false;
    }
    cluster.evictions += 1;
    etcd::remove(cluster, unknown[0])
}

/// Of a Machine that is being deleted, and drained, it takes the etcd member away, and lets it go then. A member that leads
/// hands its leadership over first.
fn clean_up(cluster: &mut Cluster, active: bool, now: Timestamp) -> bool {
    let mut acted = false;
    for name in capi::machines(cluster) {
        let waits = active
            && capi::machine(cluster, &name).is_some_and(|machine| {
                machine["metadata"].get("deletionTimestamp").is_some() && capi::holds_up(machine)
            })
            && capi::is_drained(cluster, &name);
        if !cluster.timers.hold("kcp-cleans-up", &name, waits, now, || {
            Duration::from_secs(2)
        }) {
            continue;
        }
        let member = capi::node_of(cluster, &name)
            .and_then(|node| cluster.etcd.by_name(node))
            .map(|member| member.id);
        if let Some(member) = member {
            etcd::forward_leadership(cluster, member);
            etcd::remove(cluster, member);
        }
        let key = cluster.key(keys::CAPI_GROUP, "Machine", &name);
        acted |= cluster.capi.edit(&key, |machine| {
            if let Value::Object(annotations) = &mut machine["metadata"]["annotations"] {
                annotations.shift_remove(capi::PRE_TERMINATE);
            }
        });
    }
    acted
}

fn scale(cluster: &mut Cluster, object: &Value, active: bool, now: Timestamp) -> bool {
    let machines = capi::machines(cluster);
    let wanted = object["spec"]["replicas"].as_u64().unwrap_or(1);
    let missing = (machines.len() as u64) < wanted;
    let may = active
        && missing
        && capi::infrastructure_ready(cluster)
        && object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|f| !f.is_empty())
        && (machines.is_empty()
            || (is_healthy(cluster, &machines) && unknown_members(cluster).is_empty()));
    let nth = cluster.machines_made;
    let chance = &cluster.chance;
    if !cluster.timers.hold("kcp-scales", "", may, now, || {
        chance.millis_nth(2_000, 6_000, "kcp-scales", "", nth)
    }) {
        return false;
    }
    make_machine(cluster, object, now)
}

/// What its preflight asks before it makes another Machine.
pub(super) fn is_healthy(cluster: &Cluster, machines: &[String]) -> bool {
    sees_etcd(cluster)
        && machines.iter().all(|machine| {
            capi::machine(cluster, machine)
                .is_some_and(|object| object["metadata"].get("deletionTimestamp").is_none())
                && instance_of(cluster, machine).is_some_and(|id| api_rules::serves(cluster, &id))
        })
}

fn instance_of(cluster: &Cluster, machine: &str) -> Option<String> {
    let provider_id = capi::aws_machine(cluster, machine)["spec"]["providerID"].clone();
    capi::instance_of(&provider_id).map(str::to_owned)
}

pub(super) fn make_machine(cluster: &mut Cluster, object: &Value, now: Timestamp) -> bool {
    let facts = std::sync::Arc::clone(&cluster.facts);
    let reference = &object["spec"]["machineTemplate"]["infrastructureRef"];
    let template_name = reference["name"].as_str().unwrap_or_default();
    let template_key = cluster.key(
        "infrastructure.cluster.x-k8s.io",
        "AWSMachineTemplate",
        template_name,
    );
    let Some(template) = cluster.capi.get(&template_key).cloned() else {
        return false;
    };
    cluster.machines_made += 1;
    let suffix = cluster
        .chance
        .suffix(5, "machine", &cluster.machines_made.to_string());
    let name = format!("{}-{suffix}", facts.id);
    let labels = json!({
        keys::CLUSTER_NAME: facts.id,
        "cluster.x-k8s.io/control-plane": "",
        "cluster.x-k8s.io/control-plane-name": facts.id,
    });
    let metadata = |owner: &Value| {
        json!({
            "name": name, "namespace": facts.namespace, "labels": labels, "ownerReferences": [owner],
        })
    };
    let by_control_plane = owner_reference(api::CONTROL_PLANE, object);
    let mut machine = json!({
        "apiVersion": capi::API,
        "kind": "Machine",
        "metadata": metadata(&by_control_plane),
        "spec": {
            "clusterName": facts.id,
            "version": object["spec"]["version"],
            "failureDomain": failure_domain(cluster),
            "bootstrap": {"configRef": {"kind": "KubeadmConfig", "name": name}},
            "infrastructureRef": {"kind": "AWSMachine", "name": name},
        },
        "status": {"phase": "Pending"},
    });
    machine["metadata"]["finalizers"] = json!([capi::FINALIZER_MACHINE]);
    machine["metadata"]["annotations"] = json!({capi::PRE_TERMINATE: ""});
    cluster.capi.put(machine, now);
    let made = capi::machine(cluster, &name)
        .cloned()
        .unwrap_or(Value::Null);
    let by_machine = owner_reference(capi::API, &made);
    let config = json!({
        "apiVersion": api::BOOTSTRAP,
        "kind": "KubeadmConfig",
        "metadata": metadata(&by_machine),
        "spec": object["spec"]["kubeadmConfigSpec"],
    });
    let mut infrastructure = json!({
        "apiVersion": capa::API,
        "kind": "AWSMachine",
        "metadata": metadata(&by_machine),
        "spec": template["spec"]["template"]["spec"],
    });
    infrastructure["metadata"]["annotations"] = json!({rollout::CLONED_FROM: template_name});
    infrastructure["metadata"]["finalizers"] = json!([capa::FINALIZER_MACHINE]);
    cluster.capi.put(config, now);
    cluster.capi.put(infrastructure, now);
    true
}

/// The zone with the fewest Machines.
fn failure_domain(cluster: &Cluster) -> String {
    let mut zones: Vec<String> = cluster
        .cloud
        .elbs
        .get(&names::capa_load_balancer(&cluster.facts.id))
        .map(|elb| elb.zones.iter().cloned().collect())
        .unwrap_or_default();
    let count = |zone: &String| {
        cluster
            .capi
            .of_kind("Machine")
            .filter(|(_, machine)| machine["spec"]["failureDomain"] == zone.as_str())
            .count()
    };
    zones.sort_by_key(|zone| (count(zone), zone.clone()));
    zones.into_iter().next().unwrap_or_default()
}

fn status(cluster: &mut Cluster, key: &Key, object: &Value, active: bool, now: Timestamp) -> bool {
    let outdated = rollout::outdated(cluster, object).len();
    let machines = capi::machines(cluster);
    let ready = machines
        .iter()
        .filter(|machine| {
            instance_of(cluster, machine)
                .and_then(|id| cluster.cloud.instances.get(&id))
                .is_some_and(|instance| {
                    instance.node == NodeState::Ready && api_rules::serves(cluster, &instance.id)
                })
        })
        .count();
    let initialised = object["status"]["initialized"] == true || cabpk::is_initialised(cluster);
    let etcd_healthy = sees_etcd(cluster) && unknown_members(cluster).is_empty();
    let word = |yes: bool| if yes { "True" } else { "False" };
    let wanted = json!({
        "replicas": machines.len(),
        "readyReplicas": ready,
        "updatedReplicas": machines.len() - outdated,
        "unavailableReplicas": machines.len() - ready,
        "initialized": initialised,
        "ready": ready > 0,
        "observedGeneration": object["metadata"]["generation"],
        "conditions": [
            {"type": "Available", "status": word(initialised && ready > 0)},
            {"type": "EtcdClusterHealthy", "status": word(etcd_healthy)},
        ],
    });
    let differs = active && object["status"] != wanted;
    cluster
        .timers
        .hold("kcp-status", "", differs, now, || Duration::from_secs(2))
        && cluster.capi.edit(key, |object| object["status"] = wanted)
}
