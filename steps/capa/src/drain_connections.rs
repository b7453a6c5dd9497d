//! `aws.drain_connections/1`: whoever leaves the vintage API's load balancers finishes what it has begun.
//!
//! * Effect: connection draining of the load balancers is on.
//! * Idempotency: one that drains stays as it is.
//! * Compensation: undo; those that did not drain before do not drain again, as the checkpoint says.
//!
//! Without it a classic load balancer cuts the connections of an instance in the moment in which it is deregistered, and a
//! request that is on its way fails. See "Configure connection draining" in the guide of classic load balancers.

use std::collections::BTreeSet;

use drover_ports::{LoadBalancerAttributes, Ports};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::support::{
    cluster::still_there,
    defaults::{RETRY, minutes, timeouts},
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct DrainConnections;

/// Parameters of `aws.drain_connections/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// The load balancers.
    pub load_balancers: Vec<String>,
}

/// Output of `aws.drain_connections/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Load balancers that drain.
    pub draining: Vec<String>,
}

/// Those that did not drain before.
#[derive(Debug, Serialize, Deserialize)]
struct Before {
    cutting: BTreeSet<String>,
}

/// How long connections may live on, seconds. Longer than any request of the Kubernetes API but a watch, which begins anew by
/// itself.
const SECONDS: u32 = 300;

impl Step<Ports> for DrainConnections {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "aws.drain_connections",
        version: 1,
        summary: "lets the vintage API's load balancers drain connections instead of cutting them",
        role: Role::Step,
        class: Class::CloudApi,
        reach: &[Reach::VintageMc, Reach::Aws],
        effects: &[Effect::once("drain"), Effect::once("cut-again")],
        compensation: Compensation::Undo,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(10)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "elasticloadbalancing:DescribeLoadBalancerAttributes",
            "elasticloadbalancing:ModifyLoadBalancerAttributes",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster)
            .await
            .map(drop)
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let cutting = cutting(ctx, params).await?;
        if ctx.restored::<Before>().is_none() {
            let before = Before {
                cutting: cutting.clone(),
            };
            ctx.checkpoint(&before).await?;
        }
        for load_balancer in &cutting {
            set(ctx, params, load_balancer, "drain", Some(SECONDS)).await?;
        }
        Ok(output(params))
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let cutting = cutting(ctx, params).await?.len();
        Ok(match cutting {
            0 => Observed::Done(output(params)),
            n if n == params.load_balancers.len() => Observed::NotDone,
            _ => Observed::Partial,
        })
    }

    async fn compensate(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        let Some(before) = ctx.restored::<Before>() else {
            return Ok(());
        };
        let cutting = cutting(ctx, params).await?;
        for load_balancer in before.cutting.difference(&cutting) {
            set(ctx, params, load_balancer, "cut-again", None).await?;
        }
        Ok(())
    }
}

fn output(params: &Params) -> Output {
    Output {
        draining: params.load_balancers.clone(),
    }
}

/// Load balancers that do not drain.
async fn cutting(ctx: &Context<Ports>, params: &Params) -> Result<BTreeSet<String>, StepError> {
    let cloud = ctx.ports().cloud(&params.cluster);
    let mut cutting = BTreeSet::new();
    for load_balancer in &params.load_balancers {
        let attributes = cloud
            .describe_load_balancer_attributes(load_balancer)
            .await?;
        if attributes.connection_draining.is_none() {
            cutting.insert(load_balancer.clone());
        }
    }
    Ok(cutting)
}

async fn set(
    ctx: &Context<Ports>,
    params: &Params,
    load_balancer: &str,
    effect: &str,
    connection_draining: Option<u32>,
) -> Result<(), StepError> {
    let permit = ctx.permit_for(effect, load_balancer).await?;
    let attributes = LoadBalancerAttributes {
        connection_draining,
    };
    let cloud = ctx.ports().cloud(&params.cluster);
    Ok(cloud
        .modify_load_balancer_attributes(permit, load_balancer, attributes)
        .await?)
}
