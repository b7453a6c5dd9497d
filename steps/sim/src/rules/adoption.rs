//! The Cluster API side adopts the apps: once the control plane is whole, cluster-apps-operator writes a HelmRelease for each,
//! under the name that the app's release has had all along. Flux upgrades it in place, unless somebody else still manages it. The
//! cluster's app-operator has a dead connection by then, and reads nothing until it is restarted.

use std::time::Duration;

use drover_model::cr::keys;
use drover_step_api::Timestamp;
use serde_json::{Value, json};

use super::{capi, charts, cni};
use crate::{
    objects::Key,
    state::{Cluster, VINTAGE_REALM},
};

const GROUP: &str = "helm.toolkit.fluxcd.io";

/// What HelmReleases are called behind the cluster's id, and the releases that they adopt.
const ADOPTED: [(&str, &str); 4] = [
    ("cilium", "cilium"),
    ("coredns", "coredns"),
    ("cloud-provider-aws", "aws-cloud-controller-manager"),
    ("aws-ebs-csi-driver", "aws-ebs-csi-driver"),
];

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    if cluster.cni.adopted {
        return false;
    }
    let whole = cluster
        .capi
        .get(&capi::control_plane_key(cluster))
        .is_some_and(|object| object["status"]["readyReplicas"] == 3);
    if !whole {
        return false;
    }
    let first = helm_release(cluster, ADOPTED[0].0);
    let missing = !cluster.capi.contains(&first);
    let timers = &mut cluster.timers;
    if timers.hold("apps-operator", "", missing, now, || {
        Duration::from_secs(20)
    }) {
        write(cluster, now);
        return true;
    }
    if missing {
        return false;
    }
    restart(cluster, now) | adopt(cluster, now)
}

fn helm_release(cluster: &Cluster, name: &str) -> Key {
    let name = format!("{}-{name}", cluster.facts.id);
    Key::new(GROUP, "HelmRelease", &cluster.facts.namespace, &name)
}

fn app_operator(cluster: &Cluster, restarted: bool) -> Value {
    let id = &cluster.facts.id;
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("{id}-app-operator-{}", u8::from(restarted)),
            "namespace": cluster.facts.namespace,
            "labels": {
                "app.kubernetes.io/instance": format!("{id}-app-operator"),
                keys::CLUSTER: id,
            },
        },
        "status": {"phase": "Running"},
    })
}

fn write(cluster: &mut Cluster, now: Timestamp) {
    let id = cluster.facts.id.clone();
    for (name, release) in ADOPTED {
        let object = json!({
            "apiVersion": format!("{GROUP}/v2"),
            "kind": "HelmRelease",
            "metadata": {
                "name": format!("{id}-{name}"),
                "namespace": cluster.facts.namespace,
                "labels": {keys::CLUSTER: id},
            },
            "spec": {"releaseName": release, "targetNamespace": "kube-system", "storageNamespace": "kube-system"},
            "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]},
        });
        cluster.capi.put(object, now);
    }
    let pod = app_operator(cluster, false);
    cluster.capi.put(pod, now);
}

/// A pod that was deleted has a successor.
fn restart(cluster: &mut Cluster, now: Timestamp) -> bool {
    let successor = app_operator(cluster, true);
    let there = |pod: &Value| cluster.capi.contains(&Key::of(pod));
    let gone = !there(&successor) && !there(&app_operator(cluster, false));
    let timers = &mut cluster.timers;
    if !timers.hold("app-operator-restarts", "", gone, now, || {
        Duration::from_secs(10)
    }) {
        return false;
    }
    cluster.capi.put(successor, now);
    true
}

fn adopt(cluster: &mut Cluster, now: Timestamp) -> bool {
    let awake = cluster
        .capi
        .contains(&Key::of(&app_operator(cluster, true)));
    let timers = &mut cluster.timers;
    if !timers.hold("flux-adopts", "", awake, now, || Duration::from_secs(40)) {
        return false;
    }
    let mut all = true;
    for (name, release) in ADOPTED {
        let free = cluster.realms.get(VINTAGE_REALM).is_some_and(|realm| {
            let chart = Key::new(charts::GROUP, "Chart", "giantswarm", release);
            !realm.contains(&chart)
        });
        all &= free;
        let ready = if free { "True" } else { "False" };
        let key = helm_release(cluster, name);
        cluster.capi.edit(&key, |object| {
            object["status"]["conditions"] = json!([{"type": "Ready", "status": ready}]);
        });
        if free && name == "cilium" {
            let api = cluster.facts.new_name.clone();
            cni::configure(cluster, &api, now);
        }
    }
    cluster.cni.adopted = all;
    true
}
