//! What the coordinator has said is on the disk: every acknowledged start, and every event it has shown.

use drover_core::{ids::WorkflowId, stream::StreamId};

use super::Violation;
use crate::{
    evidence::Streams,
    history::{Entry, What},
};

const RULE: &str = "acked-is-durable";

pub(super) fn check(history: &[Entry], streams: &Streams) -> Vec<Violation> {
    let head = |workflow: &str| {
        let id = WorkflowId::new(workflow).ok()?;
        let records = streams.get(&StreamId::Workflow(id))?;
        records.last().map(|record| record.head().seq)
    };
    history
        .iter()
        .filter_map(|entry| {
            let what = match &entry.what {
                What::Started { workflow } if head(workflow).is_none() => {
                    format!("the start of {workflow} was acknowledged and is lost")
                }
                What::Seen(seen) if head(&seen.workflow).unwrap_or(0) < seen.head => format!(
                    "{} was shown with event {}; the disk ends at {:?}",
                    seen.workflow,
                    seen.head,
                    head(&seen.workflow)
                ),
                _ => return None,
            };
            Some(Violation {
                rule: RULE,
                what: format!("{what} (at {:?})", entry.at),
            })
        })
        .collect()
}
