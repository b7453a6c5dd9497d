//! Vintage settings that the target does not carry.

use drover_model::target;

use super::{Findings, Look, warning};

pub(super) async fn check(look: &Look<'_>) -> Findings {
    Ok(target::render(look.plan)
        .lossy
        .into_iter()
        .map(|lossy| {
            warning(
                "setting-not-carried",
                format!("{}: {}", lossy.setting, lossy.consequence),
            )
        })
        .collect())
}
