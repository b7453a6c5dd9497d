//! Nodes: kubelets register them, are heard of or not, and the cloud controller takes them away when their instance is
//! gone.
//!
//! Vintage kubelets follow the vintage name, those of Cluster API machines the new load balancer. A new kubelet of the
//! latter kind has no certificate: the first one, whose machine initialises, signs its own; later ones ask, and only a
//! Cluster API controller manager with the lease signs. A vintage one that leads just leaves them waiting.

use std::time::Duration;

use drover_model::{cr::keys, names};
use drover_step_api::Timestamp;
use serde_json::{Value, json};

use super::{api, apps, cidr};
use crate::{
    objects::Key,
    state::{Cluster, InstanceRole, InstanceState, NodeState, Status, VINTAGE_REALM},
    text::rfc3339,
};

/// kubelet's own grace and the node controller's together.
const UNHEARD: Duration = Duration::from_secs(40);

pub(crate) fn key(name: &str) -> Key {
    Key::new("", "Node", "", name)
}

/// Changes a Node in the cluster's realm.
pub(super) fn edit(cluster: &mut Cluster, key: &Key, change: impl FnOnce(&mut Value)) {
    if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
        realm.edit(key, change);
    }
}

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let (old, new) = (
        answers(&api::through_old_name(cluster)),
        answers(&api::through_new_name(cluster)),
    );
    let ids: Vec<String> = cluster
        .cloud
        .instances
        .values()
        .filter(|instance| instance.node != NodeState::Absent)
        .map(|instance| instance.id.clone())
        .collect();
    let mut acted = false;
    for id in ids {
        acted |= heartbeat(cluster, &id, (old, new), now);
        acted |= give_cidr(cluster, &id, now);
        acted |= take_away(cluster, &id, now);
    }
    acted
}

fn answers(status: &Status) -> bool {
    *status == Status::Ok
}

fn heartbeat(cluster: &mut Cluster, id: &str, (old, new): (bool, bool), now: Timestamp) -> bool {
    let instance = &cluster.cloud.instances[id];
    let path = if matches!(
        instance.role,
        InstanceRole::ControlPlane(_) | InstanceRole::PoolNode(_)
    ) {
        new
    } else {
        old
    };
    let alive = instance.runs() && path && instance.kubelet;
    let state = instance.node;
    let lost = !alive && state == NodeState::Ready;
    let found = alive && state == NodeState::Unknown;
    let timers = &mut cluster.timers;
    if timers.hold("node-unheard", id, lost, now, || UNHEARD) {
        return set_ready(cluster, id, false, now);
    }
    if timers.hold("node-back", id, found, now, || Duration::from_secs(10)) {
        return set_ready(cluster, id, true, now);
    }
    false
}

fn set_ready(cluster: &mut Cluster, id: &str, ready: bool, now: Timestamp) -> bool {
    let Some(instance) = cluster.cloud.instances.get_mut(id) else {
        return false;
    };
    instance.node = if ready {
        NodeState::Ready
    } else {
        NodeState::Unknown
    };
    let key = key(&instance.dns);
    let status = if ready { "True" } else { "Unknown" };
    edit(cluster, &key, |node| {
        node["status"]["conditions"] =
            json!([{"type": "Ready", "status": status, "lastTransitionTime": rfc3339(now)}]);
    });
    true
}

fn give_cidr(cluster: &mut Cluster, id: &str, now: Timestamp) -> bool {
    let waiting = cluster.cloud.instances[id].pod_cidr.is_none();
    cluster
        .timers
        .hold("pod-cidr", id, waiting, now, || Duration::from_secs(1))
        && cidr::assign(cluster, id)
}

fn take_away(cluster: &mut Cluster, id: &str, now: Timestamp) -> bool {
    let gone = cluster.cloud.instances[id].state == InstanceState::Terminated
        && api::somebody_serves(cluster);
    let chance = &cluster.chance;
    if !cluster.timers.hold("node-taken-away", id, gone, now, || {
        chance.millis(30_000, 90_000, "node-taken-away", id)
    }) {
        return false;
    }
    let name = cluster.cloud.instances[id].dns.clone();
    if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
        realm.remove(&key(&name));
    }
    forget(cluster, &name);
    true
}

