//! What keeps the cluster's objects as they should be: GitOps and app management, as they are at the beginning.

use std::{collections::BTreeMap, sync::Arc};

use drover_model::names;
use drover_ports::SecretBytes;
use drover_step_api::Timestamp;
use serde_json::{Value, json};

use crate::{
    objects::{Key, SecretData},
    rules::{autoscaler, charts, cni, gitops, migrator},
    state::{Cluster, VINTAGE_REALM},
};

/// Kinds that customers keep in Git, and what Flux applies them by: the group of that, its version, its kind, what its name
/// ends with.
const IN_GIT: [(&[&str], [&str; 4]); 2] = [
    (
        &[
            "AWSCluster",
            "AWSControlPlane",
            "Cluster",
            "G8sControlPlane",
        ],
        [
            "kustomize.toolkit.fluxcd.io",
            "v1",
            "Kustomization",
            "manifests",
        ],
    ),
    (
        &["AWSMachineDeployment", "MachineDeployment"],
        ["helm.toolkit.fluxcd.io", "v2", "HelmRelease", "node-pools"],
    ),
];

pub(super) fn fill(cluster: &mut Cluster, start: Timestamp) {
    git(cluster, start);
    let id = cluster.facts.id.clone();
    cluster
        .vintage
        .put(deployment(&id, &names::app_operator(&id)), start);
    apps_in_the_cluster(cluster, start);
    cluster.cni.installed = true;
    let api = cluster.facts.old_name.clone();
    cni::configure(cluster, &api, start);
    let instances: Vec<String> = cluster.cloud.instances.keys().cloned().collect();
    for instance in instances {
        cni::start(cluster, &instance, start);
    }
}

/// Flux marks what it applies.
fn git(cluster: &mut Cluster, start: Timestamp) {
    let mut git = Vec::new();
    for (kinds, [group, version, kind, suffix]) in IN_GIT {
        let name = format!("{}-{suffix}", cluster.facts.id);
        let keys: Vec<Key> = kinds
            .iter()
            .flat_map(|kind| cluster.vintage.of_kind(kind))
            .map(|(key, _)| key.clone())
            .collect();
        let mut manifests = Vec::new();
        for key in keys {
            cluster.vintage.edit(&key, |object| {
                let labels = &mut object["metadata"]["labels"];
                labels[format!("{group}/name")] = json!(name);
                labels[format!("{group}/namespace")] = json!(gitops::NAMESPACE);
            });
            if let Some(object) = cluster.vintage.get(&key) {
                let manifest = manifest(object);
                manifests.push((key, manifest));
            }
        }
        cluster.vintage.put(
            json!({
                "apiVersion": format!("{group}/{version}"),
                "kind": kind,
                "metadata": {"name": name, "namespace": gitops::NAMESPACE},
                "spec": {"interval": "10m"},
            }),
            start,
        );
        git.push((Key::new(group, kind, gitops::NAMESPACE, &name), manifests));
    }
    cluster.upkeep.git = Arc::new(git);
}

/// An object as a person writes it.
fn manifest(object: &Value) -> Value {
    let metadata = &object["metadata"];
    json!({
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": metadata["labels"],
            "annotations": metadata["annotations"],
        },
        "spec": object["spec"],
    })
}

fn deployment(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": 1},
        "status": {"replicas": 1, "readyReplicas": 1},
    })
}

fn apps_in_the_cluster(cluster: &mut Cluster, start: Timestamp) {
    let charts: Vec<(Key, Value)> = charts::DEFAULT_APPS
        .iter()
        .map(|name| {
            let chart = charts::chart(name);
            (Key::of(&chart), chart)
        })
        .collect();
    let masters = cluster.facts.masters;
    let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) else {
        return;
    };
    realm.put(deployment("giantswarm", "chart-operator"), start);
    realm.put(deployment("kube-system", autoscaler::NAME), start);
    for (_, chart) in &charts {
        realm.put(chart.clone(), start);
    }
    // Every boot of one of several masters applies it; its Job is long over.
    if masters > 1 {
        realm.put(charts::chart(migrator::NAME), start);
    }
    for name in charts::DEFAULT_APPS {
        let release = SecretData {
            type_: "helm.sh/release.v1".to_owned(),
            data: BTreeMap::from([(
                "release".to_owned(),
                SecretBytes::new(name.as_bytes().to_vec()),
            )]),
            sealed: None,
        };
        let key = charts::release_key(name);
        let labels = [("owner", "helm"), ("name", name)];
        realm.put_secret(&key.namespace, &key.name, &labels, release, start);
    }
    cluster.upkeep.charts = Arc::new(charts);
}
