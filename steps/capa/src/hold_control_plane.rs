//! `capi.hold_control_plane/1`: the control plane has its first Machine, and then does nothing until it is released.
//!
//! * Effect: the pause annotation on the KubeadmControlPlane.
//! * Idempotency: a paused one stays paused.
//! * Compensation: roll forward; taking the objects back needs it paused.

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
pub struct HoldControlPlane;

/// Parameters of `capi.hold_control_plane/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
}

/// Output of `capi.hold_control_plane/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The one Machine.
    pub machine: String,
}

impl Step<Ports> for HoldControlPlane {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "capi.hold_control_plane",
        version: 1,
        summary: "waits for the first Machine and pauses the control plane",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::VintageMc, Reach::CapiMc],
        effects: &[Effect::once("pause-control-plane")],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(30)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "capi-mc:get:KubeadmControlPlane",
            "capi-mc:patch:KubeadmControlPlane",
            "capi-mc:list:Machine",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster)
            .await
            .map(drop)
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let Params { cluster, namespace } = params;
        ctx.wait_until("the first Machine", seconds(3), minutes(20), || async {
            Ok(match only_machine(ctx, params).await? {
                Some(_) => Poll::Ready(()),
                None => Poll::Pending("the control plane has made none yet".to_owned()),
            })
        })
        .await?;
        control_plane::pause(ctx, namespace, cluster, ("pause-control-plane", "")).await?;
        // Once more: a second one may have come between the look and the pause.
        match only_machine(ctx, params).await? {
            Some(machine) => Ok(Output { machine }),
            None => Err(StepError::transient(
                "machine-gone",
                "the Machine is gone again",
            )),
        }
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let object = ctx
            .ports()
            .capi_mc()
            .find(&crate::kinds::control_plane_of(
                &params.namespace,
                &params.cluster,
            ))
            .await?;
        if !object.is_some_and(|object| control_plane::is_paused(&object)) {
            return Ok(Observed::NotDone);
        }
        Ok(match only_machine(ctx, params).await? {
            Some(machine) => Observed::Done(Output { machine }),
            None => Observed::Partial,
        })
    }
}

async fn only_machine(ctx: &Context<Ports>, params: &Params) -> Result<Option<String>, StepError> {
    let machines = control_plane::machines(ctx, &params.namespace, &params.cluster).await?;
    match machines.as_slice() {
        [] => Ok(None),
        [machine] => Ok(Some(machine.name.clone())),
        several => Err(StepError::failed(
            "several-machines",
            format!(
                "the control plane has {} Machines before it was held; look at its etcd before anything else",
                several.len()
            ),
        )),
    }
}
