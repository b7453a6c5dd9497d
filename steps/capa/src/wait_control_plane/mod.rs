//! `capi.wait_control_plane/2`: three nodes of the control plane are ready, and etcd has exactly their members.
//!
//! * Effect: none when all goes well; the control plane's controller makes the nodes. A machine that does not join is deleted,
//!   so that its controller makes another one: see `late.rs`.
//! * Idempotency: a look; a deletion is bound to the Machine that was seen.
//! * Compensation: roll forward; by now there is no way back, and a machine without a vote is no loss.

mod late;

use drover_ports::Ports;
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Poll, Reach, Role,
    Step, StepError,
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

/// Parameters of `capi.wait_control_plane/2`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// The node that etcd lived on when the others began; it is never replaced.
    pub first_node: String,
    /// How many nodes.
    pub replicas: u32,
}

/// Output of `capi.wait_control_plane/2`.
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
        version: 2,
        summary: "waits until the control plane has all its nodes and etcd exactly their members; replaces one that does not join",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::VintageMc, Reach::CapiMc, Reach::Etcd],
        effects: &[Effect::once("replace-machine")],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::FinishCritical { max: minutes(120) },
        // Three machines that do not join, a quarter of an hour each, and a fourth one that does.
        timeouts: timeouts(minutes(110)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "capi-mc:get:KubeadmControlPlane",
            "capi-mc:list:Machine",
            "capi-mc:get:Machine",
            "capi-mc:delete:Machine",
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
        let mut memory: late::Memory = ctx.restored().unwrap_or_default();
        loop {
            // Each of these begins anew when a machine has come or was replaced, of which there are only so many.
            let seen = ctx
                .wait_until("all control-plane nodes", seconds(10), minutes(45), || {
                    look(ctx, params, &memory)
                })
                .await?;
            match seen {
                Seen::Whole(output) => return Ok(output),
                Seen::Begun(machine) => late::begin(ctx, &mut memory, machine).await?,
                Seen::Late(machine) => late::replace(ctx, params, &mut memory, &machine).await?,
            }
        }
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        Ok(match whole(ctx, params).await? {
            Ok(output) => Observed::Done(output),
            // A Machine that is gone is seen nowhere.
            Err(_) if late::has_replaced(ctx, params).await? => Observed::Partial,
            Err(_) => Observed::NotDone,
        })
    }
}

/// What ends a wait.
enum Seen {
    Whole(Output),
    Begun(String),
    Late(String),
}

async fn look(
    ctx: &Context<Ports>,
    params: &Params,
    memory: &late::Memory,
) -> Result<Poll<Seen>, StepError> {
    let missing = match whole(ctx, params).await? {
        Ok(output) => return Ok(Poll::Ready(Seen::Whole(output))),
        Err(missing) => missing,
    };
    Ok(match late::look(ctx, params, memory).await? {
        late::Finding::Begun(machine) => Poll::Ready(Seen::Begun(machine)),
        late::Finding::Late(machine) => Poll::Ready(Seen::Late(machine)),
        late::Finding::Wait(why) => Poll::Pending(why.unwrap_or(missing)),
    })
}

/// The nodes once all are there, or what is missing.
async fn whole(ctx: &Context<Ports>, params: &Params) -> Result<Result<Output, String>, StepError> {
    let object = control_plane::get(ctx, &params.namespace, &params.cluster).await?;
    let found = control_plane::whole(ctx, &object, params.replicas).await?;
    Ok(found.map(|nodes| Output { nodes }))
}
