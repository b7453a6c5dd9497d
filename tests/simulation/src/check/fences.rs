//! Nobody changes anything behind a newer attempt.

use std::collections::BTreeMap;

use drover_step_api::Fence;

use super::Violation;
use crate::history::{Entry, What};

const RULE: &str = "fences-grow";

pub(super) fn check(history: &[Entry]) -> Vec<Violation> {
    let mut newest: BTreeMap<&str, Fence> = BTreeMap::new();
    let mut violations = Vec::new();
    for entry in history {
        let What::Effect {
            resource,
            holder,
            attempt,
            ..
        } = &entry.what
        else {
            continue;
        };
        let newest = newest.entry(resource).or_insert(attempt.fence);
        if attempt.fence < *newest && !attempt.race_ok {
            violations.push(Violation {
                rule: RULE,
                what: format!(
                    "{} (process {}) changed {resource} under {} after {newest} had (at {:?})",
                    holder.worker, holder.process, attempt.fence, entry.at
                ),
            });
        }
        *newest = attempt.fence.max(*newest);
    }
    violations
}
