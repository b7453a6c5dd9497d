//! SIGKILL with many open workflows, and the restart on the same data: how long until something moves, and whether any
//! step runs twice.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use drover_proto::v1;
use serde::Serialize;

use crate::{
    host::Host,
    load::session::{Session, Worker, done},
    open::{Ledger, PATIENCE, STEPS, fill, within, work},
    place::{self, Place},
    report::{Common, Goal, Report, noise, percent, say},
    server::{self, Engine, Server},
    shape::Shape,
    stats::{Machine, Usage, resident_bytes},
};

/// Between two tries to connect. A worker in the field waits longer, see the README.
const RECONNECT: Duration = Duration::from_millis(5);

/// The goal of the design.
const GOAL_S: f64 = 2.0;

/// How the scenario runs.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Open workflows
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    workflows: u32,
    /// Steps that run at the worker when the coordinator is killed
    #[arg(long, value_name = "N", default_value_t = 512)]
    held: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What came out.
#[derive(Debug, Serialize)]
pub(crate) struct Recovery {
    scenario: &'static str,
    host: Host,
    open_workflows: u32,
    steps_per_workflow: u32,
    steps_done_before: usize,
    steps_held: u32,
    data_bytes: u64,
    coordinator: Side,
    null_engine: Side,
    null_engine_percent_of_first_progress: f64,
    /// Held attempts that the restarted coordinator did not confirm.
    held_not_kept: usize,
    steps_run_again: usize,
    /// The first of them.
    examples: Vec<String>,
    /// Of all steps of all workflows, once they had ended.
    steps_done_after: usize,
    all_done_s: f64,
    goals: Vec<Goal>,
}

/// One server's figures, counted from its start.
#[derive(Debug, Serialize)]
struct Side {
    listening_s: f64,
    /// The worker's session is up and every held attempt has its verdict.
    session_s: f64,
    /// The first result stored, or the first offer.
    first_progress_s: f64,
    /// What everything else on the machine used; more than a little spoils the figures.
    other_cores: f64,
    resident_mib: u64,
}

/// Fills, kills, restarts, lets everything end.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Recovery> {
    anyhow::ensure!(
        options.held <= options.workflows,
        "--held must not be larger than --workflows"
    );
    let place = Place::make(&options.common.place)?;
    let data = place.folder("coordinator");
    let mut worker = Worker::new();
    let mut ledger = Ledger::default();

    say("recovery: filling");
    let mut server = Server::spawn(Engine::Coordinator, &data, server::ANY)?;
    let listen = server.ready().await?.listen;
    let templates = {
        let (mut session, _) = worker.connect(listen, 0, Vec::new()).await?;
        let filled = fill(
            Engine::Coordinator,
            options.workflows,
            options.held,
            listen,
            &mut session,
            &mut ledger,
        );
        within("filling", filled).await?
    };
    server.kill().await?;
    let steps_done_before = ledger.n_stored();
    let data_bytes = place::size(&data);
    let copy = place.folder("null");
    place::copy(&data, &copy)?;

    say("recovery: restarting");
    ledger.restart();
    let restart = Restart {
        engine: Engine::Coordinator,
        data: &data,
        listen,
        held: options.held,
    };
    let (coordinator, mut session, server) = restart.run(&mut worker, &mut ledger).await?;
    let all = (options.workflows * STEPS) as usize;
    work(&mut session, &mut ledger, |ledger| {
        (ledger.n_stored() >= all).then_some(())
    })
    .await
    .with_context(|| format!("{} of {all} steps are done", ledger.n_stored()))?;
    let all_done_s = server.spawned().elapsed().as_secs_f64();
    drop(session);
    server.kill().await?;

    say("recovery: null engine");
    let path = place.folder("shape.json");
    Shape::of_run(&data, STEPS, &templates)?.save(&path)?;
    let restart = Restart {
        engine: Engine::Null(&path),
        data: &copy,
        listen: server::ANY,
        held: options.held,
    };
    let mut of_null = ledger.as_it_was_at_the_restart();
    let (null_engine, _, server) = restart.run(&mut Worker::new(), &mut of_null).await?;
    server.kill().await?;

    let again = ledger.run_again();
    let goals = vec![
        Goal {
            what: "first progress in less than 2 s",
            is_met: coordinator.first_progress_s < GOAL_S,
        },
        Goal {
            what: "no step runs again",
            is_met: again.is_empty(),
        },
    ];
    Ok(Recovery {
        scenario: "recovery",
        host: Host::here(),
        open_workflows: options.workflows,
        steps_per_workflow: STEPS,
        steps_done_before,
        steps_held: options.held,
        data_bytes,
        null_engine_percent_of_first_progress: percent(
            null_engine.first_progress_s,
            coordinator.first_progress_s,
        ),
        coordinator,
        null_engine,
        held_not_kept: ledger.not_kept(),
        steps_run_again: again.len(),
        examples: again.iter().take(5).cloned().collect(),
        steps_done_after: ledger.n_stored(),
        all_done_s,
        goals,
    })
}

