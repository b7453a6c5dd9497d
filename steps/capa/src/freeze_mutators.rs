//! `vintage.freeze_mutators/1`: nothing inside the cluster changes its nodes by itself.
//!
//! * Effect: cluster-autoscaler has no pods. How many it had stands on its Deployment.
//! * Idempotency: one that has none stays so.
//! * Compensation: undo; it has as many as before, if this workflow took them.
//!
//! cluster-autoscaler answers a cordoned node with another one of the same pool, and takes nodes away whose pods have just left:
//! both undo what emptying a pool does.

use drover_ports::{Kube, ObjectRef, Ports, Via};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    kinds,
    support::{
        cluster::still_there,
        defaults::{RETRY, minutes, timeouts},
        replicas::{self, Stand},
    },
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct FreezeMutators;

/// Parameters of `vintage.freeze_mutators/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
}

/// Output of `vintage.freeze_mutators/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Deployments in kube-system that have no pods now.
    pub frozen: Vec<String>,
}

impl Step<Ports> for FreezeMutators {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "vintage.freeze_mutators",
        version: 1,
        summary: "stops what adds and removes nodes from inside the cluster",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::VintageMc, Reach::Workload],
        effects: &[Effect::once("stop"), Effect::once("start-again")],
        compensation: Compensation::Undo,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(10)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "workload:get:Deployment",
            "workload:patch:Deployment",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster)
            .await
            .map(drop)
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let autoscaler = autoscaler();
        replicas::stop(ctx, &workload(ctx, params), &autoscaler, "stop").await?;
        Ok(output())
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let found = workload(ctx, params).find(&autoscaler()).await?;
        Ok(match replicas::stand(ctx, found.as_ref()) {
            Stand::Runs => Observed::NotDone,
            Stand::Missing | Stand::Stopped | Stand::Idle => Observed::Done(output()),
        })
    }

    async fn compensate(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        replicas::start_again(ctx, &workload(ctx, params), &autoscaler(), "start-again").await
    }
}

fn output() -> Output {
    Output {
        frozen: vec![autoscaler().name],
    }
}

fn workload(ctx: &Context<Ports>, params: &Params) -> Kube {
    ctx.ports().workload(&params.cluster, Via::OldName)
}

/// The Deployment of cluster-autoscaler.
pub(crate) fn autoscaler() -> ObjectRef {
    ObjectRef::new(&kinds::deployment(), "kube-system", "cluster-autoscaler")
}
