//! First boot of a Cluster API machine: the metadata agent, then kubeadm's unit.

use std::{fs, time::Duration};

use anyhow::Context as _;

use super::{ignition, kubelet::note, root::path, spec::NodeSpec};
use crate::process::Spec;

/// Boots a machine that has bootstrap data; others have nothing to do.
pub(crate) async fn boot(spec: &NodeSpec) -> anyhow::Result<()> {
    let Some(bootstrap) = &spec.bootstrap else {
        return Ok(());
    };
    let data = fs::read_to_string(bootstrap).context("bootstrap data")?;
    let unit = ignition::lay(spec, &data)?;
    metadata(spec)?;
    let mut env = vec![
        ("PATH".to_owned(), path(spec)),
        ("HOME".to_owned(), "/root".to_owned()),
    ];
    for file in &unit.environment_files {
        env.extend(environment(spec, file)?);
    }
    let kubeadm = Spec {
        name: "kubeadm".to_owned(),
        command: vec!["/bin/bash".to_owned(), unit.command],
        env,
        log: spec.log("kubeadm"),
        root: Some(spec.root()),
    };
    let mut child = kubeadm.begin()?;
    let status = child.wait().await?;
    note(spec, &format!("kubeadm ended: {status}"));
    Ok(())
}

/// What `coreos-metadata.service` writes on Flatcar (flatcar.org, "Metadata"), as far as scripts ask for it.
fn metadata(spec: &NodeSpec) -> anyhow::Result<()> {
    let folder = spec.inside("/run/metadata");
    fs::create_dir_all(&folder)?;
    let text = format!(
        "COREOS_EC2_HOSTNAME={}\nCOREOS_EC2_IPV4_LOCAL={}\nCOREOS_EC2_INSTANCE_ID={}\n",
        spec.name, spec.address, spec.instance
    );
    Ok(fs::write(folder.join("flatcar"), text)?)
}

/// An environment file, or all of a folder's when it ends in `*`, as systemd reads it.
fn environment(spec: &NodeSpec, file: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    match file.strip_suffix('*') {
        Some(folder) => {
            for entry in fs::read_dir(spec.inside(folder))? {
                texts.push(fs::read_to_string(entry?.path())?);
            }
        }
        None => texts.push(fs::read_to_string(spec.inside(file))?),
    }
    Ok(texts
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect())
}

/// How long a look at something on the node waits for the next.
pub(super) const LOOK: Duration = Duration::from_millis(500);
