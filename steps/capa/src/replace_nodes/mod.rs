//! `vintage.replace_nodes/1`: the vintage nodes of one pool make room for Cluster API nodes, batch by batch.
//!
//! * Effect: of each batch, first the new nodes come up, then as many old ones are drained and end, with their volumes detached and
//!   their Nodes gone, so that their addresses are free for the next batch. In the end the Cluster API pool has its own bounds
//!   and at least as many nodes as there were old ones.
//! * Idempotency: everything is looked at before it is done; the checkpoint keeps how many old nodes there were, which sets
//!   how many new ones are needed.
//! * Compensation: roll forward; pools come after the pivot.
//!
//! Where a zone has no address to spare, its old node has to go before its new one comes; a pod with a volume there waits so
//! long, and its budget lets no other go meanwhile. In the end every zone that had nodes has one again.
//!
//! A batch is as large as its parameter and the free addresses of the pool's subnets allow. A budget that blocks, a node that
//! does not come up, no address, no capacity: each ends the attempt with its own code, and the migration pauses with the pool
//! as it is then, old and new nodes side by side.
//!
//! New nodes are asked for by the lower bound of the AWSMachinePool, which CAPA hands to its Auto Scaling group: a patch that is
//! bound to the version that was seen, so that a late one never makes the pool smaller, and below it no autoscaler takes a new,
//! still empty node away.

mod grow;
mod look;
mod shrink;

use std::collections::BTreeSet;

use drover_model::{PoolPlan, names};
use drover_ports::{AutoScalingGroup, Ports};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::support::{
    cluster::still_there,
    defaults::{RETRY, minutes, timeouts},
    groups,
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct ReplaceNodes;

/// Parameters of `vintage.replace_nodes/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// VPC id.
    pub vpc: String,
    /// The pool.
    pub pool: PoolPlan,
    /// Most nodes at a time, at least 1.
    #[serde(default = "batch")]
    pub batch: u32,
    /// What an operator allows to be overridden, each `namespace/name`: budgets, and pods that no controller would make again.
    #[serde(default)]
    pub force: Vec<String>,
}

/// Unless the definition says otherwise.
fn batch() -> u32 {
    3
}

/// Output of `vintage.replace_nodes/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Name of the MachinePool that has the nodes now.
    pub machine_pool: String,
}

/// How it was before the first batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Begun {
    /// Old nodes.
    old: u32,
    /// New ones: what an attempt under other parameters has left, say.
    new: u32,
    /// Zones that had old nodes: volumes of theirs can be nowhere else.
    zones: BTreeSet<String>,
}

impl Begun {
    /// Most nodes that the pool may have.
    fn most(&self, params: &Params) -> u32 {
        params.pool.max.max(self.old)
    }
}

/// Auto Scaling may not bring back what goes.
const LAUNCH: &str = "Launch";

