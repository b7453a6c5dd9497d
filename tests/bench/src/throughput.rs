//! Durable steps a second: many workflows of no-op steps in flight, a new one for each that ends.
//!
//! A step counts when the coordinator has said that its result is stored. Each takes two group commits: the ack, and the
//! result together with the next step's lease.
//!
//! A machine that is shared does not run at one speed. So there are several rounds, each with both servers begun anew one
//! after the other, and what is said at the end are medians.

mod side;

use std::{fmt::Write as _, fs};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use self::side::{Side, side};
use crate::{
    host::Host,
    place::Place,
    report::{Common, Goal, Report, noise, percent, say},
    server::Engine,
    shape::Shape,
    stats::Summary,
};

/// Steps of a workflow.
const STEPS: u32 = 10;

/// The goals of the design.
const GOAL_STEPS_PER_S: f64 = 12_000.0;
const GOAL_PERCENT: f64 = 50.0;

/// How the scenario runs.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seconds that are measured, in each round and of each server
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Seconds before them
    #[arg(long, value_name = "N", default_value_t = 3)]
    warm_up: u64,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Workflows in flight, and offers that the worker takes at once
    #[arg(long, value_name = "N", default_value_t = 512)]
    in_flight: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What came out.
#[derive(Debug, Serialize)]
pub(crate) struct Throughput {
    scenario: &'static str,
    host: Host,
    in_flight: u32,
    steps_per_workflow: u32,
    warm_up_s: u64,
    /// Medians of the rounds.
    steps_per_s: f64,
    null_engine_steps_per_s: f64,
    percent_of_null_engine: f64,
    rounds: Vec<Round>,
    event_bytes_per_step: usize,
    /// Records of the real run that the null engine leaves out.
    other_records_percent: f64,
    disk_append: Summary,
    goals: Vec<Goal>,
}

/// Both servers, one after the other.
#[derive(Debug, Serialize)]
struct Round {
    coordinator: Side,
    null_engine: Side,
    percent_of_null_engine: f64,
}

/// Runs every round.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Throughput> {
    let place = Place::make(&options.common.place)?;
    let disk_append = place.fdatasync()?;
    let (mut rounds, mut shape) = (Vec::new(), None);
    for n in 1..=options.rounds {
        let (round, measured) = round(options, &place, n).await?;
        rounds.push(round);
        shape = Some(measured);
    }
    let shape = shape.context("there is at least one round")?;
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let steps_per_s = of(|round| round.coordinator.steps_per_s);
    let ratio = of(|round| round.percent_of_null_engine);
    let goals = vec![
        Goal {
            what: "at least 12,000 steps/s on 2 cores",
            is_met: steps_per_s >= GOAL_STEPS_PER_S,
        },
        Goal {
            what: "at least 50 % of the null engine",
            is_met: ratio >= GOAL_PERCENT,
        },
    ];
    Ok(Throughput {
        scenario: "throughput",
        host: Host::here(),
        in_flight: options.in_flight,
        steps_per_workflow: STEPS,
        warm_up_s: options.warm_up,
        steps_per_s,
        null_engine_steps_per_s: of(|round| round.null_engine.steps_per_s),
        percent_of_null_engine: ratio,
        rounds,
        event_bytes_per_step: shape.step_bytes(),
        other_records_percent: shape.other_records_percent,
        disk_append,
        goals,
    })
}

async fn round(options: &Options, place: &Place, n: u32) -> anyhow::Result<(Round, Shape)> {
    let (data, null) = (place.folder("coordinator"), place.folder("null"));
    say(&format!("throughput: round {n}, coordinator"));
    let (coordinator, templates) = side(options, Engine::Coordinator, &data).await?;
    let shape = Shape::of_run(&data, STEPS, &templates)?;
    let path = place.folder("shape.json");
    shape.save(&path)?;
    say(&format!("throughput: round {n}, null engine"));
    let (null_engine, _) = side(options, Engine::Null(&path), &null).await?;
    for folder in [data, null] {
        fs::remove_dir_all(folder)?;
    }
    let round = Round {
        percent_of_null_engine: percent(coordinator.steps_per_s, null_engine.steps_per_s),
        coordinator,
        null_engine,
    };
    Ok((round, shape))
}

/// The middle one; of an even number the lower of the two.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[(figures.len() - 1) / 2]
}

impl Report for Throughput {
    fn text(&self) -> String {
        let mut text = format!(
            "throughput: {} workflows in flight, {} no-op steps each; {} s of warm-up before each window\n{}\n",
            self.in_flight,
            self.steps_per_workflow,
            self.warm_up_s,
            self.host.line()
        );
        for (n, round) in (1..).zip(&self.rounds) {
            let seconds = round.coordinator.measured_s;
            let ratio = round.percent_of_null_engine;
            writeln!(text, "round {n}, {seconds:.1} s each: {ratio:.0} %")
                .expect("a string takes everything");
            round.coordinator.write(&mut text, "coordinator");
            round.null_engine.write(&mut text, "null engine");
        }
        let Self {
            steps_per_s,
            null_engine_steps_per_s,
            percent_of_null_engine,
            event_bytes_per_step,
            other_records_percent,
            ..
        } = self;
        let disk = self.disk_append.line();
        let others = self
            .rounds
            .iter()
            .flat_map(|round| [&round.coordinator, &round.null_engine])
            .map(|side| side.other_cores);
        write!(
            text,
            "medians: {steps_per_s:.0} durable steps/s, null engine {null_engine_steps_per_s:.0}, ratio {percent_of_null_engine:.0} %\nevents: {event_bytes_per_step} bytes a step; records that the null engine leaves out: {other_records_percent:.1} %\nthe bare disk, one small append and fdatasync at a time: {disk}\n{}{}",
            noise(others),
            Goal::lines(&self.goals)
        )
        .expect("a string takes everything");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_whatever_the_order() {
        for figures in [vec![3.0, 1.0, 2.0], vec![2.0], vec![9.0, 2.0, 1.0, 3.0]] {
            assert!((median(figures) - 2.0).abs() < f64::EPSILON);
        }
    }
}
