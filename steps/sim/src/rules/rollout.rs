//! Rollouts of the control plane: Machines that were made from another spec than the one that stands there now are replaced,
//! one at a time, as a KubeadmControlPlane with `maxSurge: 1` does it. First one more, then the oldest outdated one less, and
//! neither while anything is not whole: its preflight asks for every member of etcd and every Machine.
//!
//! A Machine that is deleted is drained, leaves the load balancer, and loses its etcd member, in this order; then its instance
//! ends.

use std::cmp::Reverse;

use drover_model::cr::keys;
use drover_step_api::Timestamp;
use serde_json::Value;

use super::{capi, kcp};
use crate::{
    objects::Key,
    state::{Cluster, VINTAGE_REALM},
};

/// Annotation on an AWSMachine: the template that it was made from.
pub(super) const CLONED_FROM: &str = "cluster.x-k8s.io/cloned-from-name";

/// Machines that were made from another spec, oldest first.
pub(super) fn outdated(cluster: &mut Cluster, object: &Value) -> Vec<String> {
    let changes = cluster.capi.changes();
    match &cluster.outdated {
        Some((as_of, machines)) if *as_of == changes => machines.clone(),
        _ => {
            let machines = compare(cluster, object);
            cluster.outdated = Some((changes, machines.clone()));
            machines
        }
    }
}

fn compare(cluster: &Cluster, object: &Value) -> Vec<String> {
    let spec = &object["spec"];
    let template = &spec["machineTemplate"]["infrastructureRef"]["name"];
    let mut machines = capi::machines(cluster);
    machines.retain(|name| {
        let config = cluster.key("bootstrap.cluster.x-k8s.io", "KubeadmConfig", name);
        let config = cluster.capi.get(&config).map(|config| &config["spec"]);
        let version = capi::machine(cluster, name).map(|machine| &machine["spec"]["version"]);
        let made_from =
            capi::aws_machine(cluster, name)["metadata"]["annotations"][CLONED_FROM].clone();
        // What is not there any more says nothing.
        config.is_some_and(|config| *config != spec["kubeadmConfigSpec"])
            || version.is_some_and(|version| *version != spec["version"])
            || (!made_from.is_null() && made_from != *template)
    });
    machines
}

pub(super) fn run(cluster: &mut Cluster, object: &Value, active: bool, now: Timestamp) -> bool {
    let machines = capi::machines(cluster);
    let outdated = outdated(cluster, object);
    let wanted = object["spec"]["replicas"].as_u64().unwrap_or(1);
    let count = machines.len() as u64;
    let due = active
        && (count > wanted || (count == wanted && !outdated.is_empty()))
        && kcp::is_healthy(cluster, &machines)
        && kcp::unknown_members(cluster).is_empty();
    let nth = cluster.machines_made * 2 + u64::from(count > wanted);
    let chance = &cluster.chance;
    if !cluster.timers.hold("kcp-rolls-out", "", due, now, || {
        chance.millis_nth(2_000, 6_000, "kcp-rolls-out", "", nth)
    }) {
        return false;
    }
    if count > wanted {
        let candidates = if outdated.is_empty() {
            machines
        } else {
            outdated
        };
        return remove_one(cluster, &candidates, now);
    }
    upload_configuration(cluster, object);
    kcp::make_machine(cluster, object, now)
}

/// The oldest in the zone that has the most.
fn remove_one(cluster: &mut Cluster, candidates: &[String], now: Timestamp) -> bool {
    let zone = |name: &String| {
        capi::machine(cluster, name)
            .map(|machine| machine["spec"]["failureDomain"].clone())
            .unwrap_or_default()
    };
    let all: Vec<Value> = capi::machines(cluster).iter().map(zone).collect();
    let crowd = |name: &&String| {
        let own = zone(name);
        Reverse(all.iter().filter(|other| **other == own).count())
    };
    let Some(name) = candidates.iter().min_by_key(crowd) else {
        return false;
    };
    let key = cluster.key(keys::CAPI_GROUP, "Machine", name);
    cluster.capi.delete(&key, now)
}

/// `kubeadm join` reads the cluster's configuration from the cluster.
fn upload_configuration(cluster: &mut Cluster, object: &Value) {
    let config = object["spec"]["kubeadmConfigSpec"]["clusterConfiguration"].to_string();
    let key = Key::new("", "ConfigMap", "kube-system", "kubeadm-config");
    if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
        realm.edit(&key, |map| {
            map["data"]["ClusterConfiguration"] = Value::String(config);
        });
    }
}
