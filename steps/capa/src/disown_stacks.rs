//! `aws.disown_stacks/1`: the vintage CloudFormation stacks are gone, and everything that was in them is still there.
//!
//! * Effect: stack by stack, the network last: every resource is retained, the protection is off, the stack is deleted.
//! * Idempotency: what a stack says of itself decides what is left to do.
//! * Compensation: roll forward. A deleted stack does not take its resources back.
//!
//! The VPC, its subnets and security groups are those that the Cluster API nodes live in. So a stack is deleted only after
//! CloudFormation itself has shown a template in which every resource is retained, and afterwards the network is counted. What
//! is dead (launch templates, the masters' volumes) is retained as well: to delete too little costs money, to delete too much
//! costs the cluster. The stacks in the management cluster's own account are not reached from here.

use std::collections::BTreeSet;

use drover_model::{cr::keys, names, stack_template};
use drover_ports::{ObjectRef, Ports, Stack};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Poll, Reach, Role,
    Step, StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    kinds,
    support::{
        cluster::{annotation, still_there},
        defaults::{RETRY, minutes, seconds, timeouts},
    },
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct DisownStacks;

/// Parameters of `aws.disown_stacks/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// Its node pools, each of which has a stack.
    pub pools: Vec<String>,
    /// The VPC that stays.
    pub vpc: String,
    /// The subnets that stay.
    pub subnets: Vec<String>,
}

/// Output of `aws.disown_stacks/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The VPC that nobody owns any more.
    pub vpc: String,
    /// What its stacks' names began with.
    pub prefix: String,
}

impl Step<Ports> for DisownStacks {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "aws.disown_stacks",
        version: 1,
        summary: "deletes the vintage CloudFormation stacks and keeps everything that is in them",
        role: Role::Step,
        class: Class::CloudApi,
        reach: &[Reach::VintageMc, Reach::Aws],
        effects: &[
            Effect::once("retain"),
            Effect::once("unprotect"),
            Effect::once("delete-stack"),
        ],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(180)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "vintage-mc:get:AWSCluster",
            "cloudformation:DescribeStacks",
            "cloudformation:GetTemplate",
            "cloudformation:UpdateStack",
            "cloudformation:UpdateTerminationProtection",
            "cloudformation:DeleteStack",
            "ec2:DescribeVpcs",
            "ec2:DescribeSubnets",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster).await?;
        let gvk = kinds::vintage_aws_cluster();
        let object = ObjectRef::new(&gvk, &params.namespace, &params.cluster);
        let object = ctx.ports().vintage_mc().get(&object).await?;
        if annotation(&object, keys::PAUSED) == Some("true") {
            return Ok(());
        }
        Err(StepError::refused(
            "operators-not-paused",
            format!(
                "AWSCluster {} is not paused: its operator would make the stacks again; pause the operators first",
                params.cluster
            ),
        ))
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let stacks = stacks(ctx, &params.cluster).await?;
        let all = stacks.len() as u64;
        for (n, stack) in stacks.iter().enumerate() {
            disown(ctx, &params.cluster, &stack.name).await?;
            ctx.progress(n as u64 + 1, all, "stacks are gone");
        }
        count_network(ctx, params).await?;
        Ok(output(params))
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let stacks = stacks(ctx, &params.cluster).await?;
        if stacks.is_empty() {
            return Ok(Observed::Done(output(params)));
        }
        for stack in &stacks {
            if !stack.termination_protection
                || stack.status.ends_with("_IN_PROGRESS")
                || is_retained(ctx, &params.cluster, &stack.name).await?
            {
                return Ok(Observed::Partial);
            }
        }
        // One for the network, one for the masters.
        let all = stacks.len() == params.pools.len() + 2;
        Ok(if all {
            Observed::NotDone
        } else {
            Observed::Partial
        })
    }
}

fn output(params: &Params) -> Output {
    Output {
        vpc: params.vpc.clone(),
        prefix: names::stack_prefix(&params.cluster),
    }
}

