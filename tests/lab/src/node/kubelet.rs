//! The node's main loop.

use std::{fs, path::Path, time::Duration};

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio_util::task::TaskTracker;

use super::{
    boot, forward, jobs, register,
    root::{self, path},
    spec::NodeSpec,
    static_pods::StaticPods,
    units::Units,
};
use crate::process::{Spec, keep, run as run_command};

/// Between two looks at manifests and units. kubelet looks at its manifests' folder by inotify, and again every 20 s.
const LOOK: Duration = Duration::from_millis(200);

/// Runs the node whose specification lies in `file`, until this process is killed.
pub(crate) async fn run(file: &Path) -> anyhow::Result<()> {
    let spec: NodeSpec = serde_json::from_slice(&fs::read(file)?)?;
    root::mount(&spec).await?;
    run_command("hostname", &[&spec.name]).await?;
    wait_for_network().await?;
    let tasks = TaskTracker::new();
    let bootstrap = spec.clone();
    tasks.spawn(async move {
        if let Err(error) = boot::boot(&bootstrap).await {
            note(&bootstrap, &format!("boot: {error:#}"));
        }
    });
    tasks.spawn(forward::redirects(spec.clone()));
    let (mirrors, wanted) = tokio::sync::watch::channel(std::collections::BTreeMap::new());
    let registrar = spec.clone();
    tasks.spawn(async move {
        let client = register::client(&registrar).await;
        if let Err(error) = begin_kwok(&registrar) {
            return note(&registrar, &format!("kwok does not begin: {error:#}"));
        }
        // Two loops, of which neither ends.
        tokio::join!(
            register::keep(&registrar, client.clone(), wanted),
            jobs::run(&registrar, client),
        );
    });
    let mut pods = StaticPods::default();
    let mut units = Units::begin(&spec)?;
    loop {
        if let Err(error) = units.sync(&spec).await {
            note(&spec, &format!("units: {error:#}"));
        }
        if let Err(error) = pods.sync(&spec).await {
            note(&spec, &format!("static pods: {error:#}"));
        }
        let now = pods.mirrors(&spec);
        mirrors.send_if_modified(|known| {
            let changed = *known != now;
            if changed {
                *known = now;
            }
            changed
        });
        tokio::time::sleep(LOOK).await;
    }
}

/// The supervisor says so once it has plugged the node in; when it dies, the node does.
async fn wait_for_network() -> anyhow::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let line = lines.next_line().await?;
    anyhow::ensure!(
        line.as_deref() == Some("plugged in"),
        "nobody plugged the node in"
    );
    Ok(())
}

/// A line in the node's own log.
pub(super) fn note(spec: &NodeSpec, line: &str) {
    use std::io::Write as _;
    let file = fs::File::options()
        .create(true)
        .append(true)
        .open(spec.log("node"));
    if let Ok(mut file) = file {
        // A log that cannot be written to is no reason to stop a node.
        drop(writeln!(file, "{} {line}", jiff::Timestamp::now()));
    }
}

/// kwok as this node's kubelet: it listens in the node's network, so a port-forward to one of its pods ends at the node's own
/// ports, as it does for pods in a host's network.
fn begin_kwok(spec: &NodeSpec) -> anyhow::Result<()> {
    let config = spec.folder.join("kwok.yaml");
    fs::write(&config, KWOK).context("kwok's configuration")?;
    let kubeconfig = register::kubeconfig_file(spec);
    let text = |path: &Path| path.display().to_string();
    let address = spec.address.to_string();
    let mut args = vec![
        format!("--kubeconfig={}", text(&kubeconfig)),
        format!("--config={}", text(&config)),
        format!("--manage-single-node={}", spec.name),
        "--manage-all-nodes=false".to_owned(),
        format!("--node-ip={address}"),
        format!("--node-name={}", spec.name),
        "--node-port=10250".to_owned(),
        format!("--server-address={address}:10250"),
        "--node-lease-duration-seconds=40".to_owned(),
        "--enable-crds=".to_owned(),
    ];
    if let Some((certificate, key)) = &spec.kubelet_serving {
        args.push(format!(
            "--tls-cert-file={}",
            text(&spec.inside(certificate))
        ));
        args.push(format!(
            "--tls-private-key-file={}",
            text(&spec.inside(key))
        ));
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let program = spec.programs.join("kwok");
    let kwok = Spec::new("kwok", spec.log("kwok"), &program, &args).env("PATH", &path(spec));
    keep(kwok)
}

/// Stages: nodes are ready, pods run at once, except the Jobs that act on the node, which are run for real.
const KWOK: &str = include_str!("kwok.yaml");
