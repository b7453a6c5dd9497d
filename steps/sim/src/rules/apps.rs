//! Customers' pods: controllers keep their number, the scheduler gives them nodes, volumes follow them, kubelets start and end
//! them. A Service none of whose pods serves is a gap.
//!
//! A volume is in one zone for ever, and on one node at a time: its pod starts elsewhere only when it has been detached.

use std::time::Duration;

use drover_model::disruption::Leaving;
use drover_step_api::Timestamp;
use serde_json::{Value, json};

use crate::{
    objects::Key,
    state::{App, Cluster, Instance, NodeState, Proc, Status, VINTAGE_REALM},
};

/// Of the DaemonSet that every node has.
const DAEMON: &str = "ebs-csi-node";

/// How long a pod stays on a node that nobody hears of: the default toleration of that taint.
const UNHEARD_OF: Duration = Duration::from_secs(300);

pub(crate) fn kind_of(app: &App) -> &'static str {
    if app.stateful {
        "StatefulSet"
    } else {
        "Deployment"
    }
}

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let mut acted = false;
    if leads(cluster, "kube-controller-manager", Proc::ControllerManager) {
        for app in cluster.apps.all.clone() {
            acted |= replicate(cluster, &app, now);
        }
    }
    for pod in pods(cluster) {
        acted |= step(cluster, &pod, now);
    }
    acted | detach(cluster, now)
}

/// Everything runs already.
pub(crate) fn begin(cluster: &mut Cluster, start: Timestamp) {
    for app in cluster.apps.all.clone() {
        for _ in 0..app.replicas {
            make(cluster, &app, start);
        }
    }
    for pod in pods(cluster) {
        if let Some(node) = pick(cluster, &pod) {
            assign(cluster, &pod, &node);
            if let Some(volume) = volume_of(&pod) {
                attach(cluster, volume, &node, start);
            }
            set_ready(cluster, &pod.key, true);
        }
    }
}

/// What somebody inside the cluster sees of the customer's Services.
pub(super) fn services(cluster: &mut Cluster) -> Status {
    let all = pods(cluster);
    for app in cluster.apps.all.clone() {
        let serves = all
            .iter()
            .any(|pod| pod.is_of(&app) && serves(cluster, pod));
        if serves {
            cluster.apps.served.insert(app.name);
        } else if cluster.apps.served.contains(app.name) {
            return Status::Down(format!("no pod of {}/{} serves", app.namespace, app.name));
        }
    }
    Status::Ok
}

/// One of the customer's pods.
struct Pod {
    key: Key,
    app: String,
    node: Option<String>,
    ready: bool,
    ending: bool,
    value: Value,
}

impl Pod {
    fn is_of(&self, app: &App) -> bool {
        self.app == app.name && self.key.namespace == app.namespace
    }
}

fn pods(cluster: &Cluster) -> Vec<Pod> {
    let Some(realm) = cluster.realms.get(VINTAGE_REALM) else {
        return Vec::new();
    };
    realm
        .of_kind("Pod")
        .filter_map(|(key, pod)| {
            Some(Pod {
                key: key.clone(),
                app: pod["metadata"]["labels"]["app"].as_str()?.to_owned(),
                node: pod["spec"]["nodeName"].as_str().map(str::to_owned),
                ready: is_ready(pod),
                ending: pod["metadata"].get("deletionTimestamp").is_some(),
                value: pod.clone(),
            })
        })
        .collect()
}

pub(super) fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"][0]["status"] == "True"
}

fn leads(cluster: &Cluster, component: &str, proc: Proc) -> bool {
    cluster
        .leases
        .get(component)
        .and_then(|lease| cluster.hosts.get(lease.holder.as_ref()?))
        .is_some_and(|host| host.runs(proc))
}

/// The instance behind a Node.
fn instance_of<'c>(cluster: &'c Cluster, node: &str) -> Option<&'c Instance> {
    let mut instances = cluster.cloud.instances.values();
    instances.find(|instance| instance.dns == node && instance.node != NodeState::Absent)
}

/// A pod answers until its node does not run any more, also while it ends.
fn serves(cluster: &Cluster, pod: &Pod) -> bool {
    let node = pod.node.as_deref();
    pod.ready
        && node
            .and_then(|node| instance_of(cluster, node))
            .is_some_and(Instance::runs)
}

