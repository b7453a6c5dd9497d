//! Pending transitions: "this has been so since then, and at that time it has consequences".
//!
//! Rules do not schedule events; they state a condition and how long it must hold. [`Timers::hold`] arms a timer when the
//! condition becomes true, disarms it when it becomes false, and reports when it has held for the whole delay. Since a
//! timer is a function of the state alone, the world can be advanced in any number of pieces with the same result, and a
//! copy of the state is a complete copy of the world.

use std::{collections::BTreeMap, time::Duration};

use drover_step_api::Timestamp;

/// What a timer is for: the rule and the thing it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    rule: &'static str,
    of: String,
}

/// All timers of one cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<Timer, Timestamp>,
    /// Whether one has fired since somebody asked.
    fired: bool,
}

impl Timers {
    /// True when `condition` has held for `delay`. Afterwards the timer is disarmed: a condition that still holds starts
    /// anew.
    pub(crate) fn hold(
        &mut self,
        rule: &'static str,
        of: &str,
        condition: bool,
        now: Timestamp,
        delay: impl FnOnce() -> Duration,
    ) -> bool {
        let timer = Timer {
            rule,
            of: of.to_owned(),
        };
        if !condition {
            self.due.remove(&timer);
            return false;
        }
        let due = *self
            .due
            .entry(timer.clone())
            .or_insert_with(|| now.after(delay()));
        if due > now {
            return false;
        }
        self.due.remove(&timer);
        self.fired = true;
        true
    }

    /// Whether a timer has fired since the last time this was asked: then rules look again, so that a condition that still
    /// holds arms its timer anew.
    pub(crate) fn take_fired(&mut self) -> bool {
        std::mem::take(&mut self.fired)
    }

    /// Makes an armed timer due now.
    pub(crate) fn hasten(&mut self, rule: &'static str, of: &str, now: Timestamp) {
        let timer = Timer {
            rule,
            of: of.to_owned(),
        };
        if let Some(due) = self.due.get_mut(&timer) {
            *due = now.min(*due);
        }
    }

    /// True while any timer of a rule is armed.
    pub(crate) fn has(&self, rule: &str) -> bool {
        self.due.keys().any(|timer| timer.rule == rule)
    }

    /// Forgets timers of things that are no more: whatever is still due after all rules have looked.
    pub(crate) fn prune(&mut self, now: Timestamp) {
        self.due.retain(|_, due| *due > now);
    }

    /// The earliest one.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.due.values().min().copied()
    }

    /// Rules with a pending timer, earliest first; for people and for tests.
    pub(crate) fn pending(&self) -> Vec<(&'static str, Timestamp)> {
        let mut pending: Vec<_> = self
            .due
            .iter()
            .map(|(timer, due)| (timer.rule, *due))
            .collect();
        pending.sort_by_key(|(_, due)| *due);
        pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    #[test]
    fn a_condition_must_hold_without_a_break() {
        let mut timers = Timers::default();
        assert!(!timers.hold("r", "x", true, at(0), || SECOND * 5));
        assert_eq!(timers.next(), Some(at(5)));
        assert!(!timers.hold("r", "x", false, at(3), || SECOND * 5));
        assert_eq!(timers.next(), None);
        assert!(!timers.hold("r", "x", true, at(4), || SECOND * 5));
        assert!(timers.hold("r", "x", true, at(9), || SECOND * 5));
        assert_eq!(timers.next(), None, "it fires once");
    }
}
