//! From submit to the first step running at the worker, while the coordinator has nothing else to do.
//!
//! A step runs when its offer is at the worker; its ack is durable, and it may change something outside, one round trip
//! and one commit later. Both are measured.

use std::{fmt::Write as _, path::Path, time::Instant};

use anyhow::Context as _;
use clap::Args;
use drover_proto::v1;
use serde::Serialize;

use crate::{
    host::Host,
    load::{
        Steps,
        operator::Operator,
        session::{Session, Worker},
    },
    place::Place,
    report::{Common, Goal, Report, noise, percent, say},
    server::{self, Engine, Server},
    shape::{Shape, Templates},
    stats::{Machine, Summary, Times, Usage},
};

/// The workflow has the one step that is measured.
const STEPS: u32 = 1;

/// The goals of the design.
const GOAL_P50_MS: f64 = 1.5;
const GOAL_P99_MS: f64 = 4.0;

/// How the scenario runs.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Samples, one after the other
    #[arg(long, value_name = "N", default_value_t = 1000)]
    samples: u32,
    /// Samples before them that do not count
    #[arg(long, value_name = "N", default_value_t = 100)]
    warm_up: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What came out.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    scenario: &'static str,
    host: Host,
    warm_up_samples: u32,
    coordinator: Side,
    null_engine: Side,
    /// Median of the null engine in percent of the coordinator's.
    null_engine_percent_of_p50: f64,
    disk_append: Summary,
    goals: Vec<Goal>,
}

/// One server's figures.
#[derive(Debug, Serialize)]
struct Side {
    /// From submit until the offer is at the worker.
    running: Summary,
    /// From submit until the worker may act.
    confirmed: Summary,
    /// From submit until the operator has the answer.
    answered: Summary,
    /// What everything else on the machine used; more than a little spoils the figures.
    other_cores: f64,
}

/// Runs both sides, one after the other.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Latency> {
    let place = Place::make(&options.common.place)?;
    let disk_append = place.fdatasync()?;
    let data = place.folder("coordinator");
    let (coordinator, templates) = side(options, Engine::Coordinator, &data).await?;
    let path = place.folder("shape.json");
    Shape::of_run(&data, STEPS, &templates)?.save(&path)?;
    let (null_engine, _) = side(options, Engine::Null(&path), &place.folder("null")).await?;
    let goals = vec![
        Goal {
            what: "p50 at most 1.5 ms",
            is_met: coordinator.running.p50_ms <= GOAL_P50_MS,
        },
        Goal {
            what: "p99 at most 4 ms",
            is_met: coordinator.running.p99_ms <= GOAL_P99_MS,
        },
    ];
    Ok(Latency {
        scenario: "latency",
        host: Host::here(),
        warm_up_samples: options.warm_up,
        null_engine_percent_of_p50: percent(null_engine.running.p50_ms, coordinator.running.p50_ms),
        coordinator,
        null_engine,
        disk_append,
        goals,
    })
}

/// The one step under way.
#[derive(Default)]
struct Probe {
    offer: Option<v1::Offer>,
    running: Option<Instant>,
    confirmed: Option<Instant>,
    is_stored: bool,
    dismissed: u32,
}

impl Steps for Probe {
    fn offered(&mut self, offer: &v1::Offer) {
        self.running = Some(Instant::now());
        self.offer = Some(offer.clone());
    }

    fn confirmed(&mut self, _: &v1::AttemptRef) -> bool {
        self.confirmed = Some(Instant::now());
        true
    }

    fn stored(&mut self, _: &v1::AttemptRef) {
        self.is_stored = true;
    }

    fn dismissed(&mut self, _: &v1::AttemptRef) {
        self.dismissed += 1;
    }
}

/// One sample: a workflow from its start to its end.
struct Sample {
    submitted: Instant,
    running: Instant,
    confirmed: Instant,
    answered: Instant,
    templates: Templates,
}

async fn sample(session: &mut Session, operator: &mut Operator) -> anyhow::Result<Sample> {
    let mut probe = Probe::default();
    let submitted = Instant::now();
    operator.start();
    let mut answer = None;
    while answer.is_none() || !probe.is_stored {
        // Both are cancel-safe; the bodies do not await.
        tokio::select! {
            turned = session.turn(&mut probe) => turned?,
            started = operator.started() => answer = Some((started?, Instant::now())),
        }
        anyhow::ensure!(probe.dismissed == 0, "the attempt was dismissed");
    }
    let (started, answered) = answer.context("it was there just now")?;
    let never = "stored without having run";
    Ok(Sample {
        submitted,
        running: probe.running.context(never)?,
        confirmed: probe.confirmed.context(never)?,
        answered,
        templates: Templates {
            offer: probe.offer.context(never)?,
            started,
        },
    })
}

async fn side(
    options: &Options,
    engine: Engine<'_>,
    data: &Path,
) -> anyhow::Result<(Side, Templates)> {
    say(&format!("latency: {engine:?}"));
    let mut server = Server::spawn(engine, data, server::ANY)?;
    let ready = server.ready().await?;
    let (mut session, _) = Worker::new().connect(ready.listen, 1, Vec::new()).await?;
    let mut operator = Operator::connect(ready.listen).await?;
    if matches!(engine, Engine::Coordinator) {
        operator.register(STEPS).await?;
    }
    let (mut running, mut confirmed, mut answered) = (Times::new(), Times::new(), Times::new());
    let mut templates = None;
    let now = || {
        let (server, client) = (Usage::of(server.pid()), Usage::of(std::process::id()));
        Machine::now(&[&server, &client])
    };
    let before = now();
    for n in 0..options.warm_up + options.samples {
        let sample = sample(&mut session, &mut operator)
            .await
            .with_context(|| format!("the server said: {}", server.last_words()))?;
        if n >= options.warm_up {
            running.record(sample.running - sample.submitted);
            confirmed.record(sample.confirmed - sample.submitted);
            answered.record(sample.answered - sample.submitted);
        }
        templates = Some(sample.templates);
    }
    let other_cores = now().others_since(&before);
    server.kill().await?;
    let side = Side {
        running: running.summary(),
        confirmed: confirmed.summary(),
        answered: answered.summary(),
        other_cores,
    };
    Ok((side, templates.context("no samples were asked for")?))
}

impl Report for Latency {
    fn text(&self) -> String {
        let mut text = format!(
            "latency: one workflow at a time, submit to its first step at the worker, after {} warm-ups\n{}\n",
            self.warm_up_samples,
            self.host.line()
        );
        self.coordinator.write(&mut text, "coordinator");
        self.null_engine.write(&mut text, "null engine");
        let (ratio, disk) = (self.null_engine_percent_of_p50, self.disk_append.line());
        write!(
            text,
            "the null engine takes {ratio:.0} % of the coordinator's median\nthe bare disk, one small append and fdatasync at a time: {disk}\n{}{}",
            noise([self.coordinator.other_cores, self.null_engine.other_cores]),
            Goal::lines(&self.goals)
        )
        .expect("a string takes everything");
        text
    }
}

impl Side {
    fn write(&self, text: &mut String, name: &str) {
        let (running, confirmed) = (self.running.line(), self.confirmed.line());
        let answered = self.answered.line();
        write!(
            text,
            "{name}: running {running}\n  may act   {confirmed}\n  answered  {answered}\n  cores: others {:.2}\n",
            self.other_cores
        )
        .expect("a string takes everything");
    }
}