fn replicate(cluster: &mut Cluster, app: &App, now: Timestamp) -> bool {
    let Some(realm) = cluster.realms.get(VINTAGE_REALM) else {
        return false;
    };
    let count = realm
        .of_kind("Pod")
        .filter(|(key, pod)| {
            key.namespace == app.namespace && pod["metadata"]["labels"]["app"] == app.name
        })
        // A StatefulSet waits until the pod of that name is gone.
        .filter(|(_, pod)| app.stateful || pod["metadata"].get("deletionTimestamp").is_none())
        .count();
    let missing = count < app.replicas as usize;
    cluster.timers.hold("pod-made", app.name, missing, now, || {
        Duration::from_millis(400)
    }) && make(cluster, app, now)
}

fn make(cluster: &mut Cluster, app: &App, now: Timestamp) -> bool {
    let Some(name) = next_name(cluster, app) else {
        return false;
    };
    let (owner, mut spec) = if app.stateful {
        let claim = json!([{"name": "data", "persistentVolumeClaim": {"claimName": format!("data-{name}")}}]);
        ("StatefulSet", json!({ "volumes": claim }))
    } else {
        ("ReplicaSet", json!({}))
    };
    if app.on_control_plane {
        spec["nodeSelector"] = json!({CONTROL_PLANE: ""});
        spec["tolerations"] = json!([{"key": CONTROL_PLANE, "operator": "Exists"}]);
    }
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": app.namespace,
            "labels": {"app": app.name},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": owner, "name": app.name, "controller": true,
            }],
        },
        "spec": spec,
        "status": {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}]},
    });
    if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
        realm.put(pod, now);
    }
    true
}

const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

fn next_name(cluster: &mut Cluster, app: &App) -> Option<String> {
    if app.stateful {
        let realm = cluster.realms.get(VINTAGE_REALM)?;
        return (0..app.replicas)
            .map(|n| format!("{}-{n}", app.name))
            .find(|name| !realm.contains(&Key::new("", "Pod", app.namespace, name)));
    }
    cluster.apps.pods_made += 1;
    let nth = cluster.apps.pods_made.to_string();
    let suffix = cluster.chance.suffix(5, "pod", &nth);
    Some(format!("{}-{suffix}", app.name))
}

/// What a pod waits for.
fn step(cluster: &mut Cluster, pod: &Pod, now: Timestamp) -> bool {
    let of = format!("{}/{}", pod.key.namespace, pod.key.name);
    let Some(node) = pod.node.clone() else {
        return schedule(cluster, pod, &of, now);
    };
    let state = instance_of(cluster, &node).map(|instance| (instance.runs(), instance.node));
    let (runs, heard) = match state {
        Some((runs, state)) => (runs && state == NodeState::Ready, state == NodeState::Ready),
        None => (false, false),
    };
    let unheard = !heard && !pod.ending;
    if cluster
        .timers
        .hold("pod-unheard-of", &of, unheard, now, || UNHEARD_OF)
    {
        let realm = cluster.realms.get_mut(VINTAGE_REALM);
        return realm.is_some_and(|realm| realm.delete(&pod.key, now));
    }
    if pod.ending {
        let chance = &cluster.chance;
        let ends = cluster.timers.hold("pod-ends", &of, runs, now, || {
            chance.millis(2_000, 6_000, "pod-ends", &of)
        });
        if let (true, Some(realm)) = (ends, cluster.realms.get_mut(VINTAGE_REALM)) {
            realm.remove(&pod.key);
        }
        return ends;
    }
    if pod.ready {
        return !heard && set_ready(cluster, &pod.key, false);
    }
    let attached = match volume_of(pod) {
        None => true,
        Some(volume) => has_volume(cluster, volume, &node),
    };
    if let (false, Some(volume)) = (attached, volume_of(pod)) {
        let free = runs && attachment(cluster, volume).is_none();
        let due = cluster
            .timers
            .hold("volume-attached", volume, free, now, || {
                Duration::from_secs(4)
            });
        return due && attach(cluster, volume, &node, now);
    }
    let chance = &cluster.chance;
    cluster.timers.hold("pod-starts", &of, runs, now, || {
        chance.millis(6_000, 14_000, "pod-starts", &of)
    }) && set_ready(cluster, &pod.key, true)
}

