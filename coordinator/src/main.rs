//! `drover-coordinator`: arguments, settings, the server, exit code.

use std::{
    io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration,
};

use anyhow::Context as _;
use clap::Parser;
use drover_coordinator::{
    clock::SystemClock,
    server::{Config, Server, read_signing_key},
    supervise::chain,
};
use drover_core::{lease::Profile, time::parse_duration};
use drover_settings::SettingsError;
use tokio::signal::unix::{SignalKind, signal};

/// The Drover coordinator: operator API and worker sessions on one port, the state of every migration on disk.
#[derive(Debug, Parser)]
#[command(name = "drover-coordinator", version)]
struct Args {
    /// YAML file with any of these settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Validate the settings and exit
    #[arg(long)]
    check_config: bool,
    /// Folder that holds the store; one coordinator at a time
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Address of the operator API and the worker sessions; loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7411")]
    listen: SocketAddr,
    /// Address of /metrics, /healthz and /readyz
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7421")]
    http: SocketAddr,
    /// How fast liveness is judged: lan, or test for tests that kill
    #[arg(long, value_name = "NAME", default_value = "lan", value_parser = profile)]
    profile: Profile,
    /// How long a cancelled attempt may take to stop by itself
    #[arg(long, value_name = "DURATION", default_value = "PT10S", value_parser = duration)]
    cancel_grace: Duration,
    /// MiB free on the data folder's disk below which new workflows are refused
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    low_space_mib: u64,
    /// MiB free on the data folder's disk below which nothing is written
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    full_space_mib: u64,
    /// File with the Ed25519 key that signs audit heads (64 hex digits); keep it outside of the data folder
    #[arg(long, value_name = "FILE")]
    signing_key_file: Option<PathBuf>,
    /// Log filter, for example info or drover_coordinator=debug
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

fn profile(name: &str) -> Result<Profile, String> {
    Profile::named(name).ok_or_else(|| "use lan or test".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "use an ISO 8601 duration such as PT10S".to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    let args: Args = match drover_settings::load(std::env::args_os()) {
        Ok(args) => args,
        Err(SettingsError::Flags(error)) => error.exit(),
        Err(error) => return complain(&error.to_string(), 2),
    };
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{error:#}"), 1),
    }
}

fn complain(message: &str, code: u8) -> ExitCode {
    // A closed stderr is no reason to fail differently.
    drop(writeln!(std::io::stderr(), "drover-coordinator: {message}"));
    ExitCode::from(code)
}

async fn run(args: Args) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&args.log).context("--log")?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let signing_key = match &args.signing_key_file {
        Some(path) => Some(
            read_signing_key(path)
                .with_context(|| format!("--signing-key-file {}", path.display()))?,
        ),
        None => None,
    };
    anyhow::ensure!(
        args.full_space_mib <= args.low_space_mib,
        "--full-space-mib must not be larger than --low-space-mib"
    );
    if args.check_config {
        return Ok(());
    }
    let config = Config {
        listen: args.listen,
        http: Some(args.http),
        data: args.data,
        profile: args.profile,
        cancel_grace: args.cancel_grace,
        low_space: args.low_space_mib << 20,
        full_space: args.full_space_mib << 20,
        signing_key,
    };
    let server = Server::start(config, Arc::new(SystemClock))
        .await
        .map_err(|error| anyhow::anyhow!("{}", chain(&error)))?;
    tracing::info!(address = %server.address, "listening");
    wait_for_the_end(&server).await?;
    server.stop().await;
    Ok(())
}

/// Returns at the first SIGTERM or SIGINT; a second one ends the process at once.
async fn wait_for_the_end(server: &Server) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("watch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch SIGINT")?;
    let mut look = tokio::time::interval(Duration::from_secs(1));
    loop {
        // All arms are cancel-safe: signals and an interval.
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = look.tick() => anyhow::ensure!(!server.is_broken(), "the engine has ended by itself; this is a bug"),
        }
    }
    let again = async move {
        // Both arms are cancel-safe: signals.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(1);
    };
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(again);
    Ok(())
}
