//! The kubeadm bootstrap provider: turns a KubeadmConfig into bootstrap data.
//!
//! It resolves every file first. One Secret that is missing, and there is no data, only the condition
//! `DataSecretAvailable=False` and another look later, each twice as late as the one before. A change of the KubeadmConfig
//! makes it look at once.

use std::{collections::BTreeMap, time::Duration};

use drover_model::{names, target::api};
use drover_step_api::Timestamp;
use serde_json::{Value, json};

use super::capi;
use crate::{
    keys::{Identities, ca_identity, key_identity},
    objects::{Key, SecretData},
    state::{Bootstrap, Cluster, VINTAGE_REALM},
    text::rfc3339,
};

/// Timer of the next look at a machine's configuration.
pub(crate) const LOOK: &str = "bootstrap-data";

const LONGEST_BACKOFF: Duration = Duration::from_secs(1000);

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let waiting: Vec<(String, Value)> = cluster
        .capi
        .of_kind("KubeadmConfig")
        .filter(|(_, config)| config["status"]["dataSecretName"].is_null())
        .filter(|(_, config)| config["metadata"].get("deletionTimestamp").is_none())
        .map(|(key, config)| (key.name.clone(), config.clone()))
        .collect();
    let mut acted = false;
    for (machine, config) in waiting {
        let active = capi::infrastructure_ready(cluster) && !capi::is_paused(cluster, &config);
        let failures = cluster
            .bootstrap_failures
            .get(&machine)
            .copied()
            .unwrap_or(0);
        if cluster
            .timers
            .hold(LOOK, &machine, active, now, || backoff(failures))
        {
            acted |= look(cluster, &machine, &config, now);
        }
    }
    acted
}

fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1)
        .saturating_mul(1 << failures.min(10))
        .min(LONGEST_BACKOFF)
}

fn look(cluster: &mut Cluster, machine: &str, config: &Value, now: Timestamp) -> bool {
    let init = !is_initialised(cluster);
    let other_inits = cluster.bootstraps.iter().any(|(other, bootstrap)| {
        bootstrap.init && other != machine && capi::machine(cluster, other).is_some()
    });
    if init && other_inits {
        return false;
    }
    match resolve(cluster, config) {
        Ok(files) => {
            write(cluster, machine, config, init, files, now);
            true
        }
        Err(missing) => {
            *cluster
                .bootstrap_failures
                .entry(machine.to_owned())
                .or_default() += 1;
            condition(
                cluster,
                machine,
                "False",
                "DataSecretGenerationFailed",
                &missing,
                now,
            )
        }
    }
}

/// Cluster API calls a control plane initialised once kubeadm has uploaded its configuration.
pub(super) fn is_initialised(cluster: &Cluster) -> bool {
    let key = Key::new("", "ConfigMap", "kube-system", "kubeadm-config");
    cluster
        .realms
        .get(VINTAGE_REALM)
        .is_some_and(|realm| realm.contains(&key))
}

/// Files by path, or the name of the first Secret that is missing.
fn resolve(cluster: &Cluster, config: &Value) -> Result<BTreeMap<String, String>, String> {
    let mut files = BTreeMap::new();
    for file in config["spec"]["files"].as_array().into_iter().flatten() {
        let path = file["path"].as_str().unwrap_or_default().to_owned();
        let secret = &file["contentFrom"]["secret"];
        let content = match (file["content"].as_str(), secret["name"].as_str()) {
            (Some(content), _) => content.to_owned(),
            (None, Some(name)) => {
                let key = secret["key"].as_str().unwrap_or_default();
                cluster
                    .capi
                    .secret(&cluster.facts.namespace, name)
                    .and_then(|secret| secret.data.get(key))
                    .map(|bytes| String::from_utf8_lossy(bytes.expose()).into_owned())
                    .ok_or_else(|| format!("Secret {name} has no key {key} or does not exist"))?
            }
            (None, None) => String::new(),
        };
        files.insert(path, content);
    }
    Ok(files)
}

fn write(
    cluster: &mut Cluster,
    machine: &str,
    config: &Value,
    init: bool,
    files: BTreeMap<String, String>,
    now: Timestamp,
) {
    let [ca, etcd, _] = names::ca_secrets(&cluster.facts.id);
    let part = |cluster: &Cluster, secret: &str, key: &str| {
        cluster
            .capi
            .secret(&cluster.facts.namespace, secret)
            .and_then(|secret| secret.data.get(key))
            .map(|bytes| bytes.expose().to_vec())
            .unwrap_or_default()
    };
    let sa = names::sa_secret(&cluster.facts.id);
    let identities = Identities {
        ca: ca_identity(&part(cluster, &ca, "tls.crt")),
        sa: key_identity(&part(cluster, &sa, "tls.key")),
        sa_old: String::new(),
        encryption: String::new(),
    };
    let bootstrap = Bootstrap {
        init,
        spec: config["spec"].clone(),
        files,
        identities,
        etcd_ca: ca_identity(&part(cluster, &etcd, "tls.crt")),
    };
    cluster.bootstraps.insert(machine.to_owned(), bootstrap);
    cluster.bootstrap_failures.remove(machine);
    let data = SecretData {
        type_: "cluster.x-k8s.io/secret".to_owned(),
        ..SecretData::default()
    };
    let namespace = cluster.facts.namespace.clone();
    let labels = [("cluster.x-k8s.io/cluster-name", cluster.facts.id.as_str())];
    cluster
        .capi
        .put_secret(&namespace, machine, &labels, data, now);
    let owner = json!([{
        "apiVersion": api::BOOTSTRAP, "kind": "KubeadmConfig", "name": machine,
        "uid": config["metadata"]["uid"],
    }]);
    cluster
        .capi
        .edit(&Key::secret(&namespace, machine), |secret| {
            secret["metadata"]["ownerReferences"] = owner;
        });
    let key = cluster.key("bootstrap.cluster.x-k8s.io", "KubeadmConfig", machine);
    cluster.capi.edit(&key, |config| {
        config["status"]["dataSecretName"] = json!(machine);
        config["status"]["ready"] = json!(true);
    });
    condition(cluster, machine, "True", "", "", now);
}

fn condition(
    cluster: &mut Cluster,
    machine: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    let key = cluster.key("bootstrap.cluster.x-k8s.io", "KubeadmConfig", machine);
    cluster.capi.edit(&key, |config| {
        let old = &config["status"]["conditions"][0];
        if old["status"] == status && old["message"] == message {
            return;
        }
        config["status"]["conditions"] = json!([{
            "type": "DataSecretAvailable", "status": status, "reason": reason,
            "message": message, "lastTransitionTime": rfc3339(now),
        }]);
    })
}
