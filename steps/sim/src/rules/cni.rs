//! Cilium: an agent on every node. One that restarts is away for some seconds, in which its node starts no pod and learns of no
//! change; when most of them are away at once, pods do not reach each other any more.

use std::time::Duration;

use drover_step_api::Timestamp;
use serde_json::{Value, json};

use crate::{
    objects::Key,
    state::{Cluster, NodeState, Status, VINTAGE_REALM},
};

/// From a pod's deletion until its successor serves.
const STARTS: Duration = Duration::from_secs(15);

/// Name of a node's agent.
pub(crate) fn pod_name(node: &str) -> String {
    format!("cilium-{node}")
}

fn pod_key(node: &str) -> Key {
    Key::new("", "Pod", "kube-system", &pod_name(node))
}

fn pod(node: &str, api: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(node),
            "namespace": "kube-system",
            "labels": {"app.kubernetes.io/part-of": "cilium", "k8s-app": "cilium"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "cilium", "controller": true,
            }],
        },
        "spec": {
            "nodeName": node,
            "containers": [container(api)],
        },
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let instances = &cluster.cloud.instances;
    let gone = |id: &String| {
        instances
            .get(id)
            .is_none_or(|instance| instance.node == NodeState::Absent)
    };
    cluster.cni.agents.retain(|id, _| !gone(id));
    if !cluster.cni.installed {
        return false;
    }
    let missing: Vec<String> = instances
        .values()
        .filter(|instance| instance.node != NodeState::Absent && instance.runs())
        .filter(|instance| !cluster.cni.agents.contains_key(&instance.id))
        .map(|instance| instance.id.clone())
        .collect();
    let mut acted = false;
    for id in missing {
        if cluster.timers.hold("cni-agent", &id, true, now, || STARTS) {
            start(cluster, &id, now);
            acted = true;
        }
    }
    acted
}

/// Agents are started with this name of the API from now on; those that run go on as they are.
pub(crate) fn configure(cluster: &mut Cluster, api: &str, now: Timestamp) {
    api.clone_into(&mut cluster.cni.api);
    if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
        realm.put(
            json!({
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "metadata": {"name": "cilium", "namespace": "kube-system"},
                "spec": {
                    "updateStrategy": {"type": "OnDelete"},
                    "template": {"spec": {"containers": [container(api)]}},
                },
            }),
            now,
        );
    }
}

fn container(api: &str) -> Value {
    json!({
        "name": "cilium-agent",
        "env": [{"name": "KUBERNETES_SERVICE_HOST", "value": api}],
    })
}

/// A node's agent runs.
pub(crate) fn start(cluster: &mut Cluster, instance: &str, now: Timestamp) {
    let api = cluster.cni.api.clone();
    let node = cluster.cloud.instances[instance].dns.clone();
    if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
        realm.put(pod(&node, &api), now);
    }
    cluster.cni.agents.insert(instance.to_owned(), api);
}

/// A pod has been deleted: if it was an agent, its node has none until the next one has started.
pub(crate) fn pod_deleted(cluster: &mut Cluster, pod: &str) {
    let instances = &cluster.cloud.instances;
    let mut agents = cluster.cni.agents.keys();
    let ended = agents.find(|id| {
        instances
            .get(*id)
            .is_some_and(|instance| pod_name(&instance.dns) == pod)
    });
    if let Some(id) = ended.cloned() {
        cluster.cni.agents.remove(&id);
        if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
            realm.remove(&Key::new("", "Pod", "kube-system", pod));
        }
    }
}

/// Helm has taken the release away.
pub(super) fn uninstall(cluster: &mut Cluster) {
    cluster.cni.installed = false;
    for instance in std::mem::take(&mut cluster.cni.agents).into_keys() {
        if let Some(instance) = cluster.cloud.instances.get(&instance)
            && let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM)
        {
            realm.remove(&pod_key(&instance.dns));
        }
    }
}

/// What pods see that talk to pods of other nodes.
pub(super) fn between_pods(cluster: &Cluster) -> Status {
    if !cluster.cni.installed {
        return Status::Down("Cilium is not installed".to_owned());
    }
    let nodes = cluster.cloud.instances.values();
    let nodes = nodes.filter(|instance| instance.node == NodeState::Ready);
    let (mut all, mut without) = (0, 0);
    for instance in nodes {
        all += 1;
        if !cluster.cni.agents.contains_key(&instance.id) {
            without += 1;
        }
    }
    if without * 2 > all {
        return Status::Down(format!("{without} of {all} nodes have no Cilium agent"));
    }
    Status::Ok
}
