//! `drover-bench SCENARIO`: what the real coordinator does on this machine, beside what the machine could do at all.
//!
//! A scenario starts the coordinator as a process of its own (this program again, with a hidden subcommand), talks to it
//! over loopback gRPC as a worker and as an operator, and measures. Then it does the same with the [null engine](null):
//! same messages, same appends, no logic. A figure without that second one says as much about the disk as about Drover.

mod command;
mod fanout;
mod host;
mod latency;
mod load;
mod memory;
mod metrics;
mod null;
mod open;
mod place;
mod recovery;
mod report;
mod server;
mod shape;
mod stats;
mod throughput;

use std::{future::Future, process::ExitCode};

use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::report::Report;

/// Measures the real coordinator beside a null engine.
#[derive(Debug, Parser)]
#[command(name = "drover-bench", version)]
struct Args {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of it, on the way from the command line"
)]
enum Scenario {
    /// Durable no-op steps a second, many workflows at once
    Throughput(throughput::Options),
    /// From submit to the first step running at the worker, one workflow at a time
    Latency(latency::Options),
    /// Kill and restart with many open workflows: first progress, and steps run again
    Recovery(recovery::Options),
    /// Pause, resume or cancel, until the running step at the worker sees it
    Command(command::Options),
    /// Resident memory for each open workflow
    Memory(memory::Options),
    /// Many migrations of the real definition at once, in the simulated world
    Fanout(fanout::Options),
    #[command(hide = true)]
    Coordinator(server::child::CoordinatorArgs),
    #[command(hide = true)]
    Null(null::NullArgs),
}

fn main() -> ExitCode {
    let done = match Args::parse().scenario {
        Scenario::Throughput(options) => scenario(throughput::run(&options), options.common.json),
        Scenario::Latency(options) => scenario(latency::run(&options), options.common.json),
        Scenario::Recovery(options) => scenario(recovery::run(&options), options.common.json),
        Scenario::Command(options) => scenario(command::run(&options), options.common.json),
        Scenario::Memory(options) => scenario(memory::run(&options), options.common.json),
        Scenario::Fanout(options) => scenario(fanout::run(&options), options.common.json),
        Scenario::Coordinator(args) => served(server::child::coordinator(args)),
        Scenario::Null(args) => served(null::serve(args)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::say(&format!("drover-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The load runs on one thread: it shares the machine with what it measures.
fn scenario<R: Report>(
    run: impl Future<Output = anyhow::Result<R>>,
    json: bool,
) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(run)?;
    report::print(&report, json)
}

/// Servers get the runtime that the coordinator's own program has.
fn served(serve: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    Runtime::new()?.block_on(serve)
}
