//! `drover dev` and `drover demo`: the simulated world, a coordinator and workers as child processes of this command.

mod child;
mod clock;
mod clusters;
mod demo;
mod fleet;
mod operator;
mod process;
mod report;
mod town;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use clap::{Args, Subcommand};
use drover_core::definition::Kinds;

pub(crate) use self::demo::{DemoArgs, run as demo};
use self::{
    clusters::Source,
    town::{Plan, Town},
};
use crate::{
    failure::{Failure, Outcome},
    kinds,
};

/// Where the coordinator of `drover dev` listens.
const LISTEN: &str = crate::context::DEFAULT_ADDRESS;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DevArgs {
    /// Keep everything in this folder; without it all is gone at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address of the operator API
    #[arg(long, value_name = "ADDRESS", default_value = LISTEN)]
    listen: SocketAddr,
    /// How many generated clusters there are (c0001, c0002, …), or files with vintage custom resources
    #[arg(long, value_name = "N|FILE", num_args = 1.., default_value = "12")]
    clusters: Vec<String>,
    #[command(flatten)]
    world: WorldArgs,
    #[command(subcommand)]
    process: Option<Process>,
}

/// What shapes a simulated world.
#[derive(Clone, Debug, Args)]
pub(crate) struct WorldArgs {
    /// Domain seconds a real second; leases and beats always run on real time
    #[arg(long, value_name = "FACTOR", default_value_t = 120.0, value_parser = factor)]
    speed: f64,
    /// Shapes, latencies and faults derive from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Installations: golem in eu-central-1, lotus in cn-north-1, inst03, …
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    installations: u16,
    /// Faults to inject: throttling, denied, lost-reply, unavailable, expired-credentials, node-never-up, join-fails, slow-boot,
    /// dead-nodes, blocking-budget, scarce-addresses; narrowed as in throttling@ec2=30%, or in dead-nodes=20% of the clusters
    #[arg(long, value_name = "KIND", num_args = 1..)]
    fault: Vec<drover_sim::FaultSpec>,
    /// Log filter of the children
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Process {
    /// The simulated world alone
    World(process::WorldProcess),
    /// A coordinator on the simulated world's clock
    Coordinator(process::CoordinatorProcess),
    /// A worker that acts on the simulated world
    Worker(process::WorkerProcess),
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(factor),
        _ => Err("use a number above 0".to_owned()),
    }
}

/// `drover dev`.
pub(crate) async fn run(args: DevArgs) -> Outcome {
    match args.process {
        Some(Process::World(args)) => process::world(args).await,
        Some(Process::Coordinator(args)) => process::coordinator(args).await,
        Some(Process::Worker(args)) => process::worker(args).await,
        None => stay_up(args).await,
    }
}

/// Everything, until told to stop.
async fn stay_up(args: DevArgs) -> Outcome {
    let source = Source::parse(&args.clusters)?;
    let mut stop = signals()?;
    let plan = Plan {
        data: args.data,
        listen: args.listen,
        source,
        world: args.world,
    };
    let say = |text: &str| crate::output::say(text);
    let town = tokio::select! {
        town = Town::start(plan, Arc::new(say)) => town?,
        // Children end with this process.
        () = stop.next() => return Ok(()),
    };
    let begun = town.describe().await;
    let outcome = match begun {
        Ok(text) => {
            crate::output::say(&text);
            tokio::select! {
                () = stop.next() => Ok(()),
                failure = town.broken() => Err(failure),
            }
        }
        Err(failure) => Err(failure),
    };
    town.stop().await;
    outcome
}

fn signals() -> Outcome<drover_process::signals::Signals> {
    drover_process::signals::Signals::watch()
        .map_err(|error| Failure::failed(format!("cannot watch for signals: {error}")))
}

/// The step kinds of this build.
fn registry() -> Outcome<drover_worker::StepKinds> {
    drover_worker::registry()
        .map_err(|error| Failure::failed(format!("the step kinds of this build: {error}")))
}

/// Their declarations, for validation without a coordinator.
pub(crate) fn built_in_kinds() -> Outcome<Kinds> {
    drover_worker::kinds::declarations(&registry()?)
        .into_iter()
        .map(|kind| {
            let kind = kinds::declaration(kind)?;
            Ok((kind.kind.clone(), Arc::new(kind)))
        })
        .collect()
}
