//! What the kind says the world says, and how it can be wrong.

use std::time::Duration;

use drover_ports::Ports;
use drover_step_api::{Context, Observed, StepError};
use serde_json::json;

use super::{Before, Flawed, Output, annotate, flaws::*, is_suspended, key};
use crate::good::{ClusterParams, cluster_ref};

impl<const F: u32> Flawed<F> {
    pub(super) async fn look(
        &self,
        ctx: &Context<Ports>,
        params: &ClusterParams,
    ) -> Result<Observed<Output>, StepError> {
        let cluster = ctx.ports().capi_mc().get(&cluster_ref(params)).await?;
        let marked = cluster["metadata"]["annotations"].get("held").is_some();
        let seen = cluster["status"]["seen"] == true;
        let suspended = match (F, is_suspended(ctx, params).await) {
            (OBSERVES_WITH_EYES_SHUT, Err(_)) => false,
            (OBSERVES_THE_WORST, Err(_)) => true,
            (OBSERVES_NO_MORE, Err(error)) => {
                return Err(StepError::failed("blind", error.to_string()));
            }
            (_, found) => found?,
        };
        if F == OBSERVES_FOR_EVER {
            ctx.sleep(Duration::from_secs(3600)).await?;
        }
        let before = ctx.restored::<Before>();
        let finished = before.as_ref().is_some_and(|before| before.done);
        let mut output = Output::held();
        if F == OBSERVES_ANOTHER_OUTPUT || F == OBSERVES_HALF_AN_OUTPUT && !finished {
            output.text.clear();
        }
        let all = Observed::Done(output);
        Ok(match (F, marked, suspended) {
            (SAYS_NEVER_DONE, ..) => Observed::NotDone,
            (SAYS_DONE_EARLY, true, _) => all,
            (SAYS_NOT_DONE_LATE, ..) if !seen => Observed::NotDone,
            (SAYS_PARTIAL_BEFORE, false, _) if before.is_some() => Observed::Partial,
            (SAYS_PARTIAL_ALWAYS, false, _) => Observed::Partial,
            (SAYS_DONE_THE_SECOND_TIME, true, _) if ctx.attempt() < 2 => Observed::Partial,
            (SAYS_BY_CHECKPOINT, true, _)
                if before.is_some_and(|before| !before.ballast.is_empty()) =>
            {
                Observed::Partial
            }
            (SAYS_DONE_AFTER_UNDO, ..) if finished => all,
            (OBSERVES_ACTING, ..) => {
                if let Ok(permit) = ctx.permit("mark").await {
                    annotate(ctx, params, permit, "held", json!("x")).await?;
                }
                Observed::NotDone
            }
            (SAYS_FOREIGN, true, false) => Observed::Foreign("somebody else did it".to_owned()),
            (LEAKS_FINDING, true, true) => Observed::Foreign(key(ctx, params).await?),
            (SAYS_NOT_DONE_OF_A_PART, true, false) => Observed::NotDone,
            // The controller has nothing to see in the kinds that do not wait for it.
            (PANICS_ON_SURPRISE | SILENT_WHEN_SLOW, true, true) => all,
            (_, true, true) if seen => all,
            (_, false, false) => Observed::NotDone,
            _ => Observed::Partial,
        })
    }
}
