//! Guards run while the steps of their span do, and are gone before what follows it.

use std::collections::BTreeSet;

use drover_core::workflow::event::Body;

use super::Violation;
use crate::evidence::Story;

const RULE: &str = "guards-gate";

/// No step is offered inside a span whose guard does not run, nor behind one whose guard still does. Inside the critical span, and on
/// the way back, nobody waits for a guard.
pub(super) fn check(story: &Story) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut running: BTreeSet<&str> = BTreeSet::new();
    let mut leased: BTreeSet<&str> = BTreeSet::new();
    let mut unwinds = false;
    let mut critical = false;
    for event in &story.events {
        if let Body::UnwindingStarted { .. } = &event.body {
            unwinds = true;
        }
        let Some(step) = event.step.as_ref().map(|step| step.as_str()) else {
            continue;
        };
        match &event.body {
            Body::AttemptLeased { .. } => {
                leased.insert(step);
                critical |= story.critical.first().is_some_and(|first| first == step);
                if critical || unwinds {
                    continue;
                }
                for span in &story.spans {
                    let missing = span.inside.contains(step) && !running.contains(&*span.guard);
                    let lingers = span.after.contains(step) && leased.contains(&*span.guard);
                    let why = match (missing, lingers) {
                        (true, _) => "does not run",
                        (false, true) => "has not ended",
                        (false, false) => continue,
                    };
                    violations.push(Violation {
                        rule: RULE,
                        what: format!(
                            "{}: event {} offers {step} although the guard {} {why}",
                            story.id, event.seq, span.guard
                        ),
                    });
                }
            }
            Body::AttemptAcked { .. } => {
                running.insert(step);
            }
            Body::OfferReverted { .. }
            | Body::AttemptYielded { .. }
            | Body::AttemptSucceeded { .. }
            | Body::AttemptFailed { .. }
            | Body::AttemptCancelled { .. }
            | Body::AttemptLost { .. } => {
                running.remove(step);
                leased.remove(step);
            }
            _ => {}
        }
        let ended = matches!(
            &event.body,
            Body::AttemptSucceeded { .. } | Body::StepSkipped { .. }
        );
        if ended && story.critical.last().is_some_and(|last| last == step) {
            critical = false;
        }
    }
    violations
}
