//! A first machine that does not come up is replaced without ever letting the control plane go.
//!
//! Only a released control plane makes another Machine, and a released control plane is what the whole order of steps avoids.
//! So the files go first: without them the next machine cannot boot either, and the control plane can be released for the
//! seconds that it needs to make one, paused again, and only then does the join go on.

use drover_ports::{ObjectRef, Ports};
use drover_step_api::{Context, Poll, StepError};
use serde_json::json;

use super::{
    Params,
    join::{Dead, Memory, files_secret, instances},
};
use crate::{
    kinds,
    support::{
        cluster::annotation,
        control_plane,
        defaults::{minutes, seconds},
        etcd,
    },
};

/// Annotation by which the control plane's controller holds up the end of a Machine.
const PRE_TERMINATE: &str = "pre-terminate.delete.hook.machine.cluster.x-k8s.io/kcp-cleanup";

/// The one Machine, with the control plane paused. Makes both so after an interrupted replacement.
pub(super) async fn one_held_machine(
    ctx: &Context<Ports>,
    params: &Params,
    memory: &Memory,
) -> Result<String, StepError> {
    let Params {
        cluster, namespace, ..
    } = params;
    let machines = control_plane::machines(ctx, namespace, cluster).await?;
    if machines.len() > 1 {
        return Err(StepError::failed(
            "several-machines",
            format!(
                "the control plane has {} Machines while only one may exist",
                machines.len()
            ),
        ));
    }
    if machines.is_empty() {
        let Some(Dead { machine, .. }) = &memory.replacing else {
            return Err(StepError::failed(
                "machine-missing",
                "the control plane has no Machine; hold it again once it has one",
            ));
        };
        withdraw_files(ctx, params, machine).await?;
        control_plane::release(ctx, namespace, cluster, ("release", machine)).await?;
    }
    let machine = ctx
        .wait_until("the next Machine", seconds(2), minutes(10), || async {
            let machines = control_plane::machines(ctx, namespace, cluster).await?;
            Ok(match machines.into_iter().next() {
                Some(machine) => Poll::Ready(machine),
                None => Poll::Pending("the control plane has made none yet".to_owned()),
            })
        })
        .await?;
    if !control_plane::is_paused(&control_plane::get(ctx, namespace, cluster).await?) {
        if memory.replacing.is_none() {
            return Err(StepError::refused(
                "not-held",
                "the control plane is not paused, so it would evict the vintage members; hold it first",
            ));
        }
        refuse_late_hold(ctx, params, machine.node.is_some()).await?;
        control_plane::pause(ctx, namespace, cluster, ("hold", &machine.name)).await?;
    }
    Ok(machine.name)
}

/// A replacement that is found released with a machine that has joined may be evicting already: a person has to look.
async fn refuse_late_hold(
    ctx: &Context<Ports>,
    params: &Params,
    has_node: bool,
) -> Result<(), StepError> {
    let members = ctx.ports().etcd(&params.cluster).member_list().await?;
    if has_node || !etcd::others(&members, &params.vintage_members).is_empty() {
        return Err(StepError::failed(
            "not-held",
            "the control plane is not paused although its first machine has joined; look at the etcd members",
        ));
    }
    Ok(())
}

/// Takes the files, the Machine and its instance away.
pub(super) async fn take_away(
    ctx: &Context<Ports>,
    params: &Params,
    Dead { machine, instance }: &Dead,
) -> Result<(), StepError> {
    withdraw_files(ctx, params, machine).await?;
    let object = ObjectRef::new(&kinds::machine(), &params.namespace, machine);
    let capi = ctx.ports().capi_mc();
    if let Some(found) = capi.find(&object).await? {
        // The paused controller would hold its end up for ever, because of an etcd member that it does not have.
        if annotation(&found, PRE_TERMINATE).is_some() {
            let permit = ctx
                .permit_for("delete-machine", &format!("{machine}/hook"))
                .await?;
            let patch = json!({"metadata": {"annotations": {PRE_TERMINATE: null}}});
            capi.merge_patch(permit, &object, patch, None).await?;
        }
        let permit = ctx.permit_for("delete-machine", machine).await?;
        capi.delete(permit, &object).await?;
    }
    ctx.wait_until(
        "the dead machine to go",
        seconds(10),
        minutes(10),
        || async {
            let there = instances(ctx, params)
                .await?
                .into_iter()
                .any(|other| other.id == *instance);
            let known = ctx.ports().capi_mc().find(&object).await?.is_some();
            Ok(if there || known {
                Poll::Pending(format!("{instance} is still there"))
            } else {
                Poll::Ready(())
            })
        },
    )
    .await
}

async fn withdraw_files(
    ctx: &Context<Ports>,
    params: &Params,
    machine: &str,
) -> Result<(), StepError> {
    let object = files_secret(params);
    let capi = ctx.ports().capi_mc();
    let Some(seen) = capi.find(&object).await? else {
        return Ok(());
    };
    let permit = ctx.permit_for("withdraw-files", machine).await?;
    Ok(capi.delete_seen(permit, &object, &seen).await?)
}
