//! app-operator makes the Charts of a cluster's apps, and chart-operator installs them with Helm. A Chart that is deleted
//! takes its release along, unless chart-operator has been kept from it; and while app-operator runs it comes back.

use std::time::Duration;

use drover_model::names;
use drover_step_api::Timestamp;
use serde_json::{Value, json};

use super::{cni, deployments};
use crate::{
    objects::Key,
    state::{Cluster, VINTAGE_REALM},
};

/// Apps that later come from the Cluster API side.
pub(crate) const DEFAULT_APPS: [&str; 5] = [
    "aws-cloud-controller-manager",
    "aws-ebs-csi-driver",
    "cilium",
    "coredns",
    "vertical-pod-autoscaler-crd",
];
/// API group of Charts.
pub(crate) const GROUP: &str = "application.giantswarm.io";
/// Finalizer of chart-operator.
pub(crate) const FINALIZER: &str = "operatorkit.giantswarm.io/chart-operator-chart";
/// Annotation: chart-operator leaves the Chart alone.
const PAUSED: &str = "chart-operator.giantswarm.io/paused";

/// Names of their timers.
pub(super) const OPERATOR: &str = "app-operator";
pub(super) const INSTALLER: &str = "chart-operator";

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    remake(cluster, now) | uninstall(cluster, now)
}

/// Charts that are missing while app-operator runs.
fn remake(cluster: &mut Cluster, now: Timestamp) -> bool {
    let id = &cluster.facts.id;
    if !deployments::runs(&cluster.vintage, id, &names::app_operator(id)) {
        return false;
    }
    let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) else {
        return false;
    };
    let missing = cluster
        .upkeep
        .charts
        .iter()
        .any(|(key, _)| !realm.contains(key));
    let chance = &cluster.chance;
    if !cluster.timers.hold(OPERATOR, "", missing, now, || {
        chance.millis(60_000, 300_000, "app-operator", "")
    }) {
        return false;
    }
    for (key, chart) in cluster.upkeep.charts.iter() {
        if !realm.contains(key) {
            realm.put(chart.clone(), now);
        }
    }
    true
}

/// Charts that are being deleted, while chart-operator runs.
fn uninstall(cluster: &mut Cluster, now: Timestamp) -> bool {
    let Some(realm) = cluster.realms.get(VINTAGE_REALM) else {
        return false;
    };
    let going: Vec<Key> = realm
        .of_kind("Chart")
        .filter(|(_, chart)| chart["metadata"].get("deletionTimestamp").is_some())
        .filter(|(_, chart)| chart["metadata"]["annotations"][PAUSED] != "true")
        .map(|(key, _)| key.clone())
        .collect();
    if going.is_empty() || !deployments::runs(realm, "giantswarm", "chart-operator") {
        return false;
    }
    let mut acted = false;
    for key in going {
        let timers = &mut cluster.timers;
        if !timers.hold(INSTALLER, &key.name, true, now, || Duration::from_secs(10)) {
            continue;
        }
        acted = true;
        let release = release_key(&key.name);
        if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
            realm.remove(&release);
            realm.edit(&key, |chart| chart["metadata"]["finalizers"] = json!([]));
        }
        if DEFAULT_APPS.contains(&key.name.as_str()) {
            let what = format!("chart-operator uninstalled {}", key.name);
            cluster.accident(now, what);
        }
        if key.name == "cilium" {
            cni::uninstall(cluster);
        }
    }
    acted
}

/// The Secret in which Helm keeps a release.
pub(crate) fn release_key(name: &str) -> Key {
    Key::secret("kube-system", &format!("sh.helm.release.v1.{name}.v1"))
}

/// A Chart as app-operator makes it.
pub(crate) fn chart(name: &str) -> Value {
    json!({
        "apiVersion": "application.giantswarm.io/v1alpha1",
        "kind": "Chart",
        "metadata": {
            "name": name,
            "namespace": "giantswarm",
            "finalizers": [FINALIZER],
            "labels": {"giantswarm.io/managed-by": "app-operator"},
        },
        "spec": {
            "name": name,
            "namespace": "kube-system",
            "tarballURL": format!("https://charts.example.io/default/{name}.tgz"),
        },
    })
}
