//! What kubelet does with manifests: the program of each runs for as long as its file lies there, and a mirror pod says so.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::process::Child;

use super::{
    root::path,
    spec::{MANIFESTS, NodeSpec},
};
use crate::{
    machines::JoinFails,
    process::{Spec, terminate},
};

/// From the end of a static pod's program to its next begin.
const BACK_OFF: Duration = Duration::from_secs(1);

struct Running {
    manifest: Value,
    text: String,
    child: Option<Child>,
    /// When it began or ended last; `None` before the first time.
    since: Option<Instant>,
}

/// The static pods of a node, by file name.
#[derive(Default)]
pub(crate) struct StaticPods {
    running: BTreeMap<String, Running>,
}

impl StaticPods {
    /// Begins what has a manifest, ends what has none any more, begins anew what has changed or died.
    pub(crate) async fn sync(&mut self, spec: &NodeSpec) -> anyhow::Result<()> {
        let found = read(spec)?;
        let gone: Vec<String> = self
            .running
            .iter()
            .filter(|(file, pod)| found.get(*file).is_none_or(|text| *text != pod.text))
            .map(|(file, _)| file.clone())
            .collect();
        for file in gone {
            if let Some(mut child) = self.running.remove(&file).and_then(|pod| pod.child) {
                terminate(&mut child).await;
            }
        }
        for (file, text) in found {
            if !self.running.contains_key(&file) {
                // kubelet passes over what it cannot read, and looks again.
                let Ok(manifest) = serde_saphyr::from_str::<Value>(&text) else {
                    continue;
                };
                let pod = Running {
                    manifest,
                    text,
                    child: None,
                    since: None,
                };
                self.running.insert(file.clone(), pod);
            }
        }
        for (file, pod) in &mut self.running {
            let ended = match &mut pod.child {
                Some(child) => child.try_wait()?.is_some(),
                None => pod.since.is_none_or(|since| since.elapsed() >= BACK_OFF),
            };
            if pod.child.is_some() && ended {
                pod.child = None;
                pod.since = Some(Instant::now());
            } else if pod.child.is_none() && ended {
                pod.child = Some(begin(spec, file, &pod.manifest)?);
                pod.since = Some(Instant::now());
            }
        }
        Ok(())
    }

    /// Mirror pods of what runs, by name.
    pub(crate) fn mirrors(&self, spec: &NodeSpec) -> BTreeMap<String, Value> {
        self.running
            .values()
            .filter(|pod| pod.child.is_some())
            .filter_map(|pod| mirror(spec, &pod.manifest, &pod.text))
            .collect()
    }
}

fn read(spec: &NodeSpec) -> anyhow::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(spec.inside(MANIFESTS)) else {
        return Ok(found);
    };
    for entry in entries {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        if file.starts_with('.') || !file.ends_with(".yaml") {
            continue;
        }
        if spec.join_fails == Some(JoinFails::WithoutEtcd) && file == "etcd.yaml" {
            continue;
        }
        // It may have been moved away since it was listed.
        if let Ok(text) = fs::read_to_string(entry.path()) {
            found.insert(file, text);
        }
    }
    Ok(found)
}

fn begin(spec: &NodeSpec, file: &str, manifest: &Value) -> anyhow::Result<Child> {
    let command = command(spec, manifest).with_context(|| format!("manifest {file}"))?;
    let name = file.trim_end_matches(".yaml");
    let program = Spec {
        name: name.to_owned(),
        command,
        env: vec![("PATH".to_owned(), path(spec))],
        log: spec.log(name),
        root: Some(spec.root()),
    };
    program.begin()
}

/// What the pod's one container runs: its command, or what its image would.
fn command(spec: &NodeSpec, manifest: &Value) -> anyhow::Result<Vec<String>> {
    let container = &manifest["spec"]["containers"][0];
    let words = |key: &str| -> Vec<String> {
        let words = container[key].as_array().into_iter().flatten();
        words
            .filter_map(|word| Some(word.as_str()?.to_owned()))
            .collect()
    };
    let mut command = words("command");
    if command.is_empty() {
        let image = container["image"].as_str().context("it names no image")?;
        anyhow::ensure!(
            image.contains("/k8s-api-healthz:"),
            "the lab knows no image {image}"
        );
        let lab = spec.lab.display().to_string();
        command = vec![lab, "inside".to_owned(), "api-healthz".to_owned()];
    }
    command.extend(words("args"));
    Ok(command)
}

fn mirror(spec: &NodeSpec, manifest: &Value, text: &str) -> Option<(String, Value)> {
    use sha2::Digest as _;
    let name = format!("{}-{}", manifest["metadata"]["name"].as_str()?, spec.name);
    let digest = hex::encode(&sha2::Sha256::digest(text)[..16]);
    let mut pod = manifest.clone();
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["annotations"]["kubernetes.io/config.mirror"] = json!(digest);
    pod["metadata"]["annotations"]["kubernetes.io/config.source"] = json!("file");
    pod["spec"]["nodeName"] = json!(spec.name);
    pod["spec"]["tolerations"] = json!([{"operator": "Exists", "effect": "NoExecute"}]);
    pod.as_object_mut()?.remove("status");
    Some((name, pod))
}
