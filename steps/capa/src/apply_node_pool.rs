//! `capi.apply_node_pool/1`: the Cluster API side of one node pool comes into being, without nodes.
//!
//! * Effect: its KubeadmConfig, AWSMachinePool and MachinePool, each marked with the workflow and the digest; what CAPA makes of
//!   them: an Auto Scaling group that wants nothing.
//! * Idempotency: an object that is there as it should be is left alone, also when its bounds have been moved since.
//! * Compensation: roll forward; pools come after the pivot.

use drover_model::{ClusterPlan, names, target};
use drover_ports::Ports;
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Poll, Reach, Role,
    Step, StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    generate_target::check_version,
    support::{
        applied,
        cluster::still_there,
        defaults::{RETRY, minutes, seconds, timeouts},
        groups,
    },
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct ApplyNodePool;

/// Parameters of `capi.apply_node_pool/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// The plan.
    pub plan: ClusterPlan,
    /// Digest that rendering the plan has to give.
    pub digest: String,
    /// Id of the pool.
    pub pool: String,
}

/// Output of `capi.apply_node_pool/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Name of the MachinePool, the AWSMachinePool and the Auto Scaling group.
    pub machine_pool: String,
}

impl Step<Ports> for ApplyNodePool {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "capi.apply_node_pool",
        version: 1,
        summary: "applies the Cluster API objects of one node pool, without nodes",
        role: Role::Step,
        class: Class::CloudApi,
        reach: &[Reach::VintageMc, Reach::CapiMc, Reach::Aws],
        effects: &[Effect::once("apply-object")],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(30)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "capi-mc:get:KubeadmConfig",
            "capi-mc:apply:KubeadmConfig",
            "capi-mc:get:AWSMachinePool",
            "capi-mc:apply:AWSMachinePool",
            "capi-mc:get:MachinePool",
            "capi-mc:apply:MachinePool",
            "autoscaling:DescribeAutoScalingGroups",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        let plan = &params.plan;
        check_version(plan)?;
        still_there(ctx, &plan.namespace, &plan.id).await?;
        objects(ctx, params)?;
        if target::render(plan).digest != params.digest {
            return Err(StepError::refused(
                "target-differs",
                "rendering the plan gives other objects than were reviewed; generate the target again",
            ));
        }
        Ok(())
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let objects = objects(ctx, params)?;
        let there = applied::look(ctx, &params.plan.installation, &objects).await?;
        if let Some(foreign) = there.foreign {
            return Err(StepError::refused("object-exists", foreign));
        }
        applied::apply(ctx, &objects).await?;
        let group = params.machine_pool();
        let what = format!("CAPA to make the group {group}");
        ctx.wait_until(&what, seconds(10), minutes(20), || async {
            Ok(if has_group(ctx, params).await? {
                Poll::Ready(())
            } else {
                Poll::Pending("it is not there".to_owned())
            })
        })
        .await?;
        Ok(params.output())
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let objects = objects(ctx, params)?;
        let there = applied::look(ctx, &params.plan.installation, &objects).await?;
        Ok(match there.foreign {
            Some(foreign) => Observed::Foreign(foreign),
            None if there.as_wanted == 0 => Observed::NotDone,
            None if there.as_wanted == objects.len() && has_group(ctx, params).await? => {
                Observed::Done(params.output())
            }
            None => Observed::Partial,
        })
    }
}

impl Params {
    fn machine_pool(&self) -> String {
        names::machine_pool(&self.plan.id, &self.pool)
    }

    fn output(&self) -> Output {
        Output {
            machine_pool: self.machine_pool(),
        }
    }
}

/// The pool's objects with their marks.
fn objects(ctx: &Context<Ports>, params: &Params) -> Result<Vec<Value>, StepError> {
    match target::render_pool(&params.plan, &params.pool) {
        Some(objects) => Ok(applied::marked(ctx, &params.digest, objects)),
        None => Err(StepError::refused(
            "pool-unknown",
            format!("the plan has no pool {:?}", params.pool),
        )),
    }
}

async fn has_group(ctx: &Context<Ports>, params: &Params) -> Result<bool, StepError> {
    let own = names::tag_capa_cluster(&params.plan.id);
    let tags = [(own.as_str(), "owned")];
    let groups = groups::by_tags(ctx, &params.plan.id, &tags).await?;
    let name = params.machine_pool();
    Ok(groups.iter().any(|group| group.name == name))
}
