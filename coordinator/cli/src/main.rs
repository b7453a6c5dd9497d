//! `drover`: the operator's command.

mod args;
mod client;
mod commands;
mod context;
mod convert;
mod copied;
#[cfg(feature = "dev")]
mod dev;
mod failure;
mod files;
mod kinds;
mod live;
mod output;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::{
    args::{Cli, Command},
    failure::{Outcome, complain},
};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.global.no_color {
        anstream::ColorChoice::Never.write_global();
    }
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            failure.code()
        }
    }
}

async fn run(cli: Cli) -> Outcome {
    let global = cli.global;
    match cli.command {
        #[cfg(feature = "dev")]
        Command::Demo(args) => dev::demo(args, &global).await,
        #[cfg(feature = "dev")]
        Command::Dev(args) => dev::run(*args).await,
        Command::Definition(command) => commands::definition::run(command, &global).await,
        Command::Workflow(command) => commands::workflow::run(command, &global).await,
        Command::Worker(command) => commands::worker::run(command, &global).await,
        Command::Installation(command) => commands::installation::run(command, &global).await,
        Command::Brake(command) => commands::brake::run(command, &global).await,
        Command::Backup(args) => commands::backup::backup(args, &global).await,
        Command::Restore(args) => commands::backup::restore(args, &global).await,
        Command::Audit(command) => commands::audit::run(command, &global).await,
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "drover", &mut std::io::stdout());
            Ok(())
        }
        Command::Version => commands::version::run(&global).await,
    }
}
