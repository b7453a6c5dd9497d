//! Figures of many runs.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{Outcome, faults::Kind};

/// Figures of many runs.
#[derive(Debug, Default)]
pub struct Report {
    seeds: u64,
    simulated: Duration,
    events: u64,
    effects: u64,
    faults: BTreeMap<Kind, u64>,
    violations: BTreeMap<&'static str, u64>,
    /// Seeds with violations.
    pub failed: Vec<u64>,
}

impl Report {
    /// One more run.
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.simulated += outcome.simulated;
        self.events += outcome.events;
        self.effects += outcome.effects;
        for (kind, n) in &outcome.faults {
            *self.faults.entry(*kind).or_default() += n;
        }
        for violation in &outcome.violations {
            *self.violations.entry(violation.rule).or_default() += 1;
        }
        if !outcome.violations.is_empty() {
            self.failed.push(outcome.seed);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.simulated.as_secs_f64() / 3600.0;
        writeln!(f, "seeds            {:>9}", self.seeds)?;
        writeln!(f, "simulated hours  {hours:>9.1}")?;
        writeln!(f, "events           {:>9}", self.events)?;
        writeln!(f, "outside changes  {:>9}", self.effects)?;
        writeln!(
            f,
            "faults           {:>9}",
            self.faults.values().sum::<u64>()
        )?;
        for (kind, n) in &self.faults {
            writeln!(f, "  {kind:<20} {n:>9}")?;
        }
        writeln!(
            f,
            "violations       {:>9}",
            self.violations.values().sum::<u64>()
        )?;
        for (rule, n) in &self.violations {
            writeln!(f, "  {rule:<25} {n:>9}")?;
        }
        Ok(())
    }
}
