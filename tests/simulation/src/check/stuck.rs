//! When nothing goes wrong any more and an operator helps, everything ends.

use super::Violation;

const RULE: &str = "nothing-stuck";

pub(super) fn check(open: &[String]) -> Vec<Violation> {
    open.iter()
        .map(|how| Violation {
            rule: RULE,
            what: how.clone(),
        })
        .collect()
}
