//! `drover-simulation`: runs seeds and says what they came to.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use clap::Parser;
use drover_simulation::{Outcome, report::Report, run};

/// Runs the whole system on virtual time, with faults drawn from seeds.
#[derive(Debug, Parser)]
#[command(name = "drover-simulation", version)]
struct Args {
    /// Run the seeds from 0 to one less than this
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Run this one seed only
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let seeds = match args.seed {
        Some(seed) => seed..seed + 1,
        None => 0..args.seeds,
    };
    match all(seeds) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // A closed stderr is no reason to fail differently.
            drop(writeln!(io::stderr(), "drover-simulation: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Runs seeds on every core; true when nothing was violated.
fn all(seeds: std::ops::Range<u64>) -> anyhow::Result<bool> {
    let total = seeds.end - seeds.start;
    let next = AtomicU64::new(seeds.start);
    let (to, outcomes) = mpsc::channel::<anyhow::Result<Outcome>>();
    let to = Mutex::new(to);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut report = Report::default();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (next, end) = (&next, seeds.end);
            let to = to.lock().expect("cloning does not panic").clone();
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    // The receiver is gone when a run could not be played at all.
                    if seed >= end || to.send(run(seed)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(to);
        for (n, outcome) in outcomes.iter().enumerate() {
            let outcome = outcome?;
            report.add(&outcome);
            tell(&outcome, n as u64 + 1, total)?;
        }
        anyhow::Ok(())
    })?;
    write!(io::stdout(), "\n{report}")?;
    Ok(report.failed.is_empty())
}

fn tell(outcome: &Outcome, n: u64, total: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for violation in &outcome.violations {
        writeln!(out, "seed {}: {violation}", outcome.seed)?;
    }
    if !outcome.violations.is_empty() {
        writeln!(
            out,
            "reproduce: cargo run -p drover-simulation -- --seed {}",
            outcome.seed
        )?;
    }
    if total == 1 || n.is_multiple_of(100) || n == total {
        writeln!(
            out,
            "{n} of {total}: seed {} {}",
            outcome.seed, outcome.digest
        )?;
    }
    Ok(())
}
