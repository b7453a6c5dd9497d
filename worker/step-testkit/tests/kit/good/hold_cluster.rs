//! A kind with a way back.

use drover_ports::Ports;
use drover_step_api::{Compensation, Context, Declaration, Effect, Observed, Step, StepError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{BASE, ClusterParams, cluster_ref, object_ref};

/// Marks a cluster as held and keeps its group from replacing instances.
pub(crate) struct HoldCluster;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Held {
    pub(crate) note: String,
}

#[derive(Serialize, Deserialize)]
struct Before {
    suspended: Vec<String>,
}

const PROCESSES: [&str; 2] = ["ReplaceUnhealthy", "Terminate"];

impl HoldCluster {
    fn missing(suspended: &[String]) -> Vec<String> {
        let wanted = PROCESSES.iter().map(|process| (*process).to_owned());
        wanted
            .filter(|process| !suspended.contains(process))
            .collect()
    }

    async fn suspended(
        ctx: &Context<Ports>,
        params: &ClusterParams,
    ) -> Result<Vec<String>, StepError> {
        let cloud = ctx.ports().cloud(&params.cluster);
        let groups = cloud.describe_auto_scaling_groups(&[]).await?;
        let group = groups.into_iter().next();
        group
            .map(|group| group.suspended)
            .ok_or_else(|| StepError::failed("no-group", "the cluster has no group"))
    }
}

impl Step<Ports> for HoldCluster {
    type Params = ClusterParams;
    type Output = Held;

    const DECLARATION: Declaration = Declaration {
        name: "toy.hold_cluster",
        effects: &[
            Effect::once("mark"),
            Effect::once("suspend"),
            Effect::once("note"),
        ],
        compensation: Compensation::Undo,
        permissions: &[
            "capi-mc:get:Cluster",
            "capi-mc:get:Note",
            "capi-mc:patch:Cluster",
            "capi-mc:apply:Note",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:SuspendProcesses",
            "autoscaling:ResumeProcesses",
        ],
        ..BASE
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &ClusterParams) -> Result<(), StepError> {
        let found = ctx.ports().capi_mc().find(&cluster_ref(params)).await?;
        found
            .map(|_| ())
            .ok_or_else(|| StepError::refused("no-cluster", "there is no such cluster"))
    }

    async fn run(&self, ctx: &Context<Ports>, params: &ClusterParams) -> Result<Held, StepError> {
        if ctx.restored::<Before>().is_none() {
            let suspended = Self::suspended(ctx, params).await?;
            ctx.checkpoint(&Before { suspended }).await?;
        }
        ctx.progress(1, 3, "marking");
        let mc = ctx.ports().capi_mc();
        let permit = ctx.permit("mark").await?;
        let patch = json!({ "metadata": { "annotations": { "held": ctx.workflow() } } });
        mc.merge_patch(permit, &cluster_ref(params), patch, None)
            .await?;
        ctx.progress(2, 3, "suspending");
        let permit = ctx.permit_for("suspend", "workers").await?;
        let cloud = ctx.ports().cloud(&params.cluster);
        cloud
            .suspend_processes(permit, "workers", &PROCESSES.map(str::to_owned))
            .await?;
        let permit = ctx.permit("note").await?;
        mc.apply(
            permit,
            json!({ "kind": "Note", "metadata": { "name": params.cluster } }),
        )
        .await?;
        Ok(Held {
            note: params.cluster.clone(),
        })
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &ClusterParams,
    ) -> Result<Observed<Held>, StepError> {
        let mc = ctx.ports().capi_mc();
        let cluster = mc.get(&cluster_ref(params)).await?;
        let marked = cluster["metadata"]["annotations"].get("held").is_some();
        let suspended = Self::missing(&Self::suspended(ctx, params).await?).is_empty();
        let noted = mc
            .find(&object_ref("Note", &params.cluster))
            .await?
            .is_some();
        Ok(match (marked, suspended, noted) {
            (true, true, true) => Observed::Done(Held {
                note: params.cluster.clone(),
            }),
            (false, false, false) => Observed::NotDone,
            _ => Observed::Partial,
        })
    }

    async fn compensate(
        &self,
        ctx: &Context<Ports>,
        params: &ClusterParams,
    ) -> Result<(), StepError> {
        // Nothing was touched before the checkpoint.
        let Some(before) = ctx.restored::<Before>() else {
            return Ok(());
        };
        let permit = ctx.permit_for("suspend", "workers").await?;
        let cloud = ctx.ports().cloud(&params.cluster);
        let ours = Self::missing(&before.suspended);
        cloud.resume_processes(permit, "workers", &ours).await?;
        let permit = ctx.permit("mark").await?;
        let patch = json!({ "metadata": { "annotations": { "held": null } } });
        ctx.ports()
            .capi_mc()
            .merge_patch(permit, &cluster_ref(params), patch, None)
            .await?;
        Ok(())
    }
}
