//! `aws.disarm_node_killers/1`: nothing replaces or ends a vintage node by itself.
//!
//! * Effect: the terminator of unhealthy nodes is switched off by annotation; processes of all Auto Scaling groups are
//!   suspended: everything on masters, replacement and rebalancing on workers (their autoscaler goes on).
//! * Idempotency: what is suspended stays so.
//! * Compensation: undo; puts back exactly what was there before, as the checkpoint says. The checkpoint is stored before the
//!   first change, so without one there is nothing to take back.

use std::collections::{BTreeMap, BTreeSet};

use drover_model::{cr::keys, names};
use drover_ports::{AutoScalingGroup, ObjectRef, PortErrorKind, Ports};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    kinds,
    support::{
        cluster::{annotation, still_there},
        defaults::{RETRY, minutes, timeouts},
    },
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct DisarmNodeKillers;

/// Parameters of `aws.disarm_node_killers/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
}

/// Output of `aws.disarm_node_killers/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The groups whose processes are suspended.
    pub groups: Vec<String>,
}

/// What was there before.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Before {
    annotation: Option<String>,
    suspended: BTreeMap<String, BTreeSet<String>>,
}

/// On masters nothing may happen by itself: a replaced one is a vintage master in full.
const OF_MASTERS: [&str; 9] = [
    "AZRebalance",
    "AddToLoadBalancer",
    "AlarmNotification",
    "HealthCheck",
    "InstanceRefresh",
    "Launch",
    "ReplaceUnhealthy",
    "ScheduledActions",
    "Terminate",
];
/// Workers may still be scaled by their autoscaler.
const OF_WORKERS: [&str; 3] = ["AZRebalance", "InstanceRefresh", "ReplaceUnhealthy"];

fn processes(group: &AutoScalingGroup) -> &'static [&'static str] {
    match group.tags.get(names::TAG_STACK).map(String::as_str) {
        Some(names::STACK_MASTERS) => &OF_MASTERS,
        _ => &OF_WORKERS,
    }
}

fn missing(group: &AutoScalingGroup) -> Vec<String> {
    processes(group)
        .iter()
        .map(|process| (*process).to_owned())
        .filter(|process| !group.suspended.contains(process))
        .collect()
}

impl Step<Ports> for DisarmNodeKillers {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "aws.disarm_node_killers",
        version: 1,
        summary: "suspends whatever replaces or ends vintage nodes by itself",
        role: Role::Step,
        class: Class::CloudApi,
        reach: &[Reach::VintageMc, Reach::Aws],
        effects: &[
            Effect::once("switch-terminator"),
            Effect::once("suspend-processes"),
            Effect::once("resume-processes"),
        ],
        compensation: Compensation::Undo,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(15)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "vintage-mc:get:AWSCluster",
            "vintage-mc:patch:AWSCluster",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:SuspendProcesses",
            "autoscaling:ResumeProcesses",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster)
            .await
            .map(drop)
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let found = groups(ctx, &params.cluster).await?;
        let terminator = terminator(ctx, params).await?;
        if ctx.restored::<Before>().is_none() {
            let suspended = found
                .iter()
                .map(|group| {
                    (
                        group.name.clone(),
                        group.suspended.iter().cloned().collect(),
                    )
                })
                .collect();
            let before = Before {
                annotation: terminator.clone(),
                suspended,
            };
            ctx.checkpoint(&before).await?;
        }
        if terminator.as_deref() != Some("false") {
            set_terminator(ctx, params, json!("false")).await?;
        }
        for (n, group) in found.iter().enumerate() {
            let missing = missing(group);
            if !missing.is_empty() {
                let permit = ctx.permit_for("suspend-processes", &group.name).await?;
                let cloud = ctx.ports().cloud(&params.cluster);
                cloud
                    .suspend_processes(permit, &group.name, &missing)
                    .await?;
            }
            ctx.progress(n as u64 + 1, found.len() as u64, "groups are suspended");
        }
        let still = groups(ctx, &params.cluster).await?;
        match still.iter().find(|group| !missing(group).is_empty()) {
            None => Ok(output(&still)),
            Some(group) => Err(StepError::transient(
                "not-suspended",
                format!("{} does not show its processes as suspended", group.name),
            )),
        }
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let found = groups(ctx, &params.cluster).await?;
        let disarmed = found
            .iter()
            .filter(|group| missing(group).is_empty())
            .count();
        let off = terminator(ctx, params).await?.as_deref() == Some("false");
        Ok(match (off, disarmed) {
            (true, n) if n == found.len() => Observed::Done(output(&found)),
            (false, 0) => Observed::NotDone,
            _ => Observed::Partial,
        })
    }

    async fn compensate(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        let Some(before) = ctx.restored::<Before>() else {
            return Ok(());
        };
        for group in groups(ctx, &params.cluster).await? {
            let Some(suspended) = before.suspended.get(&group.name) else {
                continue;
            };
            let resume: Vec<String> = processes(&group)
                .iter()
                .map(|process| (*process).to_owned())
                .filter(|process| group.suspended.contains(process) && !suspended.contains(process))
                .collect();
            if !resume.is_empty() {
                let permit = ctx.permit_for("resume-processes", &group.name).await?;
                let cloud = ctx.ports().cloud(&params.cluster);
                cloud.resume_processes(permit, &group.name, &resume).await?;
            }
        }
        let now = match terminator(ctx, params).await {
            Ok(now) => now,
            // The object is gone, and its annotation with it.
            Err(error) if error.code() == "not-found" => return Ok(()),
            Err(error) => return Err(error),
        };
        if now != before.annotation {
            set_terminator(ctx, params, json!(before.annotation)).await?;
        }
        Ok(())
    }
}

async fn groups(ctx: &Context<Ports>, cluster: &str) -> Result<Vec<AutoScalingGroup>, StepError> {
    let tags = [(names::TAG_CLUSTER, cluster)];
    let found = ctx
        .ports()
        .cloud(cluster)
        .describe_auto_scaling_groups(&tags)
        .await;
    match found {
        Ok(found) => Ok(found),
        Err(error) if error.kind == PortErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn output(groups: &[AutoScalingGroup]) -> Output {
    Output {
        groups: groups.iter().map(|group| group.name.clone()).collect(),
    }
}

fn aws_cluster(params: &Params) -> ObjectRef {
    ObjectRef::new(
        &kinds::vintage_aws_cluster(),
        &params.namespace,
        &params.cluster,
    )
}

/// What the switch of the terminator says.
async fn terminator(ctx: &Context<Ports>, params: &Params) -> Result<Option<String>, StepError> {
    let object = ctx.ports().vintage_mc().get(&aws_cluster(params)).await?;
    Ok(annotation(&object, keys::TERMINATE_UNHEALTHY).map(str::to_owned))
}

async fn set_terminator(
    ctx: &Context<Ports>,
    params: &Params,
    value: Value,
) -> Result<(), StepError> {
    let permit = ctx.permit("switch-terminator").await?;
    let patch = json!({"metadata": {"annotations": {keys::TERMINATE_UNHEALTHY: value}}});
    let mc = ctx.ports().vintage_mc();
    mc.merge_patch(permit, &aws_cluster(params), patch, None)
        .await?;
    Ok(())
}
