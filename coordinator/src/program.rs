//! What `drover-coordinator` and `drover dev coordinator` have in common: the settings, and running until told to stop.

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use drover_core::{lease::Profile, time::parse_duration};

use crate::{
    clock::Clock,
    engine::ended::Retention,
    server::{Config, Server, read_signing_key},
    supervise::chain,
};

/// How often the process looks whether its engine is still there.
const LOOK: Duration = Duration::from_secs(1);

/// Retention may not be shorter.
const RETENTION_MIN: Duration = Duration::from_secs(3600);

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| path.display().to_string())
}

/// The settings of a coordinator.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Folder that holds the store; one coordinator at a time
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Address of the operator API and the worker sessions; loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7411")]
    pub listen: SocketAddr,
    /// Address of /metrics, /healthz and /readyz
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7421")]
    pub http: SocketAddr,
    /// How fast liveness is judged: lan, or test for tests that kill
    #[arg(long, value_name = "NAME", default_value = "lan", value_parser = profile)]
    pub profile: Profile,
    /// How long a cancelled attempt may take to stop by itself
    #[arg(long, value_name = "DURATION", default_value = "PT10S", value_parser = duration)]
    pub cancel_grace: Duration,
    /// MiB free on the data folder's disk below which new workflows are refused
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    pub low_space_mib: u64,
    /// MiB free on the data folder's disk below which nothing is written
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    pub full_space_mib: u64,
    /// Folder that every commit is copied to, within a second; on another disk than the data folder
    #[arg(long, value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// How long ended workflows are kept, in domain time; then a tombstone stays
    #[arg(long, value_name = "DURATION", default_value = "P90D", value_parser = duration)]
    pub retention: Duration,
    /// How many ended workflows are kept; beyond that those that ended first go
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub retention_max: usize,
    /// File with the Ed25519 key that signs audit heads (64 hex digits); keep it outside of the data folder
    #[arg(long, value_name = "FILE")]
    pub signing_key_file: Option<PathBuf>,
    /// Log filter, for example info or drover_coordinator=debug
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
}

fn profile(name: &str) -> Result<Profile, String> {
    Profile::named(name).ok_or_else(|| "use lan or test".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "use an ISO 8601 duration such as PT10S".to_owned())
}

impl Settings {
    /// Checks what needs no other process.
    ///
    /// # Errors
    /// The first setting that does not work, and why.
    pub fn check(self) -> anyhow::Result<Config> {
        let signing_key = match &self.signing_key_file {
            Some(path) => Some(
                read_signing_key(path)
                    .with_context(|| format!("--signing-key-file {}", path.display()))?,
            ),
            None => None,
        };
        anyhow::ensure!(
            self.full_space_mib <= self.low_space_mib,
            "--full-space-mib must not be larger than --low-space-mib"
        );
        anyhow::ensure!(
            self.retention >= RETENTION_MIN,
            "--retention must be at least PT1H: results of workers and repeated starts may come later than that"
        );
        anyhow::ensure!(
            self.retention_max >= 1,
            "--retention-max must be at least 1"
        );
        if let Some(backup) = &self.backup_dir {
            let (backup, data) = (absolute(backup)?, absolute(&self.data)?);
            anyhow::ensure!(
                !backup.starts_with(&data) && !data.starts_with(&backup),
                "--backup-dir {} and --data {} must not lie in each other: what removes one would remove both",
                backup.display(),
                data.display()
            );
        }
        Ok(Config {
            listen: self.listen,
            http: Some(self.http),
            data: self.data,
            profile: self.profile,
            cancel_grace: self.cancel_grace,
            low_space: self.low_space_mib << 20,
            full_space: self.full_space_mib << 20,
            signing_key,
            backup: self.backup_dir,
            retention: Retention {
                after: self.retention,
                ended_max: self.retention_max,
            },
        })
    }
}

/// Serves until `stop`, then drains. `ready` is called once requests are taken.
///
/// # Errors
/// When it does not start, or the engine ends by itself.
pub async fn run(
    config: Config,
    clock: Arc<dyn Clock>,
    ready: impl FnOnce(&Server),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let server = Server::start(config, clock)
        .await
        .map_err(|error| anyhow::anyhow!("{}", chain(&error)))?;
    tracing::info!(address = %server.address, "listening");
    ready(&server);
    let mut stop = std::pin::pin!(stop);
    let mut look = tokio::time::interval(LOOK);
    loop {
        // Both arms are cancel-safe: a pinned future that is polled again, and an interval.
        tokio::select! {
            () = &mut stop => break,
            _ = look.tick() => anyhow::ensure!(!server.is_broken(), "the engine has ended by itself; this is a bug"),
        }
    }
    server.stop().await;
    Ok(())
}
