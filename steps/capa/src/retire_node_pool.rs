//! `vintage.retire_node_pool/1`: the Auto Scaling group of an empty vintage pool goes.
//!
//! * Effect: the group is gone. Its launch template and security group stay: Cluster API nodes use the group's.
//! * Idempotency: a group that is gone is done.
//! * Compensation: roll forward; its nodes are gone already.

use drover_ports::Ports;
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
pub struct RetireNodePool;

/// Parameters of `vintage.retire_node_pool/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// Id of the pool.
    pub pool: String,
}

/// Output of `vintage.retire_node_pool/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Id of the pool.
    pub pool: String,
}

impl Step<Ports> for RetireNodePool {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "vintage.retire_node_pool",
        version: 1,
        summary: "deletes the Auto Scaling group of an empty vintage node pool",
        role: Role::Step,
        class: Class::CloudApi,
        reach: &[Reach::VintageMc, Reach::Aws],
        effects: &[Effect::once("delete-group")],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(20)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DeleteAutoScalingGroup",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster).await?;
        let groups = groups::by_tags(ctx, &params.cluster, &params.tags()).await?;
        match groups.iter().find(|group| !group.instances.is_empty()) {
            None => Ok(()),
            Some(group) => Err(StepError::refused(
                "pool-not-empty",
                format!(
                    "group {} of pool {} has {} instances; replace its nodes first",
                    group.name,
                    params.pool,
                    group.instances.len()
                ),
            )),
        }
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let tags = params.tags();
        for group in groups::by_tags(ctx, &params.cluster, &tags).await? {
            groups::delete(ctx, &params.cluster, &tags, &group.name).await?;
        }
        Ok(params.output())
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let groups = groups::by_tags(ctx, &params.cluster, &params.tags()).await?;
        Ok(if groups.is_empty() {
            Observed::Done(params.output())
        } else {
            Observed::NotDone
        })
    }
}

impl Params {
    fn tags(&self) -> [(&str, &str); 3] {
        groups::tags_of_pool(&self.cluster, &self.pool)
    }

    fn output(&self) -> Output {
        Output {
            pool: self.pool.clone(),
        }
    }
}
