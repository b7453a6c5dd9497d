//! No CloudFormation stack is in the middle of an update, or has failed one.

use super::{Findings, Look, blocker, warning};

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let plan = look.plan;
    let prefix = format!("cluster-{}-", plan.id);
    let stacks = look
        .ports()
        .cloud(&plan.id)
        .describe_stacks(&prefix)
        .await?;
    if stacks.is_empty() {
        return Ok(vec![blocker(
            "stacks-missing",
            format!(
                "no CloudFormation stack {prefix}… exists in account {}",
                plan.account
            ),
        )]);
    }
    Ok(stacks
        .iter()
        .filter_map(|stack| {
            let what = format!("stack {} is {}", stack.name, stack.status);
            if stack.status.ends_with("_IN_PROGRESS") {
                Some(blocker(
                    "stack-updates",
                    format!("{what}; wait until it has ended"),
                ))
            } else if stack.status.contains("FAILED") || stack.status.contains("ROLLBACK") {
                Some(warning(
                    "stack-failed",
                    format!("{what}; find out why before its operator is paused"),
                ))
            } else {
                None
            }
        })
        .collect())
}
