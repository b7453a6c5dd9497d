//! Pending transitions: "this has been so since then, and at that time it has consequences".
//!
//! Rules do not schedule events; they state a condition and how long it must hold. [`Timers::hold`] arms a timer when the
//! condition becomes true, disarms it when it becomes false, and reports when it has held for the whole delay. Since a
//! timer is a function of the state alone, the world can be advanced in any number of pieces with the same result, and a
//! copy of the state is a complete copy of the world.

use std::{collections::BTreeMap, time::Duration};

use drover_step_api::Timestamp;

/// All timers of one cluster. Rules ask about far more conditions than ever hold, so asking makes nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    /// By the rule and the thing it is about.
    due: BTreeMap<&'static str, BTreeMap<Box<str>, Timestamp>>,
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
        if !condition {
            if let Some(timers) = self.due.get_mut(rule) {
                timers.remove(of);
            }
            return false;
        }
        let timers = self.due.entry(rule).or_default();
        let due = match timers.get(of) {
            Some(due) => *due,
            None => {
                let due = now.after(delay());
                timers.insert(of.into(), due);
                due
            }
        };
        if due > now {
            return false;
        }
        timers.remove(of);
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
        let due = self.due.get_mut(rule).and_then(|timers| timers.get_mut(of));
        if let Some(due) = due {
            *due = now.min(*due);
        }
    }

    /// True while any timer of a rule is armed.
    pub(crate) fn has(&self, rule: &str) -> bool {
        self.due.get(rule).is_some_and(|timers| !timers.is_empty())
    }

    /// Forgets timers of things that are no more: whatever is still due after all rules have looked.
    pub(crate) fn prune(&mut self, now: Timestamp) {
        for timers in self.due.values_mut() {
            timers.retain(|_, due| *due > now);
        }
    }

    /// The earliest one.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.due.values().flat_map(BTreeMap::values).min().copied()
    }

    /// Rules with a pending timer, earliest first; for people and for tests.
    pub(crate) fn pending(&self) -> Vec<(&'static str, Timestamp)> {
        let mut pending: Vec<_> = self
            .due
            .iter()
            .flat_map(|(rule, timers)| timers.values().map(|due| (*rule, *due)))
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
