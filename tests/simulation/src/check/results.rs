//! Each step ends once, each lease ends once, a completed workflow has a result for every step, and no result is lost with
//! the connection or the process that it was computed in.

use std::collections::{BTreeMap, BTreeSet};

use drover_core::{
    ids::{Fence, StepId},
    workflow::event::{Body, Next},
};

use super::Violation;
use crate::{
    evidence::Story,
    history::{Entry, What},
};

const RULE: &str = "one-result";
const KEPT: &str = "result-is-kept";

pub(super) fn check(story: &Story) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut found = |what: String| {
        violations.push(Violation {
            rule: RULE,
            what: format!("{}: {what}", story.id),
        });
    };
    let mut leases: BTreeSet<Fence> = BTreeSet::new();
    let mut results: BTreeMap<&StepId, u32> = BTreeMap::new();
    let mut skipped: BTreeSet<&StepId> = BTreeSet::new();
    let mut ended = false;
    for event in &story.events {
        if ended {
            found(format!("event {} follows the end", event.seq));
        }
        if let Some(fence) = end_of_lease(&event.body)
            && !leases.insert(fence)
        {
            found(format!(
                "the lease {fence} ends again in event {}",
                event.seq
            ));
        }
        match (&event.body, &event.step) {
            (
                Body::AttemptSucceeded { .. }
                | Body::GateApproved { .. }
                | Body::TimerFired {}
                | Body::GuardEnded {},
                Some(step),
            ) => {
                let results = results.entry(step).or_default();
                *results += 1;
                if *results > 1 {
                    found(format!("{step} has another result in event {}", event.seq));
                }
            }
            // Of what was asked to stop, only a guard whose span has ended leaves a workflow that completes.
            (
                Body::StepSkipped { .. }
                | Body::AttemptFailed {
                    then: Next::Stop, ..
                },
                Some(step),
            ) => {
                skipped.insert(step);
            }
            (Body::Completed {}, _) => {
                ended = true;
                for step in story.promises.keys() {
                    let has = results.keys().any(|id| id.as_str() == step)
                        || skipped.iter().any(|id| id.as_str() == step);
                    if !has {
                        found(format!("it completed without a result of {step}"));
                    }
                }
            }
            (
                Body::RolledBack {}
                | Body::Cancelled { .. }
                | Body::Terminated { .. }
                | Body::Removed { .. },
                _,
            ) => ended = true,
            _ => {}
        }
    }
    violations
}

/// An attempt whose code came to its end is not lost because its worker has a new connection or a new process: the result
/// was in the spool.
pub(super) fn kept(story: &Story, history: &[Entry]) -> Vec<Violation> {
    let finished: BTreeSet<(u64, u64)> = history
        .iter()
        .filter_map(|entry| match &entry.what {
            What::Finished { attempt } if attempt.workflow == story.id.as_str() => {
                Some((attempt.fence.epoch, attempt.fence.counter))
            }
            _ => None,
        })
        .collect();
    story
        .events
        .iter()
        .filter_map(|event| match &event.body {
            Body::AttemptLost { fence, reason, .. }
                if **reason == *"worker-restarted"
                    && finished.contains(&(fence.epoch, fence.counter)) =>
            {
                Some(Violation {
                    rule: KEPT,
                    what: format!(
                        "{}: event {} loses the attempt {fence}, which had come to its end",
                        story.id, event.seq
                    ),
                })
            }
            _ => None,
        })
        .collect()
}

/// The lease that an event ends.
fn end_of_lease(body: &Body) -> Option<Fence> {
    match body {
        Body::OfferReverted { fence, .. }
        | Body::AttemptYielded { fence }
        | Body::AttemptSucceeded { fence, .. }
        | Body::AttemptFailed { fence, .. }
        | Body::AttemptCancelled { fence }
        | Body::AttemptLost { fence, .. }
        | Body::AttemptCompensated { fence } => Some(*fence),
        _ => None,
    }
}