impl Step<Ports> for ReplaceNodes {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "vintage.replace_nodes",
        version: 1,
        summary: "replaces the vintage nodes of a pool by Cluster API nodes in batches that its addresses allow",
        role: Role::Step,
        class: Class::CloudApi,
        reach: &[Reach::VintageMc, Reach::CapiMc, Reach::Workload, Reach::Aws],
        effects: &[
            Effect::once("hold-group"),
            Effect::once("lower-group"),
            Effect::once("raise-pool"),
            Effect::once("settle-pool"),
            Effect::once("renew"),
            Effect::once("cordon"),
            Effect::once("evict"),
            Effect::once("delete-pod"),
            Effect::once("terminate"),
            Effect::once("complete-hook"),
            Effect::once("delete-node"),
        ],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(24 * 60)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "capi-mc:get:AWSMachinePool",
            "capi-mc:patch:AWSMachinePool",
            "workload:get:Node",
            "workload:list:Node",
            "workload:patch:Node",
            "workload:delete:Node",
            "workload:list:Pod",
            "workload:evict:Pod",
            "workload:delete:Pod",
            "workload:list:PodDisruptionBudget",
            "workload:list:VolumeAttachment",
            "ec2:DescribeInstances",
            "ec2:DescribeSubnets",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeLifecycleHooks",
            "autoscaling:SuspendProcesses",
            "autoscaling:UpdateAutoScalingGroup",
            "autoscaling:TerminateInstanceInAutoScalingGroup",
            "autoscaling:CompleteLifecycleAction",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster).await?;
        if params.batch == 0 {
            return Err(StepError::refused(
                "batch-empty",
                "a batch of 0 nodes replaces none; say at least 1",
            ));
        }
        if grow::least(ctx, params).await?.is_none() {
            return Err(StepError::refused(
                "pool-not-applied",
                format!(
                    "there is no AWSMachinePool {}/{}; apply the pool first",
                    params.namespace,
                    params.machine_pool()
                ),
            ));
        }
        shrink::refuse_unmanaged(ctx, params).await
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let begun = begin(ctx, params).await?;
        let total = u64::from(begun.old);
        let most = begun.most(params);
        let goal = (begun.old + begun.new).max(params.pool.min).min(most);
        loop {
            let seen = look::look(ctx, params).await?;
            let left = u32::try_from(seen.old.len()).unwrap_or(u32::MAX);
            let gone = begun.old.saturating_sub(left);
            ctx.progress(
                u64::from(gone),
                total,
                format!(
                    "pool {}: {gone} of {total} nodes are replaced",
                    params.pool.name
                ),
            );
            if left == 0 {
                break;
            }
            let covered = gone + begun.new;
            let wanted = (covered + params.batch.min(left)).min(goal);
            let ready = grow::at_least_one_more(ctx, params, covered, wanted).await?;
            let spare = ready.saturating_sub(covered).clamp(1, params.batch);
            shrink::batch(ctx, params, spare as usize).await?;
        }
        grow::cover(ctx, params, &begun.zones, most).await?;
        grow::settle(ctx, params).await?;
        Ok(params.output())
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let groups = groups::by_tags(ctx, &params.cluster, &params.tags()).await?;
        let least = grow::least(ctx, params).await?;
        let held = groups.iter().all(is_held);
        let empty = groups.iter().all(|group| group.instances.is_empty());
        // A pool may have its own lower bound by chance, while a zone still has no new node.
        let covers = match ctx.restored::<Begun>() {
            Some(begun) if held && empty => {
                let seen = look::look(ctx, params).await?;
                grow::covers(&seen, &begun.zones, begun.most(params))
            }
            _ => true,
        };
        Ok(
            if held && empty && covers && least == Some(params.pool.min) {
                Observed::Done(params.output())
            } else if groups.iter().any(is_held) {
                Observed::Partial
            } else {
                Observed::NotDone
            },
        )
    }
}

impl Params {
    pub(crate) fn machine_pool(&self) -> String {
        names::machine_pool(&self.cluster, &self.pool.name)
    }

    /// Tags of the old group and its instances.
    pub(crate) fn tags(&self) -> [(&str, &str); 3] {
        groups::tags_of_pool(&self.cluster, &self.pool.name)
    }

    fn output(&self) -> Output {
        Output {
            machine_pool: self.machine_pool(),
        }
    }
}

fn is_held(group: &AutoScalingGroup) -> bool {
    group.suspended.iter().any(|process| process == LAUNCH) && group.min == 0
}

/// Counts the old nodes, once; from then on there will only be fewer.
async fn begin(ctx: &Context<Ports>, params: &Params) -> Result<Begun, StepError> {
    let groups = groups::by_tags(ctx, &params.cluster, &params.tags()).await?;
    let begun = match ctx.restored::<Begun>() {
        Some(begun) => begun,
        None => {
            let seen = look::look(ctx, params).await?;
            let count = |nodes: usize| u32::try_from(nodes).unwrap_or(u32::MAX);
            let begun = Begun {
                old: count(seen.old.len()),
                new: count(seen.new.len()),
                zones: seen.old.iter().map(|node| node.zone.clone()).collect(),
            };
            ctx.checkpoint(&begun).await?;
            begun
        }
    };
    for group in &groups {
        if !group.suspended.iter().any(|process| process == LAUNCH) {
            let permit = ctx.permit_for("hold-group", &group.name).await?;
            let cloud = ctx.ports().cloud(&params.cluster);
            cloud
                .suspend_processes(permit, &group.name, &[LAUNCH.to_owned()])
                .await?;
        }
        groups::lower(ctx, &params.cluster, group).await?;
    }
    Ok(begun)
}
