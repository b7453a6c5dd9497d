//! What a walk found, in words.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use crate::rule::{Round, Rule};

/// One broken rule in one round.
#[derive(Clone, Debug)]
pub struct Failure {
    /// `name/version`
    pub kind: String,
    /// Of several scenarios, which; else empty.
    pub scenario: &'static str,
    /// In which round.
    pub round: Round,
    /// The call that the round was about: its number, and its action.
    pub call: Option<(usize, String)>,
    /// What was broken.
    pub rule: Rule,
    /// Expected and got.
    pub detail: String,
}

/// What a walk found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Kinds walked.
    pub kinds: usize,
    /// Rounds run.
    pub rounds: usize,
    /// Everything that was broken, by kind.
    pub failures: Vec<Failure>,
}

impl Report {
    /// True when nothing was broken.
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty()
    }
}

impl fmt::Display for Report {
    /// The same rule broken in the same kind of round is told once, with the other calls at which it was broken.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kinds, rounds, .. } = self;
        let mut groups: BTreeMap<(&str, &str, String), Vec<&Failure>> = BTreeMap::new();
        for failure in &self.failures {
            let title = format!("{}: {}", failure.round, failure.rule);
            groups
                .entry((&failure.kind, failure.scenario, title))
                .or_default()
                .push(failure);
        }
        write!(
            f,
            "{kinds} kinds, {rounds} rounds, {} findings",
            groups.len()
        )?;
        for ((kind, scenario, title), failures) in groups {
            let scenario = match scenario {
                "" => String::new(),
                name => format!(" ({name})"),
            };
            write!(f, "\n\n{kind}{scenario}: {title}")?;
            let first = failures[0];
            if let Some((number, action)) = &first.call {
                write!(f, "\n  at call {number} {action}")?;
            }
            // What belongs to no call is no repetition: every effect that is never used is another one.
            let others = failures[1..].iter().copied();
            let separate = others.filter(|other| other.call.is_none());
            for failure in std::iter::once(first).chain(separate) {
                for line in failure.detail.lines() {
                    write!(f, "\n  {line}")?;
                }
            }
            let mut others = String::new();
            for (number, action) in failures[1..].iter().filter_map(|other| other.call.as_ref()) {
                let comma = if others.is_empty() { "" } else { ", " };
                write!(others, "{comma}{number} {action}")?;
            }
            if !others.is_empty() {
                write!(f, "\n  also at calls {others}")?;
            }
        }
        Ok(())
    }
}
