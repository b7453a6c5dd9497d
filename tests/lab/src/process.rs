//! Processes of the lab: begun with a log of their own, begun again when they die, ended with whoever began them.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use tokio::process::{Child, Command};
use tokio_util::task::TaskTracker;

/// From the death of a process to its next begin.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a process may take to end after SIGTERM.
const END: Duration = Duration::from_secs(5);

/// What a process is begun with.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// Its name: of its log too.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Variables besides the inherited ones.
    pub env: Vec<(String, String)>,
    /// Where stdout and stderr go.
    pub log: PathBuf,
    /// The root of its file system; the lab's own when `None`.
    pub root: Option<PathBuf>,
}

impl Spec {
    /// A process in the lab's own root.
    pub(crate) fn new(name: &str, log: PathBuf, program: &Path, args: &[&str]) -> Self {
        let command = std::iter::once(program.display().to_string())
            .chain(args.iter().map(|arg| (*arg).to_owned()))
            .collect();
        Self {
            name: name.to_owned(),
            command,
            env: Vec::new(),
            log,
            root: None,
        }
    }

    /// With one more variable.
    #[must_use]
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Begins it. It is killed when what is returned is dropped, or when this process dies.
    pub(crate) fn begin(&self) -> anyhow::Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("the log of {}", self.name))?;
        // SIGKILL of whoever began it must not leave it behind: PR_SET_PDEATHSIG, by setpriv(1), survives exec.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(root) = &self.root {
            command.arg("chroot").arg(root);
        }
        command
            .args(&self.command)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .process_group(0);
        command
            .spawn()
            .with_context(|| format!("begin {}", self.name))
    }
}

/// A process that is kept running: begun again whenever it ends, until this process does.
pub(crate) fn keep(spec: Spec) -> anyhow::Result<()> {
    let mut child = spec.begin()?;
    TaskTracker::new().spawn(async move {
        loop {
            child.wait().await.ok();
            tokio::time::sleep(PAUSE).await;
            match spec.begin() {
                Ok(next) => child = next,
                // Its program or log is gone, and with it the lab.
                Err(_) => return,
            }
        }
    });
    Ok(())
}

/// SIGTERM, and SIGKILL when that does not do.
pub(crate) async fn terminate(child: &mut Child) {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
    }
    if tokio::time::timeout(END, child.wait()).await.is_err() {
        child.kill().await.ok();
    }
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be begun, or ends with another code than 0: with what it said.
pub(crate) async fn run(program: &str, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("run {program}"))?;
    anyhow::ensure!(
        output.status.success(),
        "{program} {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
