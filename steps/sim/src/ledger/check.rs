//! What a ledger proves: no superseded attempt changed anything, and nothing was done twice.

use std::{collections::BTreeMap, fmt};

use drover_ports::Ports;
use drover_step_api::{Fence, LossPolicy, Registry};
use serde::{Deserialize, Serialize};

use super::LedgerEntry;

/// Something that must never happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "rule")]
pub enum Violation {
    /// A mutation took effect after one with a newer fence of the same step.
    Superseded {
        /// Entry that took effect too late.
        seq: u64,
        /// Workflow and step.
        step: String,
        /// Its fence.
        fence: Fence,
        /// The newer fence that had already acted.
        newer: Fence,
        /// What it did.
        what: String,
    },
    /// One idempotency key changed the world twice.
    Twice {
        /// The second entry.
        seq: u64,
        /// The first one.
        first: u64,
        /// Workflow and step.
        step: String,
        /// The effect.
        effect: String,
        /// What it did.
        what: String,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superseded {
                seq,
                step,
                fence,
                newer,
                what,
            } => write!(
                f,
                "entry {seq}: {step} did {what} under fence {fence} although {newer} had acted already"
            ),
            Self::Twice {
                seq,
                first,
                step,
                effect,
                what,
            } => write!(
                f,
                "entry {seq}: {step} did {what} again for the effect {effect}, as in entry {first}"
            ),
        }
    }
}

/// Checks a ledger against what these kinds declare. A kind that is not among them may repeat nothing.
pub fn check_kinds<'a>(
    entries: impl IntoIterator<Item = &'a LedgerEntry>,
    kinds: &Registry<Ports>,
) -> Vec<Violation> {
    let declared = |kind: &str| {
        let (name, version) = kind.split_once('/')?;
        Some(kinds.get(name, version.parse().ok()?)?.declaration())
    };
    check(
        entries,
        |kind, effect| {
            let effects = declared(kind).map_or(&[][..], |kind| kind.effects);
            effects
                .iter()
                .any(|known| known.name == effect && known.repeatable)
        },
        |kind| declared(kind).is_some_and(|kind| kind.loss_policy == LossPolicy::RaceOk),
    )
}

/// Checks a ledger. `repeatable` says of a step kind (`name/version`) and an effect whether it may change the world again;
/// `race_ok` says of a kind whether two attempts may act at once.
fn check<'a>(
    entries: impl IntoIterator<Item = &'a LedgerEntry>,
    repeatable: impl Fn(&str, &str) -> bool,
    race_ok: impl Fn(&str) -> bool,
) -> Vec<Violation> {
    let mut newest: BTreeMap<(&str, &str), Fence> = BTreeMap::new();
    let mut first: BTreeMap<&str, u64> = BTreeMap::new();
    let mut violations = Vec::new();
    for entry in entries.into_iter().filter(|entry| entry.changed) {
        let Some(stamp) = &entry.stamp else {
            continue;
        };
        let step = || format!("{}/{}", stamp.workflow, stamp.step);
        let what = || format!("{} {}", entry.action, entry.target);
        let newest = newest
            .entry((&stamp.workflow, &stamp.step))
            .or_insert(stamp.fence);
        if stamp.fence < *newest && !race_ok(&entry.caller.kind) {
            violations.push(Violation::Superseded {
                seq: entry.seq,
                step: step(),
                fence: stamp.fence,
                newer: *newest,
                what: what(),
            });
        }
        *newest = stamp.fence.max(*newest);
        let effect = stamp.effect.split('/').next().unwrap_or_default();
        if repeatable(&entry.caller.kind, effect) {
            continue;
        }
        match first.get(stamp.idempotency_key.as_str()) {
            Some(first) => violations.push(Violation::Twice {
                seq: entry.seq,
                first: *first,
                step: step(),
                effect: stamp.effect.clone(),
                what: what(),
            }),
            None => {
                first.insert(&stamp.idempotency_key, entry.seq);
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use drover_ports::Caller;
    use drover_step_api::{Stamp, Timestamp};

    use super::*;

    fn entry(seq: u64, fence: u64, key: &str, changed: bool) -> LedgerEntry {
        LedgerEntry {
            seq,
            at: Timestamp(0),
            caller: Caller {
                kind: "aws.disarm/1".into(),
                ..Caller::default()
            },
            stamp: Some(Stamp {
                workflow: "m1".into(),
                step: "disarm".into(),
                attempt: 1,
                fence: Fence {
                    epoch: 1,
                    counter: fence,
                },
                effect: "suspend/asg-1".into(),
                idempotency_key: key.into(),
                compensating: false,
            }),
            action: "autoscaling:SuspendProcesses".into(),
            target: "asg-1".into(),
            changed,
            outcome: "ok".into(),
            fault: None,
        }
    }

    fn strict(entries: &[LedgerEntry]) -> Vec<Violation> {
        check(entries, |_, _| false, |_| false)
    }

    #[test]
    fn a_clean_ledger_has_no_violations() {
        assert_eq!(
            strict(&[entry(0, 1, "a", true), entry(1, 2, "b", true)]),
            []
        );
        assert_eq!(
            strict(&[entry(0, 1, "a", true), entry(1, 2, "a", false)]),
            [],
            "a retry that found everything done"
        );
    }

    #[test]
    fn a_superseded_attempt_that_changes_something_is_found() {
        let planted = [entry(0, 2, "a", true), entry(1, 1, "b", true)];
        let found = strict(&planted);
        assert!(
            matches!(found.as_slice(), [Violation::Superseded { seq: 1, .. }]),
            "{found:?}"
        );
        assert_eq!(
            check(&planted, |_, _| false, |kind| kind == "aws.disarm/1"),
            []
        );
        assert_eq!(
            strict(&[entry(0, 2, "a", true), entry(1, 1, "b", false)]),
            [],
            "it changed nothing"
        );
    }

    #[test]
    fn an_effect_that_happens_twice_is_found() {
        let planted = [entry(0, 1, "a", true), entry(1, 2, "a", true)];
        let found = strict(&planted);
        assert!(
            matches!(
                found.as_slice(),
                [Violation::Twice {
                    seq: 1,
                    first: 0,
                    ..
                }]
            ),
            "{found:?}"
        );
        let repeatable = |kind: &str, effect: &str| kind == "aws.disarm/1" && effect == "suspend";
        assert_eq!(check(&planted, repeatable, |_| false), []);
    }
}
