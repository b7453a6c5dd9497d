//! One kind that is right, and as many ways of being wrong as the rounds are meant to catch. `F` picks the way.

mod act;
pub(crate) mod flaws;
mod observe;
mod undo;
mod wait;

use std::{
    sync::{Mutex, atomic::AtomicU32},
    time::Duration,
};

use drover_ports::{PortError, Ports};
use drover_step_api::{
    Certainty, Compensation, Context, Declaration, Observed, Permit, Step, StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::flaws::*;
use crate::good::{BASE, ClusterParams, cluster_ref};

/// Marks a cluster, suspends a process of its group, and waits until the controller has seen it.
#[derive(Default)]
pub(crate) struct Flawed<const F: u32> {
    stash: Mutex<Option<Permit>>,
    runs: AtomicU32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Output {
    pub(crate) text: String,
}

impl Output {
    fn held() -> Self {
        Self {
            text: "held".to_owned(),
        }
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Before {
    suspended: bool,
    done: bool,
    #[serde(default)]
    ballast: String,
}

fn suspend() -> [String; 1] {
    ["Terminate".to_owned()]
}

async fn is_suspended(ctx: &Context<Ports>, params: &ClusterParams) -> Result<bool, PortError> {
    let cloud = ctx.ports().cloud(&params.cluster);
    let groups = cloud.describe_auto_scaling_groups(&[]).await?;
    Ok(groups.iter().any(|group| !group.suspended.is_empty()))
}

async fn is_seen(ctx: &Context<Ports>, params: &ClusterParams) -> Result<bool, PortError> {
    let cluster = ctx.ports().capi_mc().get(&cluster_ref(params)).await?;
    Ok(cluster["status"]["seen"] == true)
}

/// Whether the outside takes its time today.
async fn is_slow(ctx: &Context<Ports>, params: &ClusterParams) -> Result<bool, PortError> {
    let before = ctx.now();
    is_suspended(ctx, params).await?;
    Ok(ctx.now().since(before) > Duration::from_secs(1))
}

/// A secret that the kind makes itself.
const MADE_SECRET: &str = "made-up-by-the-kind";

/// Sets one annotation of the cluster, or removes it.
async fn annotate(
    ctx: &Context<Ports>,
    params: &ClusterParams,
    permit: Permit,
    key: &str,
    value: Value,
) -> Result<(), PortError> {
    let patch = json!({ "metadata": { "annotations": { key: value } } });
    let mc = ctx.ports().capi_mc();
    mc.merge_patch(permit, &cluster_ref(params), patch, None)
        .await?;
    Ok(())
}

/// Sets an annotation and removes it again, under two keys or under one.
async fn flicker(
    ctx: &Context<Ports>,
    params: &ClusterParams,
    on: &str,
    off: &str,
) -> Result<(), StepError> {
    let permit = ctx.permit_for("mark", on).await?;
    annotate(ctx, params, permit, "flicker", json!("on")).await?;
    let permit = ctx.permit_for("mark", off).await?;
    annotate(ctx, params, permit, "flicker", json!(null)).await?;
    Ok(())
}

/// The bytes of the CA's key without their frame.
async fn key(ctx: &Context<Ports>, params: &ClusterParams) -> Result<String, StepError> {
    let bundle = ctx.ports().ca_source(&params.cluster).fetch().await?;
    let text = String::from_utf8_lossy(bundle.private_key_pem.expose()).into_owned();
    Ok(text.lines().nth(1).unwrap_or_default().to_owned())
}

impl<const F: u32> Step<Ports> for Flawed<F> {
    type Params = ClusterParams;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "toy.flawed",
        effects: effects(F),
        compensation: Compensation::Undo,
        permissions: permissions(F),
        loss_policy: loss_policy(F),
        ..BASE
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &ClusterParams) -> Result<(), StepError> {
        ctx.ports().capi_mc().get(&cluster_ref(params)).await?;
        Ok(())
    }

    async fn run(&self, ctx: &Context<Ports>, params: &ClusterParams) -> Result<Output, StepError> {
        let body = async {
            let retried = ctx.restored::<Before>().is_some();
            let crashed = is_suspended(ctx, params).await? && !is_seen(ctx, params).await?;
            self.remember(ctx, params).await?;
            if F == TRUSTS_CHECKPOINT && retried {
                return Ok(Output::held());
            }
            self.act(ctx, params).await?;
            self.wait(ctx, params).await?;
            let mut output = self.prove(ctx, params).await?;
            if F == OUTPUT_OF_THE_CRASH && crashed {
                output.text = "held again".to_owned();
            }
            // Only the way back may see it.
            if ctx.output::<Output>().is_some() {
                output.text = "held before".to_owned();
            }
            if matches!(F, SAYS_DONE_AFTER_UNDO | OBSERVES_HALF_AN_OUTPUT) {
                ctx.checkpoint(&Before {
                    done: true,
                    ..Before::default()
                })
                .await?;
            }
            Ok(output)
        };
        body.await
            .map_err(|error: StepError| match error.certainty() {
                Certainty::Cancelled | Certainty::Yielded if F == WRAPS_SIGNALS => {
                    StepError::failed("interrupted", error.to_string())
                }
                _ => error,
            })
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &ClusterParams,
    ) -> Result<Observed<Output>, StepError> {
        self.look(ctx, params).await
    }

    async fn compensate(
        &self,
        ctx: &Context<Ports>,
        params: &ClusterParams,
    ) -> Result<(), StepError> {
        self.take_back(ctx, params).await
    }
}