/// The cluster's stacks, the network's last: the others refer to what it exports.
async fn stacks(ctx: &Context<Ports>, cluster: &str) -> Result<Vec<Stack>, StepError> {
    let prefix = names::stack_prefix(cluster);
    let network = format!("{prefix}{}", names::STACK_NETWORK);
    let mut stacks = ctx.ports().cloud(cluster).describe_stacks(&prefix).await?;
    stacks.sort_by_key(|stack| stack.name == network);
    Ok(stacks)
}

async fn find(ctx: &Context<Ports>, cluster: &str, name: &str) -> Result<Option<Stack>, StepError> {
    let stacks = stacks(ctx, cluster).await?;
    Ok(stacks.into_iter().find(|stack| stack.name == name))
}

/// Waits until CloudFormation is not at the stack any more; `None` when it is gone by then.
async fn at_rest(
    ctx: &Context<Ports>,
    cluster: &str,
    name: &str,
) -> Result<Option<Stack>, StepError> {
    let what = format!("CloudFormation to leave {name}");
    ctx.wait_until(&what, seconds(15), minutes(45), || async {
        Ok(match find(ctx, cluster, name).await? {
            Some(stack) if stack.status.ends_with("_IN_PROGRESS") => {
                Poll::Pending(format!("it is {}", stack.status))
            }
            found => Poll::Ready(found),
        })
    })
    .await
}

async fn template(ctx: &Context<Ports>, cluster: &str, name: &str) -> Result<String, StepError> {
    Ok(ctx.ports().cloud(cluster).get_template(name).await?)
}

fn retained(name: &str, template: &str) -> Result<String, StepError> {
    stack_template::retain_all(template).map_err(|error| {
        StepError::failed(
            "template-unreadable",
            format!("the template of {name} cannot be changed, so the stack stays: {error}"),
        )
    })
}

async fn is_retained(ctx: &Context<Ports>, cluster: &str, name: &str) -> Result<bool, StepError> {
    let template = template(ctx, cluster, name).await?;
    Ok(retained(name, &template)? == template)
}

async fn disown(ctx: &Context<Ports>, cluster: &str, name: &str) -> Result<(), StepError> {
    let Some(stack) = at_rest(ctx, cluster, name).await? else {
        return Ok(());
    };
    let now = template(ctx, cluster, name).await?;
    let wanted = retained(name, &now)?;
    if wanted != now {
        let permit = ctx.permit_for("retain", name).await?;
        let cloud = ctx.ports().cloud(cluster);
        cloud.update_stack(permit, name, &wanted).await?;
    }
    let status = at_rest(ctx, cluster, name).await?.map(|stack| stack.status);
    let rolled_back =
        status.is_some_and(|status| !status.ends_with("_COMPLETE") || status.contains("ROLLBACK"));
    if rolled_back || !is_retained(ctx, cluster, name).await? {
        return Err(StepError::failed(
            "stack-not-retained",
            format!(
                "CloudFormation does not show every resource of {name} as retained; see the stack's events"
            ),
        ));
    }
    if stack.termination_protection {
        let permit = ctx.permit_for("unprotect", name).await?;
        let cloud = ctx.ports().cloud(cluster);
        cloud
            .set_termination_protection(permit, name, false)
            .await?;
    }
    let permit = ctx.permit_for("delete-stack", name).await?;
    let cloud = ctx.ports().cloud(cluster);
    cloud.delete_stack(permit, name).await?;
    match at_rest(ctx, cluster, name).await? {
        None => Ok(()),
        Some(stack) => Err(StepError::transient(
            "stack-stays",
            format!("{name} is {} instead of gone", stack.status),
        )),
    }
}

/// Nothing that the nodes live in may be missing.
async fn count_network(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    let cloud = ctx.ports().cloud(&params.cluster);
    cloud.describe_vpc(&params.vpc).await?;
    let there: BTreeSet<String> = cloud
        .describe_subnets(&params.vpc)
        .await?
        .into_iter()
        .map(|subnet| subnet.id)
        .collect();
    match params.subnets.iter().find(|id| !there.contains(*id)) {
        None => Ok(()),
        Some(missing) => Err(StepError::failed(
            "subnet-lost",
            format!("subnet {missing} of {} is gone", params.vpc),
        )),
    }
}
