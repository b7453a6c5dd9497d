//! A live migration on real parts, on one machine: `tests/lab/run` builds the parts and calls this.

mod after_care;
mod api;
mod booter;
mod cloud;
mod coordinator;
mod definition;
mod dns;
mod endpoints;
mod hosts;
mod kill;
mod ledger;
mod machines;
mod management;
mod migrate;
mod node;
mod order;
mod pki;
mod place;
mod prober;
mod process;
mod proofs;
mod scenario;
mod space;
mod story;
mod tls;
mod town;
mod up;
mod vintage;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{migrate::MigrateArgs, place::Place};

/// The lab: a vintage cluster and Cluster API on real parts, for migrations that are measured.
#[derive(Debug, Parser)]
#[command(name = "tests/lab/run")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Named {
    /// Which lab: several can run side by side
    #[arg(long, value_name = "NAME", default_value = "lab")]
    lab: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Begin a lab and leave it running
    Up {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        shape: up::ShapeArgs,
    },
    /// What runs, and how to look around in it
    Status {
        #[command(flatten)]
        named: Named,
    },
    /// Migrate a lab's cluster while a prober measures; begins the lab first when it does not run, and ends it then
    Migrate {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        shape: up::ShapeArgs,
        #[command(flatten)]
        args: MigrateArgs,
        /// Leave the lab running afterwards
        #[arg(long)]
        keep: bool,
    },
    /// Run a command inside a lab, with the workload cluster's KUBECONFIG
    Exec {
        #[command(flatten)]
        named: Named,
        /// The command
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
    /// End a lab; its logs stay until the next one of the same name
    Down {
        #[command(flatten)]
        named: Named,
    },
    /// What runs inside a lab
    #[command(hide = true)]
    Inside {
        #[command(subcommand)]
        command: Inside,
    },
}

#[derive(Debug, Subcommand)]
enum Inside {
    /// The first process
    Init {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        shape: up::ShapeArgs,
    },
    /// Everything that runs
    Town {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        shape: up::ShapeArgs,
    },
    /// A node
    Node {
        /// Its specification
        #[arg(long)]
        spec: PathBuf,
    },
    /// A migration
    Migrate {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        args: MigrateArgs,
    },
    /// The health endpoint of a node
    ApiHealthz(node::HealthzArgs),
    /// Wait for a node's API server
    WaitApi(node::WaitApiArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        Command::Inside {
            command: Inside::Init { named, shape },
        } => up::init(&named.lab, &shape),
        command => runtime(command),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            story::say(&format!("lab: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn runtime(command: Command) -> anyhow::Result<()> {
    let of = |named: &Named| Place::of(&named.lab);
    match command {
        Command::Up { named, shape } => up::up(&of(&named)?, &shape).await,
        Command::Status { named } => up::status(&of(&named)?),
        Command::Migrate {
            named,
            shape,
            args,
            keep,
        } => up::migrate(&of(&named)?, &shape, &args, keep).await,
        Command::Exec { named, command } => up::exec(&of(&named)?, &command).await,
        Command::Down { named } => up::down(&of(&named)?).await,
        Command::Inside { command } => inside(command).await,
    }
}

async fn inside(command: Inside) -> anyhow::Result<()> {
    match command {
        Inside::Init { .. } => unreachable!("it has no runtime"),
        Inside::Town { named, shape } => town::run(&Place::of(&named.lab)?, shape.shape()).await,
        Inside::Node { spec } => node::run(&spec).await,
        Inside::Migrate { named, args } => {
            let report = migrate::migrate(&Place::of(&named.lab)?, &args).await?;
            up::print(&report);
            Ok(())
        }
        Inside::ApiHealthz(args) => node::serve_healthz(&args).await,
        Inside::WaitApi(args) => node::wait_api(&args).await,
    }
}
