//! What the worker knows it has done: whether a step runs twice is judged by this and not by the coordinator.

use std::{collections::HashSet, time::Instant};

use drover_proto::v1;

use crate::load::{Steps, kind::step_number};

type Key = (String, String);

fn key(attempt: &v1::AttemptRef) -> Key {
    (attempt.workflow.clone(), attempt.step.clone())
}

/// Every step that may have acted, and what became of it.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Acks that were confirmed: from then on a step may have changed something outside.
    begun: HashSet<Key>,
    stored: HashSet<Key>,
    held: Vec<v1::AttemptRef>,
    is_restarted: bool,
    progress: Option<Instant>,
    again: Vec<String>,
    not_kept: usize,
    offer: Option<v1::Offer>,
}

impl Ledger {
    /// Steps whose result the coordinator has confirmed.
    pub(crate) fn n_stored(&self) -> usize {
        self.stored.len()
    }

    /// Attempts that run until the restart.
    pub(crate) fn held(&self) -> &[v1::AttemptRef] {
        &self.held
    }

    /// Some offer.
    pub(crate) fn offer(&self) -> Option<v1::Offer> {
        self.offer.clone()
    }

    /// From now on nothing is held any more.
    pub(crate) fn restart(&mut self) {
        self.is_restarted = true;
    }

    /// For another server on a copy of the same data.
    pub(crate) fn as_it_was_at_the_restart(&self) -> Self {
        Self {
            held: self.held.clone(),
            is_restarted: true,
            ..Self::default()
        }
    }

    /// Takes the verdicts on the held attempts; gives those that go on.
    pub(crate) fn verdicts(&mut self, verdicts: &[v1::Verdict]) -> Vec<v1::AttemptRef> {
        let keep = verdicts
            .iter()
            .filter(|verdict| verdict.kind() == v1::VerdictKind::Keep)
            .filter_map(|verdict| verdict.attempt.clone());
        let kept: Vec<v1::AttemptRef> = keep.collect();
        self.not_kept = self.held.len().saturating_sub(kept.len());
        kept
    }

    /// When the first result was stored, or the first offer came, after the restart.
    pub(crate) fn first_progress(&self) -> Option<Instant> {
        self.progress
    }

    /// Held attempts that did not go on.
    pub(crate) fn not_kept(&self) -> usize {
        self.not_kept
    }

    /// Steps that were offered although they had begun or ended.
    pub(crate) fn run_again(&self) -> &[String] {
        &self.again
    }

    fn progressed(&mut self) {
        if self.is_restarted {
            self.progress.get_or_insert_with(Instant::now);
        }
    }
}

impl Steps for Ledger {
    fn offered(&mut self, offer: &v1::Offer) {
        self.progressed();
        if let Some(attempt) = &offer.attempt {
            let key = key(attempt);
            if self.begun.contains(&key) || self.stored.contains(&key) {
                self.again.push(format!("{}/{}", key.0, key.1));
            }
        }
        if self.offer.is_none() {
            self.offer = Some(offer.clone());
        }
    }

    fn confirmed(&mut self, attempt: &v1::AttemptRef) -> bool {
        self.begun.insert(key(attempt));
        let goes_on = !self.is_restarted && step_number(&attempt.step) != Some(1);
        if goes_on {
            self.held.push(attempt.clone());
        }
        !goes_on
    }

    fn stored(&mut self, attempt: &v1::AttemptRef) {
        self.progressed();
        self.stored.insert(key(attempt));
    }

    fn dismissed(&mut self, attempt: &v1::AttemptRef) {
        // A result of a step that was stored before is no loss; anything else is seen when the step is offered again.
        self.begun.insert(key(attempt));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(step: &str, counter: u64) -> v1::AttemptRef {
        v1::AttemptRef {
            workflow: "w1".to_owned(),
            step: step.to_owned(),
            fence: Some(v1::Fence { epoch: 1, counter }),
        }
    }

    fn offer(step: &str, counter: u64) -> v1::Offer {
        v1::Offer {
            attempt: Some(attempt(step, counter)),
            ..v1::Offer::default()
        }
    }

    #[test]
    fn first_steps_end_and_later_ones_are_held_until_the_restart() {
        let mut ledger = Ledger::default();
        assert!(ledger.confirmed(&attempt("s1", 1)));
        assert!(!ledger.confirmed(&attempt("s2", 2)));
        assert_eq!(ledger.held(), [attempt("s2", 2)]);
        ledger.restart();
        assert!(ledger.confirmed(&attempt("s3", 3)));
    }

    #[test]
    fn an_offer_of_a_step_that_began_or_ended_is_a_step_run_again() {
        let mut ledger = Ledger::default();
        ledger.offered(&offer("s1", 1));
        ledger.offered(&offer("s1", 2));
        assert!(
            ledger.run_again().is_empty(),
            "an offer that nobody confirmed has changed nothing"
        );
        ledger.confirmed(&attempt("s1", 2));
        ledger.offered(&offer("s1", 3));
        ledger.stored(&attempt("s1", 3));
        ledger.offered(&offer("s1", 4));
        assert_eq!(ledger.run_again(), ["w1/s1", "w1/s1"]);
    }

    #[test]
    fn nothing_before_the_restart_is_progress() {
        let mut ledger = Ledger::default();
        ledger.offered(&offer("s1", 1));
        assert!(ledger.first_progress().is_none());
        ledger.restart();
        ledger.stored(&attempt("s1", 1));
        assert!(ledger.first_progress().is_some());
    }

    #[test]
    fn a_verdict_that_is_missing_is_a_held_attempt_not_kept() {
        let mut ledger = Ledger::default();
        ledger.confirmed(&attempt("s2", 2));
        ledger.confirmed(&attempt("s3", 3));
        let verdict = v1::Verdict {
            attempt: Some(attempt("s2", 2)),
            kind: v1::VerdictKind::Keep.into(),
        };
        assert_eq!(ledger.verdicts(&[verdict]), [attempt("s2", 2)]);
        assert_eq!(ledger.not_kept(), 1);
    }
}