fn schedule(cluster: &mut Cluster, pod: &Pod, of: &str, now: Timestamp) -> bool {
    let active = leads(cluster, "kube-scheduler", Proc::Scheduler);
    let node = pick(cluster, pod).filter(|_| active);
    let due = cluster
        .timers
        .hold("pod-scheduled", of, node.is_some(), now, || {
            Duration::from_millis(200)
        });
    match node {
        Some(node) if due => assign(cluster, pod, &node),
        _ => false,
    }
}

/// The node with the fewest customers' pods that takes the pod.
fn pick(cluster: &Cluster, pod: &Pod) -> Option<String> {
    let realm = cluster.realms.get(VINTAGE_REALM)?;
    let zone = volume_of(pod).and_then(|volume| cluster.apps.volumes.get(volume));
    let wanted = pod.value["spec"]["nodeSelector"]
        .get(CONTROL_PLANE)
        .is_some();
    realm
        .of_kind("Node")
        .filter(|(_, node)| node["spec"]["unschedulable"] != true)
        .filter(|(_, node)| node["status"]["conditions"][0]["status"] == "True")
        .filter(|(_, node)| wanted == node["metadata"]["labels"].get(CONTROL_PLANE).is_some())
        .filter(|(_, node)| {
            let own = node["metadata"]["labels"]["topology.kubernetes.io/zone"].as_str();
            zone.is_none_or(|zone| own == Some(zone))
        })
        .map(|(key, _)| key.name.as_str())
        .min_by_key(|node| {
            let load = realm.of_kind("Pod").filter(|(_, other)| {
                other["spec"]["nodeName"] == *node && Leaving::of(other) != Leaving::Stays
            });
            (load.count(), *node)
        })
        .map(str::to_owned)
}

fn assign(cluster: &mut Cluster, pod: &Pod, node: &str) -> bool {
    let zone = instance_of(cluster, node).map(|instance| instance.zone.clone());
    if let (Some(volume), Some(zone)) = (volume_of(pod), zone) {
        // Made in the zone of the node that its pod is given first.
        let volume = volume.to_owned();
        cluster.apps.volumes.entry(volume).or_insert(zone);
    }
    let realm = cluster.realms.get_mut(VINTAGE_REALM);
    realm.is_some_and(|realm| realm.edit(&pod.key, |pod| pod["spec"]["nodeName"] = json!(node)))
}

fn set_ready(cluster: &mut Cluster, pod: &Key, ready: bool) -> bool {
    let (phase, status) = if ready {
        ("Running", "True")
    } else {
        ("Running", "False")
    };
    let realm = cluster.realms.get_mut(VINTAGE_REALM);
    realm.is_some_and(|realm| {
        realm.edit(pod, |pod| {
            pod["status"]["phase"] = json!(phase);
            pod["status"]["conditions"][0]["status"] = json!(status);
        })
    })
}

/// The volume of a pod, by the name of its claim.
fn volume_of(pod: &Pod) -> Option<&str> {
    pod.value["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"].as_str()
}

/// VolumeAttachment of a volume, and its node.
fn attachment<'c>(cluster: &'c Cluster, volume: &str) -> Option<(Key, &'c str)> {
    let realm = cluster.realms.get(VINTAGE_REALM)?;
    let mut all = realm.of_kind("VolumeAttachment");
    all.find(|(_, found)| found["spec"]["source"]["persistentVolumeName"] == volume)
        .map(|(key, found)| {
            let node = found["spec"]["nodeName"].as_str();
            (key.clone(), node.unwrap_or_default())
        })
}

fn has_volume(cluster: &Cluster, volume: &str, node: &str) -> bool {
    attachment(cluster, volume).is_some_and(|(_, on)| on == node)
}

fn attach(cluster: &mut Cluster, volume: &str, node: &str, now: Timestamp) -> bool {
    let object = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": {"name": format!("csi-{volume}")},
        "spec": {
            "attacher": "ebs.csi.aws.com",
            "nodeName": node,
            "source": {"persistentVolumeName": volume},
        },
        "status": {"attached": true},
    });
    if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
        realm.put(object, now);
    }
    true
}

