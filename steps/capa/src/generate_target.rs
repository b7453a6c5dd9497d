//! `capi.generate_target/1`: what the cluster becomes, before anything is applied.
//!
//! * Effect: none; it renders the plan and says what came out.
//! * Idempotency: the same plan gives the same digest. The step that applies renders again and compares, so no document
//!   has to be passed on.
//! * Compensation: nothing to take back.

use drover_model::{
    ClusterPlan, TargetObject,
    target::{self, Lossy},
};
use drover_ports::Ports;
use drover_step_api::{
    Class, Compensation, Context, Declaration, LossPolicy, Observed, Role, Step, StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::support::defaults::{RETRY, minutes, timeouts};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct GenerateTarget;

/// Parameters of `capi.generate_target/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// The plan.
    pub plan: ClusterPlan,
}

/// Output of `capi.generate_target/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Digest of all objects.
    pub digest: String,
    /// Objects of the control plane, in the order in which they are applied.
    pub objects: Vec<TargetObject>,
    /// Objects of the node pools, applied later.
    pub pools: Vec<TargetObject>,
    /// Vintage settings that no object carries.
    pub lossy: Vec<Lossy>,
}

impl Step<Ports> for GenerateTarget {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "capi.generate_target",
        version: 1,
        summary: "renders the Cluster API objects and lists what they do not carry over",
        role: Role::Step,
        class: Class::Light,
        reach: &[],
        effects: &[],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(2)),
        retry: RETRY,
        permissions: &[],
    };

    async fn pre(&self, _: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        check_version(&params.plan)
    }

    async fn run(&self, _: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let target = target::render(&params.plan);
        let name = |objects: &[serde_json::Value]| objects.iter().map(TargetObject::of).collect();
        Ok(Output {
            objects: name(&target.objects),
            pools: name(&target.pools),
            digest: target.digest,
            lossy: target.lossy,
        })
    }

    async fn observe(&self, _: &Context<Ports>, _: &Params) -> Result<Observed<Output>, StepError> {
        Ok(Observed::NotDone)
    }
}

/// A plan that a newer version wrote means something else.
pub(crate) fn check_version(plan: &ClusterPlan) -> Result<(), StepError> {
    if plan.version == drover_model::PLAN_VERSION {
        return Ok(());
    }
    Err(StepError::refused(
        "plan-version",
        format!(
            "the plan has version {}, and this worker reads {}; run the inventory again",
            plan.version,
            drover_model::PLAN_VERSION
        ),
    ))
}
