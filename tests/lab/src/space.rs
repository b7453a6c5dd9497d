//! The lab's own space: namespaces for mounts, network, processes and host name, which nothing outside sees and which take
//! everything in them along when they end, SIGKILL included.
//!
//! In its network the customer's VPC is a bridge; each node is plugged into it with an address of its own. Addresses that
//! no node has (management clusters, load balancers) are the lab's own process's.

use std::{
    net::Ipv4Addr,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};

use crate::{place::Place, process::run};

/// The VPC.
pub(crate) const VPC: &str = "10.1.0.0/16";
/// The lab's own address in it, which nodes route through.
const GATEWAY: &str = "10.1.255.254";
/// Addresses that are the lab's own although no interface has them.
const OWN: [&str; 2] = ["10.250.0.0/16", "10.254.0.0/16"];

/// Namespaces of a lab and of each of its nodes.
const NAMESPACES: [&str; 7] = [
    "--mount",
    "--net",
    "--pid",
    "--uts",
    "--fork",
    "--kill-child=KILL",
    "--mount-proc",
];

/// Begins a process with namespaces of its own; answers the process that unshare(1) became, and its child's pid.
async fn unshare(mut command: Command) -> anyhow::Result<(Child, u32)> {
    let child = command.spawn().context("unshare (package util-linux)")?;
    let parent = child.id().context("unshare ended at once")?;
    let begin = Instant::now();
    let children = format!("/proc/{parent}/task/{parent}/children");
    while begin.elapsed() < Duration::from_secs(10) {
        let text = std::fs::read_to_string(&children).unwrap_or_default();
        if let Some(pid) = text.split_whitespace().next() {
            return Ok((child, pid.parse()?));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("unshare makes no namespaces here; the lab needs root, or user namespaces")
}

/// Begins the lab's first process, apart from this one and its terminal.
pub(crate) async fn begin(place: &Place, args: &[String]) -> anyhow::Result<u32> {
    let log = std::fs::File::create(place.log("lab"))?;
    let mut command = Command::new("setsid");
    command.arg("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(NAMESPACES)
        .arg(std::env::current_exe()?)
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let (_, pid) = unshare(command).await?;
    place.note_running(pid)?;
    Ok(pid)
}

/// Lays the lab's names and network. Runs inside.
pub(crate) async fn lay(hosts: &Path) -> anyhow::Result<()> {
    let hosts = hosts.display().to_string();
    run("mount", &["--bind", &hosts, "/etc/hosts"]).await?;
    if Path::new("/etc/resolv.conf").exists() {
        // No name server: what is not in the hosts file does not exist, and nobody waits for an answer.
        run("mount", &["--bind", "/dev/null", "/etc/resolv.conf"]).await?;
    }
    let gateway = format!("{GATEWAY}/16");
    let commands: [&[&str]; 4] = [
        &["link", "set", "lo", "up"],
        &["link", "add", "vpc", "type", "bridge"],
        &["addr", "add", &gateway, "dev", "vpc"],
        &["link", "set", "vpc", "up"],
    ];
    for command in commands {
        run("ip", command)
            .await
            .context("the lab's network (package iproute2)")?;
    }
    for own in OWN {
        run("ip", &["route", "add", "local", own, "dev", "lo"]).await?;
    }
    Ok(())
}

/// A node's process, plugged into the VPC. Dropped, it is killed, and all its processes with it.
pub(crate) struct Space {
    child: Child,
    // Its end tells the node that whoever began it is gone.
    _stdin: tokio::process::ChildStdin,
}

impl Space {
    /// Begins a node's process and gives it an address.
    pub(crate) async fn begin(
        interface: &str,
        address: Ipv4Addr,
        program: &Path,
        args: &[&str],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let log = std::fs::File::create(log)?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "unshare"])
            .args(NAMESPACES)
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        let (mut child, pid) = unshare(command).await?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        plug_in(interface, address, &pid.to_string()).await?;
        use tokio::io::AsyncWriteExt as _;
        stdin.write_all(b"plugged in\n").await?;
        stdin.flush().await?;
        Ok(Self {
            child,
            _stdin: stdin,
        })
    }

    /// Ends it as a power cut would.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.ok();
    }
}

async fn plug_in(interface: &str, address: Ipv4Addr, pid: &str) -> anyhow::Result<()> {
    run(
        "ip",
        &[
            "link", "add", interface, "type", "veth", "peer", "name", "eth0", "netns", pid,
        ],
    )
    .await?;
    run("ip", &["link", "set", interface, "master", "vpc", "up"]).await?;
    let address = format!("{address}/16");
    let commands: [&[&str]; 4] = [
        &["addr", "add", &address, "dev", "eth0"],
        &["link", "set", "lo", "up"],
        &["link", "set", "eth0", "up"],
        &["route", "add", "default", "via", GATEWAY],
    ];
    for command in commands {
        let args: Vec<&str> = ["-t", pid, "-n", "ip"]
            .into_iter()
            .chain(command.iter().copied())
            .collect();
        run("nsenter", &args).await?;
    }
    Ok(())
}

/// A command that runs inside a lab.
pub(crate) fn enter(place: &Place, command: &[String]) -> anyhow::Result<Command> {
    let pid = place
        .running()
        .with_context(|| format!("lab {} does not run", place.name))?
        .to_string();
    let mut entered = Command::new("nsenter");
    entered.args(["-t", &pid, "-m", "-n", "-p", "-u"]);
    if !rustix::process::geteuid().is_root() {
        entered.args(["-U", "--preserve-credentials"]);
    }
    entered.arg("--").args(command);
    Ok(entered)
}
