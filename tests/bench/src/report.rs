//! What a scenario prints: text for people, JSON for scripts.

use std::io::{self, Write as _};

use clap::Args;
use serde::Serialize;

use crate::place::PlaceArgs;

/// What all scenarios take.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// The outcome of a scenario.
pub(crate) trait Report: Serialize {
    /// For people.
    fn text(&self) -> String;
}

/// Prints a report on stdout.
pub(crate) fn print(report: &impl Report, json: bool) -> anyhow::Result<()> {
    let text = if json {
        let mut text = serde_json::to_string_pretty(report)?;
        text.push('\n');
        text
    } else {
        report.text()
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Tells people on stderr what goes on.
pub(crate) fn say(line: &str) {
    // A closed stderr is no reason to fail.
    drop(writeln!(io::stderr(), "{line}"));
}

/// How a figure compares with its goal.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) what: &'static str,
    pub(crate) is_met: bool,
}

impl Goal {
    /// The goals' lines.
    pub(crate) fn lines(goals: &[Self]) -> String {
        goals
            .iter()
            .map(|goal| {
                let word = if goal.is_met { "met" } else { "MISSED" };
                format!("goal: {}: {word}\n", goal.what)
            })
            .collect()
    }
}

/// Says so when other work on the machine spoilt the figures; these many cores were busy with it.
pub(crate) fn noise(other_cores: impl IntoIterator<Item = f64>) -> String {
    const A_LITTLE: f64 = 0.15;
    let most = other_cores.into_iter().fold(0.0, f64::max);
    if most > A_LITTLE {
        format!(
            "warning: other work kept up to {most:.1} cores busy; these are figures of a smaller machine\n"
        )
    } else {
        String::new()
    }
}

/// One number in relation to another, in percent; 0 when there is nothing to compare with.
pub(crate) fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        part / whole * 100.0
    } else {
        0.0
    }
}
