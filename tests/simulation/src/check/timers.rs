//! Nothing happens before its time, on either clock.

use std::{collections::BTreeMap, time::Duration};

use drover_core::{
    ids::StepId,
    lease::Profile,
    time::Timestamp,
    workflow::event::{Body, Event, Next, StopReason},
};

use super::Violation;
use crate::evidence::Story;

const RULE: &str = "never-early";

/// What a step waits for.
#[derive(Default)]
struct Waits {
    retry: Option<Timestamp>,
    timer: Option<Timestamp>,
    gate: Option<Timestamp>,
    acked: Option<Timestamp>,
    offered_live: Option<Duration>,
    acked_live: Option<Duration>,
}

pub(super) fn check(story: &Story, profile: &Profile) -> Vec<Violation> {
    let mut steps: BTreeMap<&StepId, Waits> = BTreeMap::new();
    let mut violations = Vec::new();
    for event in &story.events {
        let Some(step) = &event.step else { continue };
        let live = story.durable.get(&event.seq).copied();
        let waits = steps.entry(step).or_default();
        if let Some(what) = early(event, live, waits, story, step, profile) {
            violations.push(Violation {
                rule: RULE,
                what: format!("{}: {step}: event {}: {what}", story.id, event.seq),
            });
        }
        remember(event, live, waits);
    }
    violations
}

fn early(
    event: &Event,
    live: Option<Duration>,
    waits: &Waits,
    story: &Story,
    step: &StepId,
    profile: &Profile,
) -> Option<String> {
    let promise = story
        .promises
        .get(step.as_str())
        .copied()
        .unwrap_or_default();
    let before = |due: Option<Timestamp>, what: &str| {
        let due = due.filter(|due| event.at < *due)?;
        Some(format!("{what} at {} and was due at {due}", event.at))
    };
    let before_live = |due: Option<Duration>, what: &str| {
        let (due, at) = due.zip(live)?;
        (at < due).then(|| format!("{what} at {at:?} and was due at {due:?}"))
    };
    match &event.body {
        Body::AttemptLeased { .. } => before(waits.retry, "the next attempt began"),
        Body::TimerFired {} => before(waits.timer, "the timer fired"),
        Body::GateExpired { .. } => before(waits.gate, "the gate expired"),
        Body::AttemptStopping {
            reason: StopReason::StartToClose,
            ..
        } => {
            let due = waits.acked.zip(promise.start_to_close);
            before(
                due.map(|(acked, limit)| acked.after(limit)),
                "it was stopped",
            )
        }
        Body::OfferReverted { reason, .. } if **reason == *"not-acked" => before_live(
            waits.offered_live.map(|at| at + profile.ack_timeout),
            "the offer was taken back",
        ),
        Body::AttemptLost { reason, .. } if **reason == *"lease-expired" => {
            let ttl = profile.lease_ttl.max(promise.critical.unwrap_or_default());
            before_live(waits.acked_live.map(|at| at + ttl), "the lease expired")
        }
        _ => None,
    }
}

fn remember(event: &Event, live: Option<Duration>, waits: &mut Waits) {
    match &event.body {
        Body::AttemptLeased { .. } => {
            *waits = Waits {
                offered_live: live,
                ..Waits::default()
            };
        }
        Body::AttemptAcked { .. } => {
            waits.acked = Some(event.at);
            waits.acked_live = live;
        }
        Body::AttemptFailed { then, .. } | Body::AttemptLost { then, .. } => {
            waits.retry = match then {
                Next::Retry { at } => Some(*at),
                Next::Pause | Next::Fail | Next::Stick | Next::Stop => None,
            };
        }
        // An operator wants it now, or the way back has begun.
        Body::StepRetried { .. } | Body::CompensationScheduled {} => waits.retry = None,
        Body::TimerStarted { fires_at } => waits.timer = Some(*fires_at),
        Body::GateOpened { expires_at, .. } | Body::GateExpired { expires_at } => {
            waits.gate = Some(*expires_at);
        }
        _ => {}
    }
}
