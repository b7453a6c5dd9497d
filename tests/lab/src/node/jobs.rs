//! Pods of Jobs that act on the node: their scripts are run on it, for real, as written.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{boot::LOOK, kubelet::note, root::path, spec::NodeSpec};
use crate::process::Spec;

/// Runs what is pinned to this node. Never ends.
pub(crate) async fn run(spec: &NodeSpec, client: Client) {
    let pods: Api<Pod> = Api::namespaced(client, "kube-system");
    let mine = ListParams::default()
        .labels("app.kubernetes.io/managed-by=drover")
        .fields(&format!("spec.nodeName={},status.phase=Pending", spec.name));
    let mut done = BTreeSet::new();
    loop {
        if let Ok(found) = pods.list(&mine).await {
            for pod in found {
                let Some(name) = pod.metadata.name.clone() else {
                    continue;
                };
                if !done.contains(&name) {
                    let succeeded = act(spec, &name, &pod).await;
                    finish(spec, &pods, &name, succeeded).await;
                    done.insert(name);
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn act(spec: &NodeSpec, name: &str, pod: &Pod) -> bool {
    let script = match script(pod) {
        Ok(script) => script,
        Err(error) => {
            note(spec, &format!("{name}: {error:#}"));
            return false;
        }
    };
    let shell = Spec {
        name: name.to_owned(),
        command: ["/bin/sh", "-ec", &script].map(str::to_owned).to_vec(),
        env: vec![("PATH".to_owned(), path(spec))],
        log: spec.log("jobs"),
        root: Some(spec.root()),
    };
    let ended = async { anyhow::Ok(shell.begin()?.wait().await?) }.await;
    note(spec, &format!("{name}: {ended:?}"));
    ended.is_ok_and(|status| status.success())
}

/// The script of a Job that has the form in which Drover acts on nodes; anything else is refused.
fn script(pod: &Pod) -> anyhow::Result<String> {
    let pod = serde_json::to_value(pod)?;
    let command = &pod["spec"]["containers"][0]["command"];
    let words: Vec<&str> = command
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    match words.as_slice() {
        ["chroot", "/host", "/bin/sh", "-ec", script] => Ok((*script).to_owned()),
        _ => anyhow::bail!("it does not have the form in which Drover acts on nodes"),
    }
}

async fn finish(spec: &NodeSpec, pods: &Api<Pod>, name: &str, succeeded: bool) {
    let phase = if succeeded { "Succeeded" } else { "Failed" };
    let code = i32::from(!succeeded);
    let status = json!({"status": {"phase": phase, "containerStatuses": [{
        "name": "host", "image": "", "imageID": "", "ready": false, "restartCount": 0, "started": false,
        "state": {"terminated": {"exitCode": code, "reason": if succeeded { "Completed" } else { "Error" }}},
    }]}});
    // The job may have stopped the API that this goes to; then another one answers soon.
    for _ in 0..240 {
        let patch = Patch::Merge(&status);
        match pods
            .patch_status(name, &PatchParams::default(), &patch)
            .await
        {
            Ok(_) => return,
            Err(kube::Error::Api(error)) if error.code == 404 => return,
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
    note(spec, &format!("{name}: nobody takes its status"));
}
