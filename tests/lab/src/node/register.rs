//! The node's own objects: its Node, and mirror pods of its static pods.

use std::{collections::BTreeMap, fs, path::PathBuf};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{boot::LOOK, spec::NodeSpec};
use crate::api;

/// Annotation of a mirror pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The kubelet's kubeconfig, seen from outside the node's root.
pub(crate) fn kubeconfig_file(spec: &NodeSpec) -> PathBuf {
    spec.folder.join("kubelet.kubeconfig")
}

/// A client for the kubelet, once its kubeconfig is there. A Cluster API node's kubelet asks its own API server.
pub(crate) async fn client(spec: &NodeSpec) -> Client {
    loop {
        if let Ok(text) = fs::read_to_string(spec.inside(&spec.kubeconfig)) {
            let text = if spec.bootstrap.is_some() {
                on_this_node(&text)
            } else {
                text
            };
            let file = kubeconfig_file(spec);
            if fs::write(&file, text).is_ok()
                && let Ok(client) = api::client(&file).await
            {
                return client;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn on_this_node(kubeconfig: &str) -> String {
    let lines = kubeconfig
        .lines()
        .map(|line| match line.split_once("server:") {
            Some((indent, _)) => format!("{indent}server: https://127.0.0.1:443\n"),
            None => format!("{line}\n"),
        });
    lines.collect()
}

/// Keeps Node and mirror pods as they have to be. Never ends.
pub(crate) async fn keep(
    spec: &NodeSpec,
    client: Client,
    wanted: watch::Receiver<BTreeMap<String, Value>>,
) {
    let nodes: Api<Node> = Api::all(client.clone());
    let pods: Api<Pod> = Api::namespaced(client, "kube-system");
    let mut registered = false;
    loop {
        // Without an API there is nothing to keep, and the next look comes soon.
        if !registered {
            registered = register(spec, &nodes).await.is_ok();
        }
        if registered {
            let now = wanted.borrow().clone();
            drop(sync(spec, &pods, &now).await);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn register(spec: &NodeSpec, nodes: &Api<Node>) -> kube::Result<()> {
    if nodes.get_opt(&spec.name).await?.is_some() {
        return Ok(());
    }
    let node: Node = serde_json::from_value(json!({
        "metadata": {
            "name": spec.name,
            "labels": spec.labels,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {"providerID": spec.provider_id},
    }))
    .map_err(kube::Error::SerdeError)?;
    nodes.create(&PostParams::default(), &node).await?;
    Ok(())
}

async fn sync(
    spec: &NodeSpec,
    pods: &Api<Pod>,
    wanted: &BTreeMap<String, Value>,
) -> kube::Result<()> {
    let mine = ListParams::default().fields(&format!("spec.nodeName={}", spec.name));
    let mut there = BTreeMap::new();
    for pod in pods.list(&mine).await? {
        let annotations = pod.metadata.annotations.unwrap_or_default();
        if let (Some(name), Some(digest)) = (pod.metadata.name, annotations.get(MIRROR)) {
            there.insert(name, digest.clone());
        }
    }
    for (name, pod) in wanted {
        let digest = pod["metadata"]["annotations"][MIRROR].as_str();
        match there.get(name) {
            Some(known) if Some(known.as_str()) == digest => {}
            Some(_) => remove(pods, name).await?,
            None => {
                let pod: Pod =
                    serde_json::from_value(pod.clone()).map_err(kube::Error::SerdeError)?;
                pods.create(&PostParams::default(), &pod).await?;
            }
        }
    }
    for name in there.keys().filter(|name| !wanted.contains_key(*name)) {
        remove(pods, name).await?;
    }
    Ok(())
}

async fn remove(pods: &Api<Pod>, name: &str) -> kube::Result<()> {
    let now = DeleteParams::default().grace_period(0);
    pods.delete(name, &now).await.map(drop)
}
