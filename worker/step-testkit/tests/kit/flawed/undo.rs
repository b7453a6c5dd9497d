//! The way back, and how it can be wrong.

use std::time::Duration;

use drover_ports::Ports;
use drover_step_api::{Context, StepError};
use serde_json::json;

use super::{Before, Flawed, Output, annotate, flaws::*, flicker, suspend};
use crate::good::{ClusterParams, object_ref};

impl<const F: u32> Flawed<F> {
    pub(super) async fn take_back(
        &self,
        ctx: &Context<Ports>,
        params: &ClusterParams,
    ) -> Result<(), StepError> {
        let mc = ctx.ports().capi_mc();
        let cloud = ctx.ports().cloud(&params.cluster);
        match F {
            UNDO_FLICKERS => {
                let n = ctx.attempt();
                flicker(ctx, params, &format!("on{n}"), &format!("off{n}")).await?;
            }
            UNDO_FLICKERS_IN_ONE_KEY => flicker(ctx, params, "it", "it").await?,
            _ => {}
        }
        let before = match F {
            UNDO_NEEDS_OUTPUT if ctx.output::<Output>().is_none() => return Ok(()),
            UNDO_NEEDS_RUN => Some(
                ctx.restored::<Before>()
                    .ok_or_else(|| StepError::failed("no-checkpoint", "it was never run"))?,
            ),
            _ => ctx.restored::<Before>(),
        };
        let Some(before) = before else { return Ok(()) };
        if Self::KEEPS_NOTE {
            let note = object_ref("Note", "n");
            let there = mc.find(&note).await?.is_some();
            if F == UNDO_BURNS_BRIDGE && !there {
                return Ok(());
            }
            if F == UNDO_ONLY_ONCE && !there && ctx.output::<Output>().is_some() {
                return Err(StepError::failed("no-note", "somebody took the note"));
            }
            let permit = ctx.permit_for("mark", "note").await?;
            mc.delete(permit, &note).await?;
        }
        if !before.suspended {
            let permit = ctx.permit_for("suspend", "workers").await?;
            cloud
                .resume_processes(permit, "workers", &suspend())
                .await
                .map_err(|error| match F {
                    UNDO_GIVES_UP_ON_BLIPS => StepError::failed("no-resume", error.to_string()),
                    _ => error.into(),
                })?;
        }
        if F == UNDO_SILENT {
            ctx.sleep(Duration::from_secs(40)).await?;
        }
        if F == FORGETS_EFFECT {
            return Ok(());
        }
        let permit = ctx.permit("mark").await?;
        annotate(ctx, params, permit, "held", json!(null)).await?;
        Ok(())
    }
}
