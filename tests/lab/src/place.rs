//! Where things lie: the parts, and the folder of one lab.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

/// Built parts: programs, custom resource definitions, moto's environment.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    folder: PathBuf,
}

impl Parts {
    /// From `DROVER_LAB_PARTS`, which `tests/lab/run` sets.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let folder = env::var_os("DROVER_LAB_PARTS")
            .context("DROVER_LAB_PARTS is not set; start the lab with tests/lab/run")?;
        let parts = Self {
            folder: PathBuf::from(folder),
        };
        ensure!(
            parts.program("kube-apiserver").exists(),
            "{} holds no built parts; start the lab with tests/lab/run",
            parts.folder.display()
        );
        Ok(parts)
    }

    /// A program of a part.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs().join(name)
    }

    /// The folder with all programs.
    pub(crate) fn programs(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// Custom resource definitions of the Cluster API side.
    pub(crate) fn crds(&self) -> PathBuf {
        self.folder.join("crds")
    }

    /// moto's server.
    pub(crate) fn moto(&self) -> PathBuf {
        self.folder.join("venv/bin/moto_server")
    }
}

/// A program of ours, built beside this one.
pub(crate) fn ours(name: &str) -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("where is this program")?;
    let path = own.with_file_name(name);
    ensure!(
        path.exists(),
        "{} is not built; start the lab with tests/lab/run",
        path.display()
    );
    Ok(path)
}

/// The folder of one lab. Everything that it writes lies in it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its name.
    pub name: String,
    folder: PathBuf,
}

impl Place {
    /// The place of a lab, whether it runs or not.
    pub(crate) fn of(name: &str) -> anyhow::Result<Self> {
        ensure!(
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
            "a lab's name has lower-case letters, digits and dashes: {name:?} does not do"
        );
        let base = env::var_os("DROVER_LAB_FOLDER")
            .context("DROVER_LAB_FOLDER is not set; start the lab with tests/lab/run")?;
        Ok(Self {
            name: name.to_owned(),
            folder: PathBuf::from(base).join(name),
        })
    }

    /// Empties it.
    pub(crate) fn reset(&self) -> anyhow::Result<()> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)
                .with_context(|| format!("empty {}", self.folder.display()))?;
        }
        for folder in ["logs", "nodes", "secrets", "data"] {
            fs::create_dir_all(self.folder.join(folder))?;
        }
        Ok(())
    }

    /// A path in it.
    pub(crate) fn path(&self, inner: impl AsRef<Path>) -> PathBuf {
        self.folder.join(inner)
    }

    /// The log of a part.
    pub(crate) fn log(&self, part: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{part}.log"))
    }

    /// The hosts file.
    pub(crate) fn hosts(&self) -> PathBuf {
        self.path("hosts")
    }

    /// A kubeconfig: `vintage-mc`, `capi-mc`, `workload`.
    pub(crate) fn kubeconfig(&self, of: &str) -> PathBuf {
        self.path(format!("secrets/{of}.kubeconfig"))
    }

    /// The process whose namespaces are the lab's; `None` when it does not run.
    pub(crate) fn running(&self) -> Option<u32> {
        let text = fs::read_to_string(self.path("pid")).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        let pid = pid.parse().ok()?;
        // A pid comes back to somebody else; its start time does not.
        (start_time(pid).as_deref() == Some(started)).then_some(pid)
    }

    /// Notes the process whose namespaces are the lab's.
    pub(crate) fn note_running(&self, pid: u32) -> anyhow::Result<()> {
        let started = start_time(pid).context("the lab ended at once")?;
        Ok(fs::write(self.path("pid"), format!("{pid} {started}\n"))?)
    }
}

/// When a process started, in the kernel's ticks: field 22 of `/proc/PID/stat` (proc(5)).
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name and may hold anything, spaces and brackets too.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19).map(str::to_owned)
}
