//! Lists of workflows: the engine hands out what it knows in small pages, and the filter is evaluated beside it.

use drover_core::{ids::WorkflowId, query::Query, view};
use tonic::Status;

use crate::{
    engine::messages::Input,
    refusal::{Kind, Refusal},
    supervise::Handle,
};

/// Workflows that the engine describes at once for a filter. It goes on with its work in between.
const AT_ONCE: usize = 256;

/// The first workflows after one that pass a filter, at most `limit`, and the token of the next page when there is one.
/// Each workflow is as it was at some moment of the call; not all of them at the same.
pub(super) async fn matching(
    engine: &Handle,
    mut after: Option<WorkflowId>,
    limit: usize,
    query: Query,
) -> Result<(Vec<view::Workflow>, String), Status> {
    let mut found: Vec<view::Workflow> = Vec::new();
    loop {
        let at_once = if query.is_all() { limit + 1 } else { AT_ONCE };
        let page = engine
            .ask(|answer| Input::List {
                after: after.take(),
                limit: at_once,
                answer,
            })
            .await?;
        for workflow in filter(&query, page.workflows)? {
            if found.len() == limit {
                let token = found
                    .last()
                    .map_or_else(String::new, |last| last.id.clone());
                return Ok((found, token));
            }
            found.push(workflow);
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok((found, String::new())),
        }
    }
}

/// A page takes a few milliseconds of the task that serves the call; no thread has to change for that.
fn filter(query: &Query, workflows: Vec<view::Workflow>) -> Result<Vec<view::Workflow>, Refusal> {
    if query.is_all() {
        return Ok(workflows);
    }
    let mut passed = Vec::new();
    for workflow in workflows {
        let json = serde_json::to_value(&workflow).expect("views serialize");
        let passes = query
            .matches(&json)
            .map_err(|error| Refusal::new(Kind::Invalid, "query-invalid", error.to_string()))?;
        if passes {
            passed.push(workflow);
        }
    }
    Ok(passed)
}
