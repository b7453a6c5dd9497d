//! What the kind does, and how it can be wrong there.

use drover_ports::{PortErrorKind, Ports, SecretBytes};
use drover_step_api::{Context, StepError};
use serde_json::json;

use super::{
    Before, Flawed, MADE_SECRET, annotate, flaws::*, flicker, is_seen, is_slow, is_suspended, key,
    suspend,
};
use crate::good::{ClusterParams, cluster_ref};

impl<const F: u32> Flawed<F> {
    pub(super) const KEEPS_NOTE: bool =
        matches!(F, UNDO_BURNS_BRIDGE | UNDO_ONLY_ONCE | UNDO_NEEDS_RUN);

    pub(super) async fn remember(
        &self,
        ctx: &Context<Ports>,
        params: &ClusterParams,
    ) -> Result<(), StepError> {
        if F == SAYS_BY_CHECKPOINT && ctx.restored::<Before>().is_some() {
            if !is_seen(ctx, params).await? {
                let ballast = "it was begun before".to_owned();
                ctx.checkpoint(&Before {
                    ballast,
                    ..Before::default()
                })
                .await?;
            }
            return Ok(());
        }
        if F != OVERWRITES_CHECKPOINT && ctx.restored::<Before>().is_some() {
            return Ok(());
        }
        let mut before = Before {
            suspended: is_suspended(ctx, params).await?,
            done: false,
            ballast: String::new(),
        };
        if F == BLOATS {
            before.ballast = "x".repeat(5000);
        }
        if F == LEAKS_CHECKPOINT {
            before.ballast = key(ctx, params).await?;
        }
        ctx.checkpoint(&before).await
    }

    async fn mark(
        &self,
        ctx: &Context<Ports>,
        params: &ClusterParams,
        value: &str,
    ) -> Result<(), StepError> {
        let mut permit = ctx.permit("mark").await?;
        if F == BORROWS_PERMIT {
            let spare = ctx.permit("mark").await?;
            let kept = self
                .stash
                .lock()
                .expect("nothing panics while it is held")
                .replace(spare);
            // The spare permit of the attempt before.
            permit = kept.unwrap_or(permit);
        }
        match annotate(ctx, params, permit, "held", json!(value)).await {
            Err(error) if F == PANICS_ON_EXISTING => {
                assert_ne!(error.kind, PortErrorKind::AlreadyExists, "how can it be");
                assert_ne!(error.kind, PortErrorKind::Conflict, "how can it be");
                Err(error.into())
            }
            marked => Ok(marked?),
        }
    }

    async fn suspend(&self, ctx: &Context<Ports>, params: &ClusterParams) -> Result<(), StepError> {
        let cloud = ctx.ports().cloud(&params.cluster);
        let permit = ctx.permit_for("suspend", "workers").await?;
        cloud
            .suspend_processes(permit, "workers", &suspend())
            .await?;
        if F == ONE_KEY_FOR_TWO {
            let permit = ctx.permit_for("suspend", "workers").await?;
            cloud
                .suspend_processes(permit, "masters", &suspend())
                .await?;
        }
        Ok(())
    }

    pub(super) async fn act(
        &self,
        ctx: &Context<Ports>,
        params: &ClusterParams,
    ) -> Result<(), StepError> {
        let mc = ctx.ports().capi_mc();
        let cloud = ctx.ports().cloud(&params.cluster);
        match F {
            HOARDS_PERMITS => {
                let first = ctx.permit("mark").await?;
                let second = ctx.permit_for("suspend", "workers").await?;
                annotate(ctx, params, first, "held", json!("x")).await?;
                cloud
                    .suspend_processes(second, "workers", &suspend())
                    .await?;
                return Ok(());
            }
            PASSES_OVER_REFUSAL => {
                self.mark(ctx, params, "x").await?;
                if let Ok(permit) = ctx.permit_for("suspend", "workers").await {
                    cloud
                        .suspend_processes(permit, "workers", &suspend())
                        .await?;
                }
                return Ok(());
            }
            CREATES_TWICE => {
                let permit = ctx.permit_for("mark", "note").await?;
                let note = json!({ "kind": "Note", "metadata": { "generateName": "note-" } });
                mc.create(permit, note).await?;
            }
            // A second run after success is let through, or the undisturbed run would tell.
            REFUSES_OWN_TRACES | REDOES
                if is_suspended(ctx, params).await? && !is_seen(ctx, params).await? =>
            {
                if F == REFUSES_OWN_TRACES {
                    return Err(StepError::refused("suspended", "somebody has suspended it"));
                }
                let permit = ctx.permit("mark").await?;
                annotate(ctx, params, permit, "held", json!(null)).await?;
            }
            TOGGLES | TOGGLES_HARMLESSLY => {
                let cluster = mc.get(&cluster_ref(params)).await?;
                if cluster["metadata"]["annotations"]["held"] != "second" {
                    self.mark(ctx, params, "first").await?;
                    self.suspend(ctx, params).await?;
                    let permit = ctx.permit_for("mark", "second").await?;
                    annotate(ctx, params, permit, "held", json!("second")).await?;
                }
                return Ok(());
            }
            FLICKERS if !is_suspended(ctx, params).await? => {
                flicker(ctx, params, "it", "it").await?;
            }
            FLICKERS_AGAIN if is_seen(ctx, params).await? => {
                flicker(ctx, params, "on", "off").await?;
            }
            REPEATS_DIFFERENTLY => {
                self.mark(ctx, params, &ctx.attempt().to_string()).await?;
                return self.suspend(ctx, params).await;
            }
            WORLD_OF_THE_PACE => {
                let value = if is_slow(ctx, params).await? {
                    "slow"
                } else {
                    "x"
                };
                self.mark(ctx, params, value).await?;
                return self.suspend(ctx, params).await;
            }
            LEAKS_OUTPUT | LEAKS_PROGRESS | LEAKS_CHECKPOINT | LEAKS_ERROR | LEAKS_FINDING => {
                key(ctx, params).await?;
            }
            PUTS_ONCE | LEAKS_MADE_SECRET => {
                let store = ctx.ports().region_store();
                if store.head("copy").await.is_err() {
                    let permit = ctx.permit_for("mark", "copy").await?;
                    let secret = SecretBytes::new(MADE_SECRET.as_bytes().to_vec());
                    store.put(permit, "copy", secret).await?;
                }
            }
            _ => {}
        }
        if Self::KEEPS_NOTE {
            let permit = ctx.permit_for("mark", "note").await?;
            mc.apply(
                permit,
                json!({ "kind": "Note", "metadata": { "name": "n" } }),
            )
            .await?;
        }
        self.mark(ctx, params, "x").await?;
        self.suspend(ctx, params).await
    }
}
