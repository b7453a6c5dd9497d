//! Many migrations of the real definition at once: what they cost the engine, and how many bytes of events each leaves.
//!
//! Everything is real but the world: the program `drover` as it lies beside this one serves the simulated world, the
//! coordinator and the workers. There is no null engine: the load is set by the world's clock and not by the machine.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use drover_coordinator::store::{EventStore as _, sled::SledStore};
use drover_core::stream::StreamId;
use drover_proto::v1;
use serde::Serialize;
use system_tests::{
    client::Client,
    town::{Plan, Town},
};

use crate::{
    host::Host,
    report::{Common, Goal, Report, say},
    stats::{Machine, Usage, Used},
};

/// Where nothing but the simulated world is slow, so many installations share the work of a fleet.
const INSTALLATIONS: u16 = 12;

/// Between two looks at who has ended.
const LOOK: Duration = Duration::from_secs(1);

/// Workflows of one answer: all of them would be too large a message.
const PAGE: u32 = 100;

/// Domain time without any end until the run is given up: the longest waits of a migration are hours.
const STALL: Duration = Duration::from_secs(12 * 3600);

/// The engine's thread in the coordinator's process.
const ENGINE: &str = "engine";

/// The goals of the design.
const GOAL_CORES: f64 = 1.0;
const GOAL_BYTES: u64 = 200_000;

/// How the scenario runs.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Migrations, all of them at once
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=5000))]
    migrations: u16,
    /// Domain seconds a real second: how fast the world asks for work
    #[arg(long, value_name = "FACTOR", default_value_t = 120.0)]
    speed: f64,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What came out.
#[derive(Debug, Serialize)]
pub(crate) struct Fanout {
    scenario: &'static str,
    host: Host,
    migrations: u16,
    installations: u16,
    speed: f64,
    /// From the first start to the last end.
    took_s: f64,
    /// How they ended.
    by_state: BTreeMap<String, usize>,
    coordinator: Used,
    engine_cores: f64,
    /// Of their streams, as stored.
    event_bytes_per_migration: u64,
    events_per_migration: u64,
    /// World, workers and everything else on the machine.
    other_cores: f64,
    goals: Vec<Goal>,
}

/// Runs all of them to their end.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Fanout> {
    let program = drover()?;
    say("fanout: making the world");
    let plan = Plan {
        installations: INSTALLATIONS,
        generated: usize::from(options.migrations),
        speed: options.speed,
        coordinator: Vec::new(),
        ..Plan::default()
    };
    let mut town = Town::start(&program.display().to_string(), &plan).await;
    let mut client = town.client().await;
    let pid = town.coordinator_id();
    let now = || {
        let used = Usage::of(pid);
        (Machine::now(&[&used]), used)
    };
    let began = Instant::now();
    let (machine, before) = now();
    say("fanout: starting");
    for n in 0..usize::from(options.migrations) {
        let id = format!("m{n:04}");
        let asked = town.migrate(&mut client, &id, n).await;
        anyhow::ensure!(asked, "{id} was not started");
    }
    let by_state = ended(&mut client, options).await?;
    let (machine_after, after) = now();
    let took = began.elapsed();
    let coordinator = after.since(&before, took);
    let (folder, cores) = (
        town.folder().join("coordinator"),
        &coordinator.cores_by_thread,
    );
    let engine_cores = cores.get(ENGINE).copied().unwrap_or(coordinator.cores);
    town.kill_coordinator();
    let (bytes, events) = stored(&folder)?;
    drop(town);
    let each = |whole: u64| whole / u64::from(options.migrations);
    Ok(Fanout {
        scenario: "fanout",
        host: Host::here(),
        migrations: options.migrations,
        installations: INSTALLATIONS,
        speed: options.speed,
        took_s: took.as_secs_f64(),
        by_state,
        goals: vec![
            Goal {
                what: "the engine takes less than one core",
                is_met: engine_cores < GOAL_CORES,
            },
            Goal {
                what: "less than 200 KB of events a migration",
                is_met: each(bytes) < GOAL_BYTES,
            },
        ],
        engine_cores,
        coordinator,
        event_bytes_per_migration: each(bytes),
        events_per_migration: each(events),
        other_cores: machine_after.others_since(&machine),
    })
}

/// The program that is measured.
fn drover() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("drover");
    anyhow::ensure!(
        program.exists(),
        "{} is not there: build it first, with --release -p drover",
        program.display()
    );
    Ok(program)
}

/// Waits until all have ended; a migration that waits for a person does not.
async fn ended(client: &mut Client, options: &Options) -> anyhow::Result<BTreeMap<String, usize>> {
    let stall = STALL.div_f64(options.speed);
    let mut newest = (0, Instant::now());
    loop {
        tokio::time::sleep(LOOK).await;
        let states = states(client).await?;
        anyhow::ensure!(
            states.len() == usize::from(options.migrations),
            "a migration is lost"
        );
        let still = states
            .iter()
            .filter(|state| {
                matches!(
                    state,
                    v1::WorkflowState::Pending
                        | v1::WorkflowState::Running
                        | v1::WorkflowState::Waiting
                        | v1::WorkflowState::Unwinding
                )
            })
            .count();
        let ended = states.len() - still;
        if still == 0 {
            let mut by_state = BTreeMap::new();
            for state in states {
                *by_state.entry(format!("{state:?}")).or_default() += 1;
            }
            return Ok(by_state);
        }
        if ended != newest.0 {
            newest = (ended, Instant::now());
        }
        anyhow::ensure!(
            newest.1.elapsed() < stall,
            "{still} migrations have not ended, and none has for {stall:?}"
        );
    }
}

async fn states(client: &mut Client) -> anyhow::Result<Vec<v1::WorkflowState>> {
    let (mut states, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListWorkflowsRequest {
            limit: PAGE,
            page_token,
            ..v1::ListWorkflowsRequest::default()
        };
        let page = client.workflows.list_workflows(request).await?.into_inner();
        states.extend(page.workflows.iter().map(v1::Workflow::state));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(states);
        }
    }
}

/// Bytes and events of all workflows, in the store of a coordinator that has ended.
fn stored(data: &std::path::Path) -> anyhow::Result<(u64, u64)> {
    let (mut bytes, mut events) = (0, 0);
    SledStore::open(data)
        .context("the store of the run")?
        .scan(&mut |found| {
            if matches!(found.stream, StreamId::Workflow(_)) {
                for record in &found.records {
                    bytes += record.lines.len() as u64;
                    events += u64::from(record.count);
                }
            }
        })?;
    Ok((bytes, events))
}

impl Report for Fanout {
    fn text(&self) -> String {
        let states: Vec<String> = self
            .by_state
            .iter()
            .map(|(state, count)| format!("{count} {state}"))
            .collect();
        let threads: Vec<String> = self
            .coordinator
            .cores_by_thread
            .iter()
            .map(|(name, cores)| format!("{name} {cores:.2}"))
            .collect();
        let mut text = format!(
            "fanout: {} migrations at once in {} installations, {} domain seconds a second\n{}\n",
            self.migrations,
            self.installations,
            self.speed,
            self.host.line()
        );
        write!(
            text,
            "took {:.1} s: {}\nengine: {:.2} cores; the coordinator's process {:.2} ({})\nevents: {} of {} bytes a migration\ncores: world, workers and others {:.2}\n{}",
            self.took_s,
            states.join(", "),
            self.engine_cores,
            self.coordinator.cores,
            threads.join(", "),
            self.events_per_migration,
            self.event_bytes_per_migration,
            self.other_cores,
            Goal::lines(&self.goals)
        )
        .expect("a string takes everything");
        text
    }
}
