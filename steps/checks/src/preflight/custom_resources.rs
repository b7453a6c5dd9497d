//! What was missing or contradictory in the custom resources.

use super::{Findings, Look, warning};

pub(super) async fn check(look: &Look<'_>) -> Findings {
    Ok(look
        .plan
        .findings
        .iter()
        .map(|finding| {
            warning(
                &finding.code,
                format!("{}: {}", finding.object, finding.message),
            )
        })
        .collect())
}
