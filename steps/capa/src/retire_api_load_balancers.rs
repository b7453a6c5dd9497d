//! `aws.retire_api_load_balancers/1`: the load balancers in front of the vintage API and of vintage etcd are gone.
//!
//! * Effect: each is emptied, finishes what it has begun, and is deleted.
//! * Idempotency: one that is not there is done.
//! * Compensation: roll forward. A new one would have another DNS name.

use drover_ports::{LoadBalancer, Ports};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    hand_over_dns::still_used,
    support::{
        cluster::still_there,
        defaults::{RETRY, minutes, timeouts},
    },
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct RetireApiLoadBalancers;

/// Parameters of `aws.retire_api_load_balancers/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// The load balancers.
    pub load_balancers: Vec<String>,
}

/// Output of `aws.retire_api_load_balancers/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Load balancers that are gone.
    pub retired: Vec<String>,
}

/// As long as connections may drain, minutes.
const DRAINING: u64 = 5;

impl Step<Ports> for RetireApiLoadBalancers {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "aws.retire_api_load_balancers",
        version: 1,
        summary: "deletes the load balancers that nobody uses any more",
        role: Role::Step,
        class: Class::CloudApi,
        reach: &[Reach::VintageMc, Reach::Aws],
        effects: &[Effect::once("empty"), Effect::once("delete")],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(30)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "cloudwatch:GetMetricStatistics",
            "elasticloadbalancing:DescribeLoadBalancers",
            "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
            "elasticloadbalancing:DeleteLoadBalancer",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster).await?;
        match still_used(ctx, &params.cluster, &params.load_balancers).await? {
            None => Ok(()),
            Some(why) => Err(StepError::refused(
                "still-used",
                format!("{why}; hand the name over first, and wait for its slowest clients"),
            )),
        }
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let there = there(ctx, params).await?;
        let full = there.iter().filter(|found| !found.instances.is_empty());
        let mut drains = false;
        for found in full {
            let permit = ctx.permit_for("empty", &found.name).await?;
            let cloud = ctx.ports().cloud(&params.cluster);
            cloud
                .deregister_instances_from_load_balancer(permit, &found.name, &found.instances)
                .await?;
            drains = true;
        }
        if drains {
            for minute in 0..DRAINING {
                ctx.progress(minute, DRAINING, "minutes for connections to end");
                ctx.sleep(minutes(1)).await?;
            }
        }
        for found in there {
            let permit = ctx.permit_for("delete", &found.name).await?;
            let cloud = ctx.ports().cloud(&params.cluster);
            cloud.delete_load_balancer(permit, &found.name).await?;
        }
        Ok(output(params))
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let there = there(ctx, params).await?;
        // The first one is emptied first.
        let untouched = there.len() == params.load_balancers.len()
            && there
                .first()
                .is_some_and(|first| !first.instances.is_empty());
        Ok(if there.is_empty() {
            Observed::Done(output(params))
        } else if untouched {
            Observed::NotDone
        } else {
            Observed::Partial
        })
    }
}

fn output(params: &Params) -> Output {
    Output {
        retired: params.load_balancers.clone(),
    }
}

/// Those that are still there.
async fn there(ctx: &Context<Ports>, params: &Params) -> Result<Vec<LoadBalancer>, StepError> {
    let cloud = ctx.ports().cloud(&params.cluster);
    let mut there = Vec::new();
    for load_balancer in &params.load_balancers {
        match cloud.describe_load_balancer(load_balancer).await {
            Ok(found) => there.push(found),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(there)
}
