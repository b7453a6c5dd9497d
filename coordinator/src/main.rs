//! `drover-coordinator`: settings, the server, exit code.

use std::{io::Write as _, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use drover_coordinator::{
    clock::SystemClock,
    program::{self, Settings},
};
use drover_process::{
    log::Log,
    settings::{SettingsError, load},
    signals::Signals,
};

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
    #[command(flatten)]
    settings: Settings,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args: Args = match load(std::env::args_os()) {
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
    Log::begin(&args.settings.log)?;
    let config = args.settings.check()?;
    if args.check_config {
        return Ok(());
    }
    let stop = Signals::watch()?.graceful();
    program::run(config, Arc::new(SystemClock), |_| {}, stop).await
}
