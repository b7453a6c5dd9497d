//! A node's file system: the machine's own, which it sees and never changes, with a layer of its own above.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::Context as _;

use super::spec::{NodeSpec, RUN};
use crate::{machines::JoinFails, process::run};

/// Programs that a real machine has and a lab's node plays: by name, each a shell script.
const TOOLS: [(&str, &str); 5] = [
    ("ctr", include_str!("tools/ctr.sh")),
    ("iptables", include_str!("tools/iptables.sh")),
    ("kubeadm", include_str!("tools/kubeadm.sh")),
    ("systemctl", include_str!("tools/systemctl.sh")),
    ("systemd-run", include_str!("tools/systemd-run.sh")),
];

/// Where they lie on the node.
pub(crate) const TOOLS_FOLDER: &str = "/opt/drover-lab/bin";

/// Mounts the root and puts the tools in. Needs a mount namespace of the node's own.
pub(crate) async fn mount(spec: &NodeSpec) -> anyhow::Result<()> {
    let (root, upper, work) = (spec.root(), spec.upper(), spec.folder.join("work"));
    for folder in [&root, &upper, &work, &spec.folder.join("logs")] {
        fs::create_dir_all(folder)?;
    }
    let text = |path: &Path| path.display().to_string();
    let options = format!(
        "lowerdir=/,upperdir={},workdir={}",
        text(&upper),
        text(&work)
    );
    let root_text = text(&root);
    run(
        "mount",
        &["-t", "overlay", "overlay", "-o", &options, &root_text],
    )
    .await?;
    for folder in ["proc", "dev", "run", "tmp", "etc", "var/lib"] {
        fs::create_dir_all(root.join(folder))?;
    }
    run("mount", &["-t", "proc", "proc", &text(&root.join("proc"))]).await?;
    run("mount", &["--rbind", "/dev", &text(&root.join("dev"))]).await?;
    // Nothing of the machine's own runs on the node.
    run("mount", &["-t", "tmpfs", "tmpfs", &text(&root.join("run"))]).await?;
    for (file, shown) in [("etc/hosts", &spec.hosts)] {
        let target = root.join(file);
        if !target.exists() {
            fs::write(&target, "")?;
        }
        run("mount", &["--bind", &text(shown), &text(&target)]).await?;
    }
    // No name server: what is not in the hosts file does not exist.
    let resolv = root.join("etc/resolv.conf");
    fs::remove_file(&resolv).ok();
    fs::write(&resolv, "")?;
    tools(spec)
}

fn tools(spec: &NodeSpec) -> anyhow::Result<()> {
    let folder = spec.inside(TOOLS_FOLDER);
    fs::create_dir_all(&folder)?;
    for folder in ["units", "running"] {
        fs::create_dir_all(spec.inside(RUN).join(folder))?;
    }
    if spec.join_fails == Some(JoinFails::AtOnce) {
        fs::write(spec.inside(RUN).join("join-fails"), "")?;
    }
    for (name, text) in TOOLS {
        let text = text
            .replace("@PROGRAMS@", &spec.programs.display().to_string())
            .replace("@LAB@", &spec.lab.display().to_string())
            .replace("@RUN@", RUN);
        let file = folder.join(name);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// `PATH` on the node: its own tools first, then the programs of the parts.
pub(crate) fn path(spec: &NodeSpec) -> String {
    format!(
        "{TOOLS_FOLDER}:{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        spec.programs.display()
    )
}