/// A server on the data that a killed one left behind.
struct Restart<'a> {
    engine: Engine<'a>,
    data: &'a Path,
    listen: SocketAddr,
    held: u32,
}

impl Restart<'_> {
    /// Until the first progress.
    async fn run(
        &self,
        worker: &mut Worker,
        ledger: &mut Ledger,
    ) -> anyhow::Result<(Side, Session, Server)> {
        let mut server = Server::spawn(self.engine, self.data, self.listen)?;
        let spawned = server.spawned();
        let now = |server: &Server| {
            let (server, client) = (Usage::of(server.pid()), Usage::of(std::process::id()));
            Machine::now(&[&server, &client])
        };
        let before = now(&server);
        let since = |at: Instant| (at - spawned).as_secs_f64();
        let held = ledger.held().to_vec();
        let (listening, session_at, (mut session, welcome)) = if self.listen.port() == 0 {
            let ready = server.ready().await?;
            let listening = Instant::now();
            let connected = self.connect(worker, ready.listen, held).await?;
            (listening, Instant::now(), connected)
        } else {
            // The worker knows the address and tries all the time, as a real one does.
            let ready = async { server.ready().await.map(|_| Instant::now()) };
            let connected = async {
                let connected = self.connect(worker, self.listen, held).await?;
                Ok((Instant::now(), connected))
            };
            let (listening, (at, connected)) = tokio::try_join!(ready, connected)?;
            (listening, at, connected)
        };
        let kept = ledger.verdicts(&welcome.verdicts);
        session.report(kept.into_iter().map(done).collect())?;
        let progress = work(&mut session, ledger, Ledger::first_progress)
            .await
            .with_context(|| format!("the server said: {}", server.last_words()))?;
        let side = Side {
            listening_s: since(listening),
            session_s: since(session_at),
            first_progress_s: since(progress),
            other_cores: now(&server).others_since(&before),
            resident_mib: resident_bytes(server.pid()) >> 20,
        };
        Ok((side, session, server))
    }

    async fn connect(
        &self,
        worker: &mut Worker,
        listen: SocketAddr,
        held: Vec<v1::AttemptRef>,
    ) -> anyhow::Result<(Session, v1::Welcome)> {
        let until = Instant::now() + PATIENCE;
        loop {
            match worker.connect(listen, self.held, held.clone()).await {
                Ok(connected) => return Ok(connected),
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => tokio::time::sleep(RECONNECT).await,
            }
        }
    }
}

impl Report for Recovery {
    fn text(&self) -> String {
        let mut text = format!(
            "recovery: {} open workflows of {} steps, {} steps done, {} running at the worker, {} KiB of data; SIGKILL, restart on the same data (its pages still in memory)\n{}\n",
            self.open_workflows,
            self.steps_per_workflow,
            self.steps_done_before,
            self.steps_held,
            self.data_bytes / 1024,
            self.host.line()
        );
        self.coordinator.write(&mut text, "coordinator");
        self.null_engine.write(&mut text, "null engine");
        let ratio = self.null_engine_percent_of_first_progress;
        write!(
            text,
            "the null engine takes {ratio:.0} % of the coordinator's time to first progress\nheld attempts not confirmed after the restart: {}\nsteps run again: {}{}\nall workflows ended {:.1} s after the restart, {} steps done\n{}{}",
            self.held_not_kept,
            self.steps_run_again,
            self.examples.iter().fold(String::new(), |all, one| all + " " + one),
            self.all_done_s,
            self.steps_done_after,
            noise([self.coordinator.other_cores, self.null_engine.other_cores]),
            Goal::lines(&self.goals)
        )
        .expect("a string takes everything");
        text
    }
}

impl Side {
    fn write(&self, text: &mut String, name: &str) {
        let Self {
            listening_s,
            session_s,
            first_progress_s,
            other_cores,
            resident_mib,
        } = self;
        writeln!(
            text,
            "{name}: listening after {listening_s:.3} s, session after {session_s:.3} s, first progress after {first_progress_s:.3} s; {resident_mib} MiB resident; cores: others {other_cores:.2}"
        )
        .expect("a string takes everything");
    }
}
