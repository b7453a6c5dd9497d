//! `etcd.join_first_member/1`: the first Cluster API machine boots and joins the vintage etcd and API.
//!
//! * Effect: the Secret with the join script, a touch of the KubeadmConfig so that it is looked at at once, and what follows
//!   from them: an instance, an etcd member, a Node, an API server. A machine that does not come up is replaced, held all
//!   the while.
//! * Idempotency: everything is found by name: the Secret, the mark on the KubeadmConfig, the member by its node.
//! * Compensation: undo; see `undo.rs`.
//!
//! The member joins without a vote and gets one when it has caught up, so quorum never depends on a machine that is still
//! booting. The control plane stays paused throughout: released, it would evict the vintage members ten seconds after the
//! Node has registered.

mod checks;
mod join;
mod replace;
mod undo;

use drover_model::Partition;
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
    etcd,
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct JoinFirstMember;

/// Parameters of `etcd.join_first_member/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// AWS partition: decides where images come from.
    pub partition: Partition,
    /// Name of vintage etcd.
    pub etcd: String,
    /// Names of the vintage members.
    pub vintage_members: Vec<String>,
    /// Load balancers of the vintage API.
    pub load_balancers: Vec<String>,
}

/// Output of `etcd.join_first_member/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The Machine.
    pub machine: String,
    /// Its EC2 instance.
    pub instance: String,
    /// Its Node, and the name of its etcd member.
    pub node: String,
}

impl Step<Ports> for JoinFirstMember {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "etcd.join_first_member",
        version: 1,
        summary: "lets the first machine boot and join the vintage etcd, with the control plane held",
        role: Role::Step,
        class: Class::EtcdSurgery,
        reach: &[
            Reach::VintageMc,
            Reach::CapiMc,
            Reach::Workload,
            Reach::Aws,
            Reach::Etcd,
        ],
        effects: &[
            Effect::once("write-files"),
            Effect::once("touch-bootstrap"),
            Effect::once("withdraw-files"),
            Effect::once("delete-machine"),
            Effect::once("release"),
            Effect::once("hold"),
            Effect::once("pause-cluster"),
            Effect::once("mark-leaving"),
            // A guard may put it back until it has seen the mark.
            Effect::repeatable("deregister"),
            Effect::once("stop-api-server"),
            Effect::once("move-leader"),
            Effect::once("remove-member"),
            Effect::once("terminate-instance"),
            Effect::once("delete-node"),
            Effect::once("delete-config-map"),
        ],
        compensation: Compensation::Undo,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(75)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "capi-mc:get:KubeadmControlPlane",
            "capi-mc:patch:KubeadmControlPlane",
            "capi-mc:get:Cluster",
            "capi-mc:patch:Cluster",
            "capi-mc:list:Machine",
            "capi-mc:get:Machine",
            "capi-mc:patch:Machine",
            "capi-mc:delete:Machine",
            "capi-mc:get:AWSMachine",
            "capi-mc:get:KubeadmConfig",
            "capi-mc:patch:KubeadmConfig",
            "capi-mc:get:Secret",
            "capi-mc:get-data:Secret",
            "capi-mc:apply:Secret",
            "capi-mc:delete:Secret",
            "workload:get:Job",
            "workload:create:Job",
            "workload:get:Node",
            "workload:delete:Node",
            "workload:get:Endpoints",
            "workload:get:ConfigMap",
            "workload:delete:ConfigMap",
            "workload:list:Pod",
            "ec2:DescribeInstances",
            "ec2:CreateTags",
            "ec2:TerminateInstances",
            "autoscaling:DescribeAutoScalingGroups",
            "elasticloadbalancing:DescribeLoadBalancers",
            "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
            "etcd:MemberList",
            "etcd:Status",
            "etcd:AlarmList",
            "etcd:MoveLeader",
            "etcd:MemberRemove",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster).await?;
        let members = ctx.ports().etcd(&params.cluster).member_list().await?;
        // Once the machine has joined, or begun to, these have been asked.
        if !etcd::others(&members, &params.vintage_members).is_empty() {
            return Ok(());
        }
        checks::vintage_etcd(ctx, params, &members).await?;
        checks::disarmed(ctx, params).await?;
        checks::no_migrator(ctx, params).await
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        join::run(ctx, params).await
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        join::observe(ctx, params).await
    }

    async fn compensate(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        undo::undo(ctx, params).await
    }
}
