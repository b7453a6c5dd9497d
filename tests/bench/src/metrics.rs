//! The commits of a server, from its metrics page.

use std::net::SocketAddr;

use anyhow::Context as _;
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Group commits so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Commits {
    pub(crate) commits: f64,
    pub(crate) records: f64,
    pub(crate) seconds: f64,
}

/// Names in the coordinator's metrics; the null engine has the same.
pub(crate) const COMMITS: &str = "drover_coordinator_commits_total";
/// As above.
pub(crate) const RECORDS: &str = "drover_coordinator_commit_records_total";
/// As above.
pub(crate) const SECONDS: &str = "drover_coordinator_commit_seconds_sum";

impl Commits {
    /// Reads them from a server's HTTP port.
    pub(crate) async fn read(http: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(http).await.context("the HTTP port")?;
        // Version 1.0: the server closes the connection at the end of the page.
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        let value = |name: &str| {
            page.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
                .with_context(|| format!("the server's metrics lack {name}"))
        };
        Ok(Self {
            commits: value(COMMITS)?,
            records: value(RECORDS)?,
            seconds: value(SECONDS)?,
        })
    }

    /// What came since.
    pub(crate) fn since(&self, earlier: &Self, seconds: f64) -> Batches {
        let commits = self.commits - earlier.commits;
        let each = |whole: f64| if commits > 0.0 { whole / commits } else { 0.0 };
        Batches {
            commits_per_s: commits / seconds,
            records_per_commit: each(self.records - earlier.records),
            commit_ms: each(self.seconds - earlier.seconds) * 1000.0,
            commit_share_percent: (self.seconds - earlier.seconds) / seconds * 100.0,
        }
    }
}

/// How a server wrote in a window.
#[derive(Debug, Serialize)]
pub(crate) struct Batches {
    pub(crate) commits_per_s: f64,
    pub(crate) records_per_commit: f64,
    /// Mean time of one commit, sync included.
    pub(crate) commit_ms: f64,
    /// Share of the window in which a commit was under way.
    pub(crate) commit_share_percent: f64,
}
