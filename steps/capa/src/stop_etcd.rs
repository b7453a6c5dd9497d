//! `vintage.stop_etcd/1`: the removed vintage members end for good.
//!
//! * Effect: `etcd3` is stopped on every master by a Job that fails when the unit still runs; the Node is marked.
//! * Idempotency: a marked Node is done.
//! * Compensation: roll forward; these members are no part of the cluster any more and never will be.

use drover_model::{Partition, node_job::NodeCommand};
use drover_ports::{ObjectRef, Ports, Via};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    kinds,
    support::{
        cluster::{annotation, still_there},
        defaults::{RETRY, minutes, timeouts},
        node_jobs::Task,
    },
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct StopEtcd;

/// Parameters of `vintage.stop_etcd/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// AWS partition: decides where the Jobs' image comes from.
    pub partition: Partition,
    /// Names of the vintage members, none of which may still be one.
    pub vintage_members: Vec<String>,
    /// Nodes of the vintage masters.
    pub master_nodes: Vec<String>,
}

/// Output of `vintage.stop_etcd/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Nodes whose etcd is stopped.
    pub stopped: Vec<String>,
}

/// Annotation on a master's Node: its etcd was stopped and did not run any more afterwards.
const STOPPED: &str = "drover.giantswarm.io/etcd-stopped";

impl Step<Ports> for StopEtcd {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "vintage.stop_etcd",
        version: 1,
        summary: "stops etcd on the vintage masters",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::VintageMc, Reach::Workload, Reach::Etcd],
        effects: &[Effect::once("stop-etcd"), Effect::once("mark-node")],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(45)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "workload:get:Node",
            "workload:patch:Node",
            "workload:get:Job",
            "workload:create:Job",
            "etcd:MemberList",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster).await?;
        let members = ctx.ports().etcd(&params.cluster).member_list().await?;
        match members
            .iter()
            .find(|member| params.vintage_members.contains(&member.name))
        {
            None => Ok(()),
            Some(member) => Err(StepError::refused(
                "member-still-there",
                format!(
                    "{} is still a member of etcd; let it converge first",
                    member.name
                ),
            )),
        }
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        for (n, node) in params.master_nodes.iter().enumerate() {
            if !is_stopped(ctx, params, node).await? {
                let task = Task {
                    cluster: &params.cluster,
                    partition: params.partition,
                    node,
                    effect: "stop-etcd",
                    commands: vec![NodeCommand::StopUnit {
                        unit: "etcd3.service".to_owned(),
                    }],
                };
                task.run(ctx).await?;
                mark(ctx, params, node).await?;
            }
            ctx.progress(
                n as u64 + 1,
                params.master_nodes.len() as u64,
                format!("etcd of {node} is stopped"),
            );
        }
        Ok(output(params))
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let mut stopped = 0;
        for node in &params.master_nodes {
            stopped += usize::from(is_stopped(ctx, params, node).await?);
        }
        Ok(match stopped {
            0 => Observed::NotDone,
            n if n == params.master_nodes.len() => Observed::Done(output(params)),
            _ => Observed::Partial,
        })
    }
}

fn output(params: &Params) -> Output {
    Output {
        stopped: params.master_nodes.clone(),
    }
}

fn reference(node: &str) -> ObjectRef {
    ObjectRef::new(&kinds::node(), "", node)
}

/// A master whose Node is gone has no etcd left to stop.
async fn is_stopped(ctx: &Context<Ports>, params: &Params, node: &str) -> Result<bool, StepError> {
    let workload = ctx.ports().workload(&params.cluster, Via::OldName);
    let found = workload.find(&reference(node)).await?;
    Ok(found.is_none_or(|found| annotation(&found, STOPPED).is_some()))
}

async fn mark(ctx: &Context<Ports>, params: &Params, node: &str) -> Result<(), StepError> {
    let permit = ctx.permit_for("mark-node", node).await?;
    let patch = json!({"metadata": {"annotations": {STOPPED: ctx.workflow()}}});
    let workload = ctx.ports().workload(&params.cluster, Via::OldName);
    workload
        .merge_patch(permit, &reference(node), patch, None)
        .await?;
    Ok(())
}
