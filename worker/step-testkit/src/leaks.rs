//! Where an attempt holds key material.

use drover_step_api::ObservedJson;
use serde_json::Value;

use crate::{outcome::End, recorder::Seen, tripwire::Tripwire};

/// Where an attempt holds key material, one sentence each.
pub(crate) fn leaks(tripwire: &Tripwire, end: &End, seen: &Seen) -> Vec<String> {
    let json = |what: &str, value: &Value| {
        let found = tripwire.check_json(value)?;
        Some(format!("{what} {found}"))
    };
    let text = |what: &str, text: &str| {
        let found = tripwire.check_text(text)?;
        Some(format!("{what} {found}"))
    };
    let mut leaks = Vec::new();
    match end {
        End::Done(output) | End::Observed(ObservedJson::Done(output)) => {
            leaks.extend(json("the output", output));
        }
        // Includes what the chain of sources says.
        End::Stopped(_) => leaks.extend(text("the error", &end.to_string())),
        End::Observed(ObservedJson::Foreign(what)) => leaks.extend(text("the finding", what)),
        _ => {}
    }
    for checkpoint in &seen.checkpoints {
        leaks.extend(json("a checkpoint", checkpoint));
    }
    for (_, report) in &seen.reports {
        leaks.extend(text("a progress report", &report.message));
    }
    for (code, message) in &seen.violations {
        leaks.extend(text("a violation", code));
        leaks.extend(text("a violation", message));
    }
    leaks
}
