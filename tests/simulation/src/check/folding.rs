//! The events on the disk are the state: whatever the coordinator has shown is what they fold to, every chain holds, and
//! a backup holds the same.

use std::{sync::Arc, time::Duration};

use drover_core::{
    ids::{InstallationName, WorkerId},
    stream::Head,
    time::Timestamp,
    workflow::{Env, Facts, NotLive, Workflow},
};

use super::Violation;
use crate::{
    evidence::{Story, Streams},
    history::{Entry, Seen, What},
};

const RULE: &str = "fold-is-state";
const BACKUP: &str = "backup-is-store";

/// What only memory knows: nothing.
struct Nothing;

impl Facts for Nothing {
    fn brake(&self) -> bool {
        false
    }

    fn uncharged(
        &self,
        _: &InstallationName,
        _: Option<&WorkerId>,
        _: Timestamp,
        _: Timestamp,
    ) -> Duration {
        Duration::ZERO
    }
}

/// Every view that was shown is what the events up to its head fold to.
pub(super) fn check(story: &Story, history: &[Entry]) -> Vec<Violation> {
    let violation = |what: String| Violation {
        rule: RULE,
        what: format!("{}: {what}", story.id),
    };
    let Some(plan) = &story.plan else {
        return vec![violation("its plan is not in the catalog".to_owned())];
    };
    let mut shown: Vec<(&Seen, Duration)> = history
        .iter()
        .filter_map(|entry| match &entry.what {
            What::Seen(seen) if seen.workflow == story.id.as_str() => Some((&**seen, entry.at)),
            _ => None,
        })
        .collect();
    shown.sort_by_key(|(seen, _)| seen.head);
    let mut shown = shown.into_iter().peekable();
    let mut workflow: Option<Workflow> = None;
    let mut violations = Vec::new();
    for event in &story.events {
        match &mut workflow {
            Some(workflow) => workflow.apply(event),
            None => workflow = Some(Workflow::begin(event, Arc::clone(plan))),
        }
        let folded = workflow.as_ref().expect("it has begun");
        let mut view = None;
        while let Some((seen, at)) = shown.next_if(|(seen, _)| seen.head <= event.seq) {
            let view = view.get_or_insert_with(|| {
                let env = Env {
                    now: event.at,
                    epoch: 1,
                    facts: &Nothing,
                };
                Seen::from(&folded.describe(&env, &NotLive))
            });
            if !is_shown(view, seen) {
                violations.push(violation(format!(
                    "at {at:?} it was shown as {seen:?}; event {} folds to {view:?}",
                    event.seq
                )));
            }
        }
    }
    violations
}

/// Lists show what has ended without its steps.
fn is_shown(view: &Seen, seen: &Seen) -> bool {
    let has_ended = seen.times.last().is_some_and(Option::is_some);
    let summary = has_ended
        && seen.steps.is_empty()
        && Seen {
            steps: Vec::new(),
            ..view.clone()
        } == *seen;
    view == seen || summary
}

/// Every chain holds, and the backup holds what the disk does, up to where it was taken.
pub(super) fn backup(streams: &Streams, backup: &Streams) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (stream, records) in streams {
        let mut head = Head::EMPTY;
        for record in records {
            match record.verify(&head) {
                Ok(next) => head = next,
                Err(error) => {
                    violations.push(Violation {
                        rule: BACKUP,
                        what: format!("{stream}: {error}"),
                    });
                    break;
                }
            }
        }
        let copied = backup.get(stream).map_or(&[][..], Vec::as_slice);
        let is_prefix = records.starts_with(copied);
        let is_workflow = stream.to_string().starts_with("workflow/");
        // Ended workflows get no further events; the other streams go on after the backup.
        if !backup.is_empty() && (!is_prefix || (is_workflow && copied.len() != records.len())) {
            violations.push(Violation {
                rule: BACKUP,
                what: format!(
                    "{stream}: the backup has {} records and the disk {}",
                    copied.len(),
                    records.len()
                ),
            });
        }
    }
    violations
}