/// What follows from a Node's deletion, whoever deleted it: its pods go, its pod CIDR becomes free.
pub(crate) fn forget(cluster: &mut Cluster, node: &str) {
    if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
        let pods: Vec<Key> = realm
            .of_kind("Pod")
            .filter(|(_, pod)| pod["spec"]["nodeName"] == node)
            .map(|(key, _)| key.clone())
            .collect();
        for pod in pods {
            realm.remove(&pod);
        }
    }
    apps::forget_volumes(cluster, node);
    let instance = cluster
        .cloud
        .instances
        .values_mut()
        .find(|instance| instance.dns == node && instance.node != NodeState::Absent);
    let Some(instance) = instance else {
        return;
    };
    instance.node = NodeState::Absent;
    let id = instance.id.clone();
    let cidr = instance.pod_cidr.take();
    if let Some(host) = cluster.hosts.get_mut(&id) {
        host.published.clear();
    }
    if let Some(cidr) = cidr {
        cidr::release(cluster, cidr);
    }
}

/// A kubelet registers its Node.
pub(crate) fn register(cluster: &mut Cluster, id: &str, now: Timestamp) {
    let Some(instance) = cluster.cloud.instances.get(id) else {
        return;
    };
    let node = object(cluster, id, &labels(cluster, &instance.role), now);
    if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
        realm.put(node, now);
    }
    if let Some(instance) = cluster.cloud.instances.get_mut(id) {
        instance.node = NodeState::Ready;
    }
    cidr::assign(cluster, id);
    apps::place_daemons(cluster, id, now);
}

fn labels(cluster: &Cluster, role: &InstanceRole) -> Value {
    let id = &cluster.facts.id;
    match role {
        InstanceRole::Master(n) => json!({
            "role": "master",
            "node-role.kubernetes.io/master": "",
            "node-role.kubernetes.io/control-plane": "",
            keys::AWS_OPERATOR: "16.1.0",
            keys::CONTROL_PLANE: cluster.facts.control_plane,
            "giantswarm.io/master-id": n.to_string(),
        }),
        InstanceRole::Worker(pool) => json!({
            "role": "worker",
            "node-role.kubernetes.io/worker": "",
            keys::AWS_OPERATOR: "16.1.0",
            keys::MACHINE_DEPLOYMENT: pool,
        }),
        InstanceRole::PoolNode(pool) => json!({
            "role": "worker",
            "giantswarm.io/machine-pool": format!("{id}-{pool}"),
            keys::MACHINE_DEPLOYMENT: pool,
        }),
        InstanceRole::ControlPlane(_) => json!({
            "role": "control-plane",
            "node-role.kubernetes.io/control-plane": "",
            names::TAG_CLUSTER: id,
        }),
    }
}

fn object(cluster: &Cluster, id: &str, labels: &Value, now: Timestamp) -> Value {
    let instance = &cluster.cloud.instances[id];
    let mut labels = labels.clone();
    labels["topology.kubernetes.io/zone"] = json!(instance.zone);
    let is_worker = matches!(
        instance.role,
        InstanceRole::Worker(_) | InstanceRole::PoolNode(_)
    );
    let taints = if is_worker {
        json!([])
    } else {
        json!([{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}])
    };
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": instance.dns, "labels": labels},
        "spec": {
            "providerID": format!("aws:///{}/{}", instance.zone, instance.id),
            "taints": taints,
        },
        "status": {
            "addresses": [{"type": "InternalIP", "address": instance.address}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(now)}],
            "nodeInfo": {"kubeletVersion": format!("v{}", cluster.facts.kubernetes)},
        },
    })
}

/// True when a new kubelet's certificate request would be signed now.
pub(super) fn signer_leads(cluster: &Cluster) -> bool {
    cluster
        .leases
        .get("kube-controller-manager")
        .and_then(|lease| lease.holder.as_ref())
        .and_then(|holder| cluster.hosts.get(holder))
        .is_some_and(|host| {
            host.config.signs_kubelets && host.runs(crate::state::Proc::ControllerManager)
        })
}
