//! Rollouts of a control plane: its spec is changed, and its controller replaces one Machine after the other.
//!
//! Weeks after a migration nothing of the vintage side is there to be asked, so the control plane is found by its cluster's
//! label. A rollout begins only where everything is whole: it takes a member of etcd away for each that it adds.

use drover_ports::{ObjectRef, PortErrorKind, Ports};
use drover_step_api::{Context, Poll, StepError};
use serde_json::{Value, json};

use super::{
    cluster::name,
    control_plane,
    defaults::{minutes, seconds},
    gitops, looks,
};
use crate::kinds;

/// Its controller writes a status now and then; so often in a row that is no accident any more.
const CONFLICTS_MAX: u32 = 5;

/// The KubeadmControlPlane of a cluster.
///
/// # Errors
/// `Gone` when there is none, or it is being deleted.
pub(crate) async fn find(ctx: &Context<Ports>, cluster: &str) -> Result<Value, StepError> {
    let labels = [(kinds::CAPI_CLUSTER_LABEL, cluster)];
    let found = ctx
        .ports()
        .capi_mc()
        .list(&kinds::control_plane(), "", &labels)
        .await?;
    found
        .into_iter()
        .find(|object| {
            name(object) == cluster && object["metadata"].get("deletionTimestamp").is_none()
        })
        .ok_or_else(|| {
            StepError::gone(format!(
                "there is no KubeadmControlPlane of {cluster}, or it is being deleted"
            ))
        })
}

/// What its machines are made from.
pub(crate) fn spec(object: &Value) -> &Value {
    &object["spec"]["kubeadmConfigSpec"]
}

/// What it is called.
pub(crate) fn reference(object: &Value) -> ObjectRef {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    kinds::control_plane_of(namespace, &name(object))
}

/// Refuses where a rollout must not begin.
///
/// # Errors
/// `Refused` with the reason; as the port.
pub(crate) async fn refuse_unfit(ctx: &Context<Ports>, object: &Value) -> Result<(), StepError> {
    let cluster = name(object);
    let refused = |code: &'static str, why: String| Err(StepError::refused(code, why));
    if control_plane::is_paused(object) {
        return refused(
            "control-plane-paused",
            format!("the control plane of {cluster} is paused: nobody would replace its machines"),
        );
    }
    let owner = gitops::active_owner(&ctx.ports().capi_mc(), &[object]).await?;
    if let Some(owner) = owner {
        return refused(
            "applied-by-gitops",
            format!(
                "{owner} applies the control plane of {cluster} and would take the change back; change it in Git, then retry: this step waits for the rollout then"
            ),
        );
    }
    let look = looks::patient(ctx, "the control plane to be read", || {
        control_plane::whole(ctx, object, replicas(object))
    });
    match look.await? {
        Ok(_) => Ok(()),
        Err(why) => refused(
            "control-plane-not-whole",
            format!("no rollout begins while the control plane of {cluster} is not whole: {why}"),
        ),
    }
}

/// How many machines it is to have.
pub(crate) fn replicas(object: &Value) -> u32 {
    let wanted = object["spec"]["replicas"].as_u64().unwrap_or(1);
    u32::try_from(wanted).unwrap_or(u32::MAX)
}

/// Changes what its machines are made from, as it was seen: a patch that arrives late finds another version and does nothing.
/// `change` gives the merge patch of `kubeadmConfigSpec`, or nothing when all is as wanted.
///
/// # Errors
/// As [`find`], `change` and the port.
pub(crate) async fn edit(
    ctx: &Context<Ports>,
    cluster: &str,
    effect: &str,
    change: impl Fn(&Value) -> Result<Option<Value>, StepError> + Send,
) -> Result<(), StepError> {
    let mut conflicts = 0;
    loop {
        let seen = find(ctx, cluster).await?;
        let Some(patch) = change(spec(&seen))? else {
            return Ok(());
        };
        let patch = json!({"spec": {"kubeadmConfigSpec": patch}});
        let version = seen["metadata"]["resourceVersion"].as_str();
        let permit = ctx.permit(effect).await?;
        let capi = ctx.ports().capi_mc();
        match capi
            .merge_patch(permit, &reference(&seen), patch, version)
            .await
        {
            // Its controller has written to it in between.
            Err(error) if error.kind == PortErrorKind::Conflict && conflicts < CONFLICTS_MAX => {
                conflicts += 1;
            }
            done => return Ok(done.map(drop)?),
        }
    }
}

/// Waits until every machine is of the newest spec and everything is whole; the nodes.
///
/// # Errors
/// `Transient` when that takes too long; as [`find`].
pub(crate) async fn wait(ctx: &Context<Ports>, cluster: &str) -> Result<Vec<String>, StepError> {
    ctx.wait_until(
        "the control plane to be replaced",
        seconds(15),
        minutes(100),
        || async {
            let object = find(ctx, cluster).await?;
            let found = control_plane::whole(ctx, &object, replicas(&object)).await?;
            Ok(match found {
                Ok(nodes) => Poll::Ready(nodes),
                Err(missing) => Poll::Pending(missing),
            })
        },
    )
    .await
}
