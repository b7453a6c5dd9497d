//! No two processes hold a permit for one step at once.

use std::collections::BTreeMap;

use super::Violation;
use crate::history::{Attempt, Entry, Holder, What};

const RULE: &str = "one-holder";

pub(super) fn check(history: &[Entry]) -> Vec<Violation> {
    let mut held: BTreeMap<u64, (&Holder, &Attempt)> = BTreeMap::new();
    let mut violations = Vec::new();
    for entry in history {
        match &entry.what {
            What::PermitTaken {
                call,
                holder,
                attempt,
            } => {
                let same = |other: &Attempt| {
                    other.workflow == attempt.workflow && other.step == attempt.step
                };
                let rival = held
                    .values()
                    .find(|(other, of)| same(of) && **other != *holder);
                if let Some((other, of)) = rival
                    && !attempt.race_ok
                {
                    violations.push(Violation {
                        rule: RULE,
                        what: format!(
                            "{} (process {}) has a permit for {}/{} under {} while {} (process {}) has one under {} (at {:?})",
                            holder.worker,
                            holder.process,
                            attempt.workflow,
                            attempt.step,
                            attempt.fence,
                            other.worker,
                            other.process,
                            of.fence,
                            entry.at
                        ),
                    });
                }
                held.insert(*call, (holder, attempt));
            }
            What::PermitLeft { call } => {
                held.remove(call);
            }
            _ => {}
        }
    }
    violations
}
