//! `vintage.inventory/1`: what the cluster is, on both management clusters, in AWS and by itself, as one plan.
//!
//! * Effect: none; it only reads.
//! * Idempotency: the same cluster gives the same plan.
//! * Compensation: nothing to take back.
//!
//! Everything that can be read from what runs is read there, not from what it was configured with: issuers, audiences and
//! CIDRs come from the flags of the running API server and controller manager.

mod assemble;
mod read;

use drover_model::ClusterPlan;
use drover_ports::Ports;
use drover_step_api::{
    Class, Compensation, Context, Declaration, LossPolicy, Observed, Reach, Role, Step, StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::support::{
    defaults::{RETRY, minutes, timeouts},
    looks,
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Inventory;

/// Parameters of `vintage.inventory/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Installation, as it is called in the plan.
    pub installation: String,
    /// Cluster id.
    pub cluster: String,
}

impl Step<Ports> for Inventory {
    type Params = Params;
    type Output = ClusterPlan;

    const DECLARATION: Declaration = Declaration {
        name: "vintage.inventory",
        version: 1,
        summary: "reads what the cluster is and writes the plan of its migration",
        role: Role::Step,
        class: Class::Light,
        reach: &[
            Reach::VintageMc,
            Reach::CapiMc,
            Reach::Workload,
            Reach::Aws,
            Reach::Etcd,
        ],
        effects: &[],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(10)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:list:Cluster",
            "vintage-mc:list:AWSCluster",
            "vintage-mc:list:G8sControlPlane",
            "vintage-mc:list:AWSControlPlane",
            "vintage-mc:list:MachineDeployment",
            "vintage-mc:list:AWSMachineDeployment",
            "vintage-mc:list:CertConfig",
            "vintage-mc:list:App",
            "vintage-mc:get:NetworkPool",
            "vintage-mc:get:ConfigMap",
            "vintage-mc:get-data:Secret",
            "capi-mc:get:ConfigMap",
            "workload:list:Node",
            "workload:list:Pod",
            "ec2:DescribeVpcs",
            "ec2:DescribeSubnets",
            "ec2:DescribeRouteTables",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeInstances",
            "autoscaling:DescribeAutoScalingGroups",
            "etcd:MemberList",
        ],
    };

    async fn pre(&self, _: &Context<Ports>, _: &Params) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<ClusterPlan, StepError> {
        // So many calls that one of them often fails for a moment; a plan is read in one piece.
        let seen = looks::patient(ctx, "the cluster to be read", || {
            read::everything(ctx, &params.cluster)
        })
        .await?;
        assemble::plan(&params.installation, &seen)
    }

    async fn observe(
        &self,
        _: &Context<Ports>,
        _: &Params,
    ) -> Result<Observed<ClusterPlan>, StepError> {
        Ok(Observed::NotDone)
    }
}
