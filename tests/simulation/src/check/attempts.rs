//! Attempts are spent on what was tried, and on nothing else.

use std::{collections::BTreeMap, time::Duration};

use drover_core::{
    ids::StepId,
    time::Timestamp,
    workflow::event::{Body, Next},
};

use super::Violation;
use crate::{
    evidence::Story,
    history::{Entry, What},
    scenario::Scenario,
};

const RULE: &str = "attempts-within-policy";
const SILENCE: &str = "silence-costs-nothing";

/// A message may have been on its way for so long when its sender was cut off.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

/// An attempt that ran as long as this begins the row of losses anew.
const LONG: Duration = Duration::from_secs(10 * 60);

#[derive(Default)]
struct Spent {
    /// Attempts that some worker took.
    taken: u32,
    /// When the newest one was taken.
    since: Option<Timestamp>,
    failures: u32,
    losses: u32,
}

/// No step has more failures, or losses in a row, in one round than its policy allows, and the number of an attempt counts those
/// that a worker took, not those that were offered.
pub(super) fn check(story: &Story) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut found = |what: String| {
        violations.push(Violation {
            rule: RULE,
            what: format!("{}: {what}", story.id),
        });
    };
    let mut steps: BTreeMap<&StepId, Spent> = BTreeMap::new();
    for event in &story.events {
        let Some(step) = &event.step else { continue };
        let promise = story
            .promises
            .get(step.as_str())
            .copied()
            .unwrap_or_default();
        let spent = steps.entry(step).or_default();
        match &event.body {
            Body::AttemptLeased { .. } if event.attempt != Some(spent.taken + 1) => {
                found(format!(
                    "event {} offers {step} as attempt {:?} although {} were taken",
                    event.seq, event.attempt, spent.taken
                ));
            }
            Body::AttemptAcked { .. } => {
                spent.taken += 1;
                spent.since = Some(event.at);
            }
            Body::AttemptFailed { then, .. } => {
                spent.failures += 1;
                if matches!(then, Next::Retry { .. }) && spent.failures >= promise.attempts {
                    found(format!(
                        "event {} tries {step} again after {} of {} failures",
                        event.seq, spent.failures, promise.attempts
                    ));
                }
            }
            Body::AttemptLost { then, .. } => {
                let ran_long = spent
                    .since
                    .is_some_and(|since| event.at >= since.after(LONG));
                spent.losses = if ran_long { 1 } else { spent.losses + 1 };
                let is_guard = story.plan.as_ref().is_some_and(|plan| {
                    plan.index_of(step.as_str())
                        .is_some_and(|index| plan.is_guard(index))
                });
                // Guards live as long as their spans.
                if matches!(then, Next::Retry { .. }) && spent.losses > promise.losses && !is_guard
                {
                    found(format!(
                        "event {} tries {step} again after {} losses in a row; {} are allowed",
                        event.seq, spent.losses, promise.losses
                    ));
                }
            }
            Body::StepRetried { .. } => {
                spent.failures = 0;
                spent.losses = 0;
            }
            // The way back counts anew.
            Body::CompensationScheduled {} => *spent = Spent::default(),
            _ => {}
        }
    }
    violations
}

/// While nobody of an installation can be heard no lease of it expires.
pub(super) fn none_in_silence(
    story: &Story,
    scenario: &Scenario,
    history: &[Entry],
) -> Vec<Violation> {
    let Some(Body::Created(created)) = story.events.first().map(|event| &event.body) else {
        return Vec::new();
    };
    let pool: Vec<&str> = scenario
        .workers
        .iter()
        .map(String::as_str)
        .filter(|worker| Scenario::pool_of(worker) == created.installation.as_str())
        .collect();
    let silences = silences(&pool, history);
    // So long the last one that was heard is a witness against others.
    let margin = scenario.profile.suspect_after() + ON_ITS_WAY;
    let lost = story.events.iter().filter(|event| {
        matches!(&event.body, Body::AttemptLost { reason, .. } if **reason == *"lease-expired")
    });
    lost.filter_map(|event| {
        let at = *story.durable.get(&event.seq)?;
        let (since, until) = silences
            .iter()
            .find(|(since, until)| *since + margin < at && at < *until)?;
        Some(Violation {
            rule: SILENCE,
            what: format!(
                "{}: event {} takes a lease away at {at:?}, while nobody of {} could be heard from {since:?} to {until:?}",
                story.id, event.seq, created.installation
            ),
        })
    })
    .collect()
}

/// Times in which no host of a pool could be heard.
fn silences(pool: &[&str], history: &[Entry]) -> Vec<(Duration, Duration)> {
    let mut down: BTreeMap<&str, (bool, bool)> =
        pool.iter().map(|host| (*host, (false, false))).collect();
    let mut silences = Vec::new();
    let mut since = None;
    for entry in history {
        let change = match &entry.what {
            What::Crashed { host } => Some((host, Some(true), None)),
            What::Began { host } => Some((host, Some(false), None)),
            What::Cut { host } => Some((host, None, Some(true))),
            What::Healed { host } => Some((host, None, Some(false))),
            _ => None,
        };
        let Some((host, crashed, cut)) = change else {
            continue;
        };
        let Some(state) = down.get_mut(host.as_str()) else {
            continue;
        };
        state.0 = crashed.unwrap_or(state.0);
        state.1 = cut.unwrap_or(state.1);
        let is_silent = down.values().all(|(crashed, cut)| *crashed || *cut);
        match (since, is_silent) {
            (None, true) => since = Some(entry.at),
            (Some(began), false) => {
                silences.push((began, entry.at));
                since = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }
    silences.extend(since.map(|since| (since, Duration::MAX)));
    silences
}
