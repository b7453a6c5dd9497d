//! Resident memory for each open workflow, of which one step is done and most wait for the next one.
//!
//! Measured twice: as the coordinator stands after it has taken them all in, and after a restart on the same data, when
//! nothing is left of the way there. The null engine keeps the same records in the same store and no state: what it needs is
//! the store's.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use crate::{
    host::Host,
    load::session::Worker,
    open::{Ledger, STEPS, fill, within},
    place::{self, Place},
    report::{Common, Goal, Report, say},
    server::{self, Engine, Server},
    shape::{Shape, Templates},
    stats::resident_bytes,
};

/// Steps that run at the worker.
const HELD: u32 = 64;

/// The goal of the design, in bytes for each open workflow.
const GOAL: u64 = 20 * 1024;

/// How the scenario runs.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Open workflows, one run for each number
    #[arg(long, value_name = "N", num_args = 1.., default_values_t = [10_000, 50_000], value_parser = clap::value_parser!(u32).range(100..))]
    workflows: Vec<u32>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What came out.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    scenario: &'static str,
    host: Host,
    steps_per_workflow: u32,
    runs: Vec<Run>,
    goals: Vec<Goal>,
}

/// So many open workflows.
#[derive(Debug, Serialize)]
struct Run {
    open_workflows: u32,
    /// Of the store, on disk.
    data_bytes: u64,
    coordinator: Side,
    /// The coordinator, begun again on the same data.
    restarted: Side,
    null_engine: Side,
}

/// One process.
#[derive(Clone, Copy, Debug, Serialize)]
struct Side {
    /// Before the first workflow.
    idle_bytes: u64,
    full_bytes: u64,
    bytes_per_workflow: u64,
}

impl Side {
    fn new(idle_bytes: u64, full_bytes: u64, workflows: u32) -> Self {
        Self {
            idle_bytes,
            full_bytes,
            bytes_per_workflow: full_bytes.saturating_sub(idle_bytes) / u64::from(workflows),
        }
    }

    fn write(&self, text: &mut String, name: &str) {
        let Self {
            idle_bytes,
            full_bytes,
            bytes_per_workflow,
        } = self;
        writeln!(
            text,
            "  {name:<12} {bytes_per_workflow:>6} bytes a workflow ({} MiB idle, {} MiB full)",
            idle_bytes >> 20,
            full_bytes >> 20
        )
        .expect("a string takes everything");
    }
}

/// One run after the other.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Memory> {
    let mut runs = Vec::new();
    for workflows in &options.workflows {
        let place = Place::make(&options.common.place)?;
        runs.push(one(*workflows, &place).await?);
    }
    let most = runs
        .iter()
        .map(|run| run.coordinator.bytes_per_workflow)
        .max();
    Ok(Memory {
        scenario: "memory",
        host: Host::here(),
        steps_per_workflow: STEPS,
        goals: vec![Goal {
            what: "less than 20 KiB for each open workflow",
            is_met: most.is_some_and(|most| most < GOAL),
        }],
        runs,
    })
}

async fn one(workflows: u32, place: &Place) -> anyhow::Result<Run> {
    say(&format!("memory: {workflows} workflows, coordinator"));
    let data = place.folder("coordinator");
    let (coordinator, templates) =
        filled(Engine::Coordinator, workflows, place, "coordinator").await?;
    let data_bytes = place::size(&data);
    say(&format!("memory: {workflows} workflows, restarted"));
    let mut server = Server::spawn(Engine::Coordinator, &data, server::ANY)?;
    server.ready().await?;
    let restarted = Side::new(
        coordinator.idle_bytes,
        resident_bytes(server.pid()),
        workflows,
    );
    server.kill().await?;
    say(&format!("memory: {workflows} workflows, null engine"));
    let path = place.folder("shape.json");
    Shape::of_run(&data, STEPS, &templates)?.save(&path)?;
    let (null_engine, _) = filled(Engine::Null(&path), workflows, place, "null").await?;
    Ok(Run {
        open_workflows: workflows,
        data_bytes,
        coordinator,
        restarted,
        null_engine,
    })
}

/// Fills a server and measures it.
async fn filled(
    engine: Engine<'_>,
    workflows: u32,
    place: &Place,
    name: &str,
) -> anyhow::Result<(Side, Templates)> {
    let mut server = Server::spawn(engine, &place.folder(name), server::ANY)?;
    let listen = server.ready().await?.listen;
    let idle = resident_bytes(server.pid());
    // The null engine offers everything at once.
    let held = match engine {
        Engine::Coordinator => HELD,
        Engine::Null(_) => workflows,
    };
    let mut ledger = Ledger::default();
    let (mut session, _) = Worker::new().connect(listen, 0, Vec::new()).await?;
    let filled = fill(engine, workflows, held, listen, &mut session, &mut ledger);
    let templates = within("filling", filled).await?;
    let side = Side::new(idle, resident_bytes(server.pid()), workflows);
    server.kill().await?;
    Ok((side, templates))
}

impl Report for Memory {
    fn text(&self) -> String {
        let mut text = format!(
            "memory: open workflows of {} steps, one step of each done, {HELD} running at the worker\n{}\n",
            self.steps_per_workflow,
            self.host.line()
        );
        for run in &self.runs {
            writeln!(
                text,
                "{} open workflows, {} bytes on disk for each",
                run.open_workflows,
                run.data_bytes / u64::from(run.open_workflows)
            )
            .expect("a string takes everything");
            run.coordinator.write(&mut text, "coordinator");
            run.restarted.write(&mut text, "restarted");
            run.null_engine.write(&mut text, "null engine");
        }
        text + &Goal::lines(&self.goals)
    }
}
