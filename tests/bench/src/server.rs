//! Servers as processes of their own: begun, asked where they listen, killed.

pub(crate) mod child;

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use self::child::Ready;

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(120);

/// A port of its own choice.
pub(crate) const ANY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine<'a> {
    /// The real one.
    Coordinator,
    /// The limit, imitating the messages and bytes of this file.
    Null(&'a Path),
}

/// A server process. Dropped, it is killed; when this program dies, it ends by itself.
pub(crate) struct Server {
    process: Child,
    log: PathBuf,
    spawned: Instant,
    pid: u32,
}

impl Server {
    /// Begins a server on a data folder. Its log is a file beside that folder.
    pub(crate) fn spawn(
        engine: Engine<'_>,
        data: &Path,
        listen: SocketAddr,
    ) -> anyhow::Result<Self> {
        let log = data.with_extension("log");
        let program = std::env::current_exe().context("where is this program")?;
        let mut command = Command::new(program);
        match engine {
            Engine::Coordinator => command
                .arg("coordinator")
                .args(["--http", &ANY.to_string()]),
            Engine::Null(shape) => command.arg("null").arg("--shape").arg(shape),
        };
        command
            .arg("--data")
            .arg(data)
            .args(["--listen", &listen.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log)?)
            .kill_on_drop(true);
        let spawned = Instant::now();
        let process = command.spawn().context("the server does not start")?;
        let pid = process.id().context("the server has ended")?;
        Ok(Self {
            process,
            log,
            spawned,
            pid,
        })
    }

    /// Waits until it listens.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<Ready> {
        let out = self.process.stdout.take().context("asked twice")?;
        let mut lines = BufReader::new(out).lines();
        let line = tokio::time::timeout(START, lines.next_line()).await;
        match line {
            Ok(Ok(Some(line))) => Ok(serde_json::from_str(&line)?),
            _ => anyhow::bail!("a server does not come up: {}", self.last_words()),
        }
    }

    /// When it was begun.
    pub(crate) fn spawned(&self) -> Instant {
        self.spawned
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        self.process
            .kill()
            .await
            .context("the server is gone already")
    }

    /// The last line of its log.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let last = text.lines().rfind(|line| !line.trim().is_empty());
        last.unwrap_or("it said nothing").to_owned()
    }
}