/// A volume whose pod is on its node no more is detached.
fn detach(cluster: &mut Cluster, now: Timestamp) -> bool {
    let Some(realm) = cluster.realms.get(VINTAGE_REALM) else {
        return false;
    };
    let attached: Vec<(Key, bool)> = realm
        .of_kind("VolumeAttachment")
        .map(|(key, found)| {
            let volume = &found["spec"]["source"]["persistentVolumeName"];
            let used = realm.of_kind("Pod").any(|(_, pod)| {
                pod["spec"]["nodeName"] == found["spec"]["nodeName"]
                    && pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == *volume
            });
            (key.clone(), used)
        })
        .collect();
    let mut acted = false;
    for (key, used) in attached {
        let chance = &cluster.chance;
        let due = cluster
            .timers
            .hold("volume-detached", &key.name, !used, now, || {
                chance.millis(4_000, 9_000, "volume-detached", &key.name)
            });
        if let (true, Some(realm)) = (due, cluster.realms.get_mut(VINTAGE_REALM)) {
            realm.remove(&key);
            acted = true;
        }
    }
    acted
}

/// A Node is gone: what was attached to it is free.
pub(super) fn forget_volumes(cluster: &mut Cluster, node: &str) {
    if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
        let attached: Vec<Key> = realm
            .of_kind("VolumeAttachment")
            .filter(|(_, found)| found["spec"]["nodeName"] == node)
            .map(|(key, _)| key.clone())
            .collect();
        for key in attached {
            realm.remove(&key);
        }
    }
}

/// A new Node gets a pod of the DaemonSet.
pub(super) fn place_daemons(cluster: &mut Cluster, instance: &str, now: Timestamp) {
    let node = cluster.cloud.instances[instance].dns.clone();
    if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": format!("{DAEMON}-{node}"),
                "namespace": "kube-system",
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "DaemonSet", "name": DAEMON, "controller": true,
                }],
            },
            "spec": {"nodeName": node},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        realm.put(pod, now);
    }
}

/// Somebody ends a running instance, or takes its Node away: whoever still runs there dies with it.
pub(crate) fn notice_undrained(cluster: &mut Cluster, instance: &str, now: Timestamp) {
    let instances = &cluster.cloud.instances;
    // On a node that nobody hears of nothing can be drained.
    let drainable = |i: &&Instance| i.runs() && i.node == NodeState::Ready;
    let Some(found) = instances.get(instance).filter(drainable) else {
        return;
    };
    let node = found.dns.clone();
    let who = crate::normalized::role_name(cluster, instance).unwrap_or_default();
    let running = pods(cluster)
        .into_iter()
        .find(|pod| pod.node.as_deref() == Some(node.as_str()));
    if let Some(pod) = running {
        let what = format!("{who} was ended with a pod of {} on it", pod.app);
        cluster.accident(now, what);
    }
    if has_attached(cluster, &node) {
        cluster.accident(now, format!("{who} was ended with a volume attached to it"));
    }
}

/// Whoever would be ended with a node that drains: the customer's pods that have not been asked to go yet, with their uids.
pub(super) fn leaving(cluster: &Cluster, node: &str) -> Vec<(Key, String)> {
    let here = |pod: &Pod| pod.node.as_deref() == Some(node) && !pod.ending;
    let all = pods(cluster).into_iter().filter(here);
    all.map(|pod| {
        let uid = pod.value["metadata"]["uid"].as_str().unwrap_or_default();
        (pod.key, uid.to_owned())
    })
    .collect()
}

/// Whether no pod of the customer's and no volume is on a node any more.
pub(super) fn has_left(cluster: &Cluster, node: &str) -> bool {
    let mut all = pods(cluster).into_iter();
    !all.any(|pod| pod.node.as_deref() == Some(node)) && !has_attached(cluster, node)
}

fn has_attached(cluster: &Cluster, node: &str) -> bool {
    cluster.realms.get(VINTAGE_REALM).is_some_and(|realm| {
        let mut all = realm.of_kind("VolumeAttachment");
        all.any(|(_, found)| found["spec"]["nodeName"] == node)
    })
}

/// Customers' pods that serve, by `namespace/name` of what they are of.
pub(crate) fn serving(cluster: &Cluster) -> std::collections::BTreeMap<String, usize> {
    let all = pods(cluster);
    let apps = cluster.apps.all.iter();
    apps.map(|app| {
        let serving = all
            .iter()
            .filter(|pod| pod.is_of(app) && !pod.ending && serves(cluster, pod));
        (format!("{}/{}", app.namespace, app.name), serving.count())
    })
    .collect()
}
