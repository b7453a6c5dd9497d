//! `capi.wait_control_plane/1`: three nodes of the control plane are ready, and etcd has exactly their members.
//!
//! * Effect: none; the control plane's controller makes the nodes.
//! * Idempotency: a look.
//! * Compensation: roll forward; nothing was done.

use drover_ports::Ports;
use drover_step_api::{
    Class, Compensation, Context, Declaration, LossPolicy, Observed, Poll, Reach, Role, Step,
    StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::support::{
    cluster::still_there,
    control_plane,
    defaults::{RETRY, minutes, seconds, timeouts},
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct WaitControlPlane;

/// Parameters of `capi.wait_control_plane/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// How many nodes.
    pub replicas: u32,
}

/// Output of `capi.wait_control_plane/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The nodes, ordered by name.
    pub nodes: Vec<String>,
}

impl Step<Ports> for WaitControlPlane {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "capi.wait_control_plane",
        version: 1,
        summary: "waits until the control plane has all its nodes and etcd exactly their members",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::VintageMc, Reach::CapiMc, Reach::Etcd],
        effects: &[],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::FinishCritical { max: minutes(60) },
        timeouts: timeouts(minutes(50)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "capi-mc:get:KubeadmControlPlane",
            "capi-mc:list:Machine",
            "etcd:MemberList",
            "etcd:Status",
            "etcd:AlarmList",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster)
            .await
            .map(drop)
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        ctx.wait_until(
            "all control-plane nodes",
            seconds(10),
            minutes(45),
            || async {
                let object = control_plane::get(ctx, &params.namespace, &params.cluster).await?;
                let found = control_plane::whole(ctx, &object, params.replicas).await?;
                Ok(match found {
                    Ok(nodes) => Poll::Ready(Output { nodes }),
                    Err(missing) => Poll::Pending(missing),
                })
            },
        )
        .await
    }

    async fn observe(&self, _: &Context<Ports>, _: &Params) -> Result<Observed<Output>, StepError> {
        Ok(Observed::NotDone)
    }
}
