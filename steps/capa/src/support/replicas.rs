//! Deployments that are set to no pods for a while, and what they had before.

use drover_model::names;
use drover_ports::{Kube, ObjectRef, Ports};
use drover_step_api::{Context, Poll, StepError};
use serde_json::{Value, json};

use super::{
    cluster::annotation,
    defaults::{minutes, seconds},
};

/// Annotation: how many pods the Deployment had.
const REPLICAS: &str = "drover.giantswarm.io/replicas";

/// How a Deployment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// There is none.
    Missing,
    /// It has pods, or should have.
    Runs,
    /// It has none, and this workflow is why.
    Stopped,
    /// It has none, and had none before.
    Idle,
}

/// How it stands.
pub(crate) fn stand(ctx: &Context<Ports>, found: Option<&Value>) -> Stand {
    match found {
        None => Stand::Missing,
        Some(found) if found["spec"]["replicas"] != 0 => Stand::Runs,
        Some(found) if is_ours(ctx, found) => Stand::Stopped,
        Some(_) => Stand::Idle,
    }
}

fn is_ours(ctx: &Context<Ports>, object: &Value) -> bool {
    annotation(object, names::MIGRATION) == Some(ctx.workflow())
}

/// Takes a Deployment's pods away under `effect`, and waits until they are gone. One that is not there has none.
///
/// # Errors
/// `Transient` when they do not go; as the port.
pub(crate) async fn stop(
    ctx: &Context<Ports>,
    kube: &Kube,
    deployment: &ObjectRef,
    effect: &str,
) -> Result<(), StepError> {
    let Some(found) = kube.find(deployment).await? else {
        return Ok(());
    };
    if stand(ctx, Some(&found)) == Stand::Runs {
        let replicas = found["spec"]["replicas"].as_u64().unwrap_or(1);
        let patch = json!({
            "metadata": {"annotations": {
                REPLICAS: replicas.to_string(),
                names::MIGRATION: ctx.workflow(),
            }},
            "spec": {"replicas": 0},
        });
        let permit = ctx.permit_for(effect, &deployment.name).await?;
        kube.merge_patch(permit, deployment, patch, None).await?;
    }
    let what = format!("the pods of {} to go", deployment.name);
    ctx.wait_until(&what, seconds(5), minutes(5), || async {
        let found = kube.find(deployment).await?;
        let left = found.and_then(|found| found["status"]["replicas"].as_u64());
        Ok(match left.unwrap_or(0) {
            0 => Poll::Ready(()),
            left => Poll::Pending(format!("{left} are there")),
        })
    })
    .await
}

/// Gives a Deployment its pods back under `effect`, if this workflow took them.
///
/// # Errors
/// As the port.
pub(crate) async fn start_again(
    ctx: &Context<Ports>,
    kube: &Kube,
    deployment: &ObjectRef,
    effect: &str,
) -> Result<(), StepError> {
    match kube.find(deployment).await? {
        Some(found) if is_ours(ctx, &found) => {
            give_pods(ctx, kube, (deployment, &found), effect).await
        }
        _ => Ok(()),
    }
}

/// Whether a migration took a Deployment's pods, whichever it was.
pub(crate) fn is_held(found: Option<&Value>) -> bool {
    found.is_some_and(|found| annotation(found, REPLICAS).is_some())
}

/// Gives a Deployment as it was found its pods back under `effect`.
///
/// # Errors
/// As the port.
pub(crate) async fn give_pods(
    ctx: &Context<Ports>,
    kube: &Kube,
    (deployment, found): (&ObjectRef, &Value),
    effect: &str,
) -> Result<(), StepError> {
    let before = annotation(found, REPLICAS).and_then(|text| text.parse::<u64>().ok());
    let patch = json!({
        "metadata": {"annotations": {REPLICAS: null, names::MIGRATION: null}},
        "spec": {"replicas": before.unwrap_or(1)},
    });
    let permit = ctx.permit_for(effect, &deployment.name).await?;
    kube.merge_patch(permit, deployment, patch, None).await?;
    Ok(())
}
