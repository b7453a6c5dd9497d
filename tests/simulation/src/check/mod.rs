//! The history checker: what must hold of every run, whatever went wrong in it.
//!
//! Each rule is a function from what a run left to what should not have happened. None asks the product: they read the
//! history, which the outside wrote, and the events on the disk.

mod acks;
mod attempts;
mod fences;
mod folding;
mod guards;
mod permits;
mod results;
mod stuck;
#[cfg(test)]
mod tests;
mod timers;

use std::fmt;

use crate::evidence::Evidence;

/// Something that should not have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule, kebab-case.
    pub rule: &'static str,
    /// One sentence: what, where, when.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// Judges a run by every rule.
#[must_use]
pub fn all(evidence: &Evidence) -> Vec<Violation> {
    let mut violations = acks::check(&evidence.history, &evidence.streams);
    violations.extend(fences::check(&evidence.history));
    violations.extend(permits::check(&evidence.history));
    for story in &evidence.stories {
        violations.extend(results::check(story));
        violations.extend(results::kept(story, &evidence.history));
        violations.extend(attempts::check(story));
        violations.extend(guards::check(story));
        violations.extend(timers::check(story, &evidence.scenario.profile));
        violations.extend(folding::check(story, &evidence.history));
        violations.extend(attempts::none_in_silence(
            story,
            &evidence.scenario,
            &evidence.history,
        ));
    }
    violations.extend(folding::backup(&evidence.streams, &evidence.backup));
    violations.extend(stuck::check(&evidence.open));
    violations
}
