//! Mirror pods: what kubelets publish of the static pods they run.

use std::time::Duration;

use drover_model::disruption;
use drover_step_api::Timestamp;
use serde_json::{Value, json};

use super::{api, nodes};
use crate::{
    objects::Key,
    state::{Cluster, Host, NodeState, Proc, VINTAGE_REALM},
};

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let mut acted = false;
    let ids: Vec<String> = cluster.hosts.keys().cloned().collect();
    for id in &ids {
        let host = &cluster.hosts[id];
        let differs: Vec<Proc> = Proc::ALL
            .into_iter()
            .filter(|proc| proc.manifest(&host.flavour).is_some())
            .filter(|proc| host.runs(*proc) != host.published.contains(proc))
            .collect();
        // Nothing is published by a kubelet without a Node, or into an API that does not answer.
        let can = host.kubelet
            && cluster
                .cloud
                .instances
                .get(id)
                .is_some_and(|instance| instance.node != NodeState::Absent)
            && api::somebody_serves(cluster);
        if cluster
            .timers
            .hold("mirror-pods", id, can && !differs.is_empty(), now, || {
                Duration::from_secs(1)
            })
        {
            for proc in differs {
                publish(cluster, id, proc, now);
            }
            acted = true;
        }
    }
    acted
}

/// Publishes everything that runs, at the beginning.
pub(crate) fn publish_all(cluster: &mut Cluster, now: Timestamp) {
    let ids: Vec<String> = cluster.hosts.keys().cloned().collect();
    for id in ids {
        for proc in Proc::ALL {
            if proc.manifest(&cluster.hosts[&id].flavour).is_some() {
                publish(cluster, &id, proc, now);
            }
        }
    }
}

fn publish(cluster: &mut Cluster, id: &str, proc: Proc, now: Timestamp) {
    let host = &cluster.hosts[id];
    let runs = host.runs(proc);
    let Some(object) = pod(cluster, host, proc) else {
        return;
    };
    if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
        if runs {
            realm.put(object, now);
        } else {
            realm.remove(&Key::of(&object));
        }
    }
    if let Some(host) = cluster.hosts.get_mut(id) {
        if runs {
            host.published.insert(proc);
        } else {
            host.published.remove(&proc);
        }
    }
}

fn pod(cluster: &Cluster, host: &Host, proc: Proc) -> Option<Value> {
    let manifest = proc.manifest(&host.flavour)?;
    let stem = manifest.trim_end_matches(".yaml");
    let labels = if host.is_vintage() || proc == Proc::ApiHealthz {
        json!({"app.kubernetes.io/name": proc.word()})
    } else {
        json!({"component": stem, "tier": "control-plane"})
    };
    let node = cluster
        .realms
        .get(VINTAGE_REALM)?
        .get(&nodes::key(&host.node))?;
    Some(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("{stem}-{}", host.node),
            "namespace": "kube-system",
            "labels": labels,
            "annotations": {disruption::MIRROR: format!("{stem}-mirror")},
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Node", "controller": true,
                "name": host.node, "uid": node["metadata"]["uid"],
            }],
        },
        "spec": {
            "nodeName": host.node,
            "hostNetwork": true,
            "containers": [{"name": stem, "command": command(cluster, host, proc, stem)}],
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }))
}

/// Flags that somebody reads; real processes have many more.
fn command(cluster: &Cluster, host: &Host, proc: Proc, stem: &str) -> Vec<String> {
    let config = &host.config;
    let facts = &cluster.facts;
    let mut flags = vec![stem.trim_start_matches("k8s-").to_owned()];
    match proc {
        Proc::ApiServer => {
            let audience = facts.partition.sts_audience();
            flags.push(format!("--secure-port={}", config.port));
            flags.push(format!("--etcd-prefix={}", config.etcd_prefix));
            flags.push(format!("--service-cluster-ip-range={}", facts.service_cidr));
            flags.push(format!(
                "--api-audiences={audience},https://{}",
                facts.old_name
            ));
            flags.extend(
                config
                    .issuers
                    .iter()
                    .map(|issuer| format!("--service-account-issuer={issuer}")),
            );
        }
        Proc::ControllerManager => {
            flags.push("--allocate-node-cidrs=true".to_owned());
            flags.push(format!("--cluster-cidr={}", config.cluster_cidr));
            flags.push(format!("--node-cidr-mask-size={}", config.node_cidr_mask));
        }
        Proc::Scheduler | Proc::ApiHealthz | Proc::Etcd => {}
    }
    flags
}
