//! Nodes of the cluster: cordoned, looked at, taken away.

use drover_ports::{Kube, ObjectRef, Ports, Via};
use drover_step_api::{Context, StepError};
use serde_json::{Value, json};

use super::looks;
use crate::kinds;

/// The cluster's API by the name that has the new nodes behind it, whoever is behind the old one.
pub(crate) fn workload(ctx: &Context<Ports>, cluster: &str) -> Kube {
    ctx.ports().workload(cluster, Via::NewName)
}

fn reference(node: &str) -> ObjectRef {
    ObjectRef::new(&kinds::node(), "", node)
}

/// A Node; `None` when there is none.
///
/// # Errors
/// As the port.
pub(crate) async fn find(
    ctx: &Context<Ports>,
    cluster: &str,
    node: &str,
) -> Result<Option<Value>, StepError> {
    looks::patient(ctx, "the Node to be read", || async {
        Ok(workload(ctx, cluster).find(&reference(node)).await?)
    })
    .await
}

/// True while the scheduler gives a Node nothing.
pub(crate) fn is_cordoned(node: &Value) -> bool {
    node["spec"]["unschedulable"] == true
}

/// True while its kubelet is heard of.
pub(crate) fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Keeps the scheduler from a node, under the effect `cordon`. One that is gone is left alone.
///
/// # Errors
/// As the port.
pub(crate) async fn cordon(
    ctx: &Context<Ports>,
    cluster: &str,
    node: &str,
) -> Result<(), StepError> {
    let found = find(ctx, cluster, node).await?;
    if found.is_none_or(|found| is_cordoned(&found)) {
        return Ok(());
    }
    let permit = ctx.permit_for("cordon", node).await?;
    let patch = json!({"spec": {"unschedulable": true}});
    let done = workload(ctx, cluster)
        .merge_patch(permit, &reference(node), patch, None)
        .await;
    match done {
        Err(error) if error.is_not_found() => Ok(()),
        done => Ok(done.map(drop)?),
    }
}

/// Deletes a Node, under the effect `delete-node`; one that is gone is left alone.
///
/// # Errors
/// As the port.
pub(crate) async fn delete_node(
    ctx: &Context<Ports>,
    cluster: &str,
    node: &str,
) -> Result<(), StepError> {
    if let Some(seen) = find(ctx, cluster, node).await? {
        let permit = ctx.permit_for("delete-node", node).await?;
        let kube = workload(ctx, cluster);
        kube.delete_seen(permit, &reference(node), &seen).await?;
    }
    Ok(())
}
