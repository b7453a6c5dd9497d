//! The KubeadmControlPlane and its Machines.

use drover_model::cr::keys;
use drover_ports::{ObjectRef, PortErrorKind, Ports};
use drover_step_api::{Context, StepError};
use serde_json::{Value, json};

use super::{
    cluster::{annotation, name},
    etcd,
};
use crate::kinds;

/// Its controller writes a status now and then; so often in a row that is no accident any more.
const CONFLICTS_MAX: u32 = 5;

/// The KubeadmControlPlane.
///
/// # Errors
/// `Failed` when it does not exist.
pub(crate) async fn get(
    ctx: &Context<Ports>,
    namespace: &str,
    cluster: &str,
) -> Result<Value, StepError> {
    let object = kinds::control_plane_of(namespace, cluster);
    Ok(ctx.ports().capi_mc().get(&object).await?)
}

/// True while its controller leaves it alone.
pub(crate) fn is_paused(object: &Value) -> bool {
    annotation(object, keys::PAUSED).is_some()
}

/// Pauses it, under the effect `effect`; one that is paused stays so.
///
/// # Errors
/// As [`get`] and as the port.
pub(crate) async fn pause(
    ctx: &Context<Ports>,
    namespace: &str,
    cluster: &str,
    effect: (&str, &str),
) -> Result<(), StepError> {
    set_pause(ctx, namespace, cluster, effect, true).await
}

/// Lets its controller act again; one that is not paused stays so.
///
/// # Errors
/// As [`get`] and as the port.
pub(crate) async fn release(
    ctx: &Context<Ports>,
    namespace: &str,
    cluster: &str,
    effect: (&str, &str),
) -> Result<(), StepError> {
    set_pause(ctx, namespace, cluster, effect, false).await
}

/// The patch holds for the object as it was seen only: one that arrives late finds another version and does nothing. For
/// a release that is vital, since what it lets go evicts the vintage members.
async fn set_pause(
    ctx: &Context<Ports>,
    namespace: &str,
    cluster: &str,
    (effect, item): (&str, &str),
    paused: bool,
) -> Result<(), StepError> {
    let object = kinds::control_plane_of(namespace, cluster);
    let value = if paused { json!("true") } else { Value::Null };
    let patch = json!({"metadata": {"annotations": {keys::PAUSED: value}}});
    let mut conflicts = 0;
    loop {
        let seen = get(ctx, namespace, cluster).await?;
        if is_paused(&seen) == paused {
            return Ok(());
        }
        let version = seen["metadata"]["resourceVersion"].as_str();
        let permit = ctx.permit_for(effect, item).await?;
        let capi = ctx.ports().capi_mc();
        match capi
            .merge_patch(permit, &object, patch.clone(), version)
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

/// One Machine of the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Its name.
    pub(crate) name: String,
    /// Its Node's name, once Cluster API has matched them.
    pub(crate) node: Option<String>,
    /// Whether it has an instance.
    pub(crate) has_instance: bool,
}

/// The control plane's Machines, ordered by name; those that are being deleted are left out.
///
/// # Errors
/// As the port.
pub(crate) async fn machines(
    ctx: &Context<Ports>,
    namespace: &str,
    cluster: &str,
) -> Result<Vec<Machine>, StepError> {
    let labels = [
        (kinds::CAPI_CLUSTER_LABEL, cluster),
        ("cluster.x-k8s.io/control-plane", ""),
    ];
    let found = ctx
        .ports()
        .capi_mc()
        .list(&kinds::machine(), namespace, &labels)
        .await?;
    Ok(found
        .iter()
        .filter(|machine| machine["metadata"].get("deletionTimestamp").is_none())
        .map(|machine| Machine {
            name: name(machine),
            node: machine["status"]["nodeRef"]["name"]
                .as_str()
                .map(str::to_owned),
            has_instance: machine["spec"]["providerID"].is_string(),
        })
        .collect())
}

/// The EC2 instance id of a Machine, once it has one.
///
/// # Errors
/// As the port.
pub(crate) async fn instance_of(
    ctx: &Context<Ports>,
    namespace: &str,
    machine: &str,
) -> Result<Option<String>, StepError> {
    let object = ObjectRef::new(&kinds::capa_machine(), namespace, machine);
    let found = ctx.ports().capi_mc().find(&object).await?;
    Ok(found.and_then(|machine| {
        let provider_id = machine["spec"]["providerID"].as_str()?;
        provider_id.rsplit('/').next().map(str::to_owned)
    }))
}

/// Its nodes, ordered by name, when it has as many as it is to have, all are ready and of its newest spec, and etcd has exactly
/// their members and is whole. Otherwise what is missing.
///
/// # Errors
/// As the port.
pub(crate) async fn whole(
    ctx: &Context<Ports>,
    object: &Value,
    replicas: u32,
) -> Result<Result<Vec<String>, String>, StepError> {
    if let Some(missing) = missing(object, replicas) {
        return Ok(Err(missing));
    }
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    let cluster = name(object);
    let machines = machines(ctx, namespace, &cluster).await?;
    let mut nodes: Vec<String> = machines
        .into_iter()
        .filter_map(|machine| machine.node)
        .collect();
    nodes.sort();
    let members = ctx.ports().etcd(&cluster).member_list().await?;
    let mut names: Vec<String> = members.iter().map(|member| member.name.clone()).collect();
    names.sort();
    if names != nodes {
        return Ok(Err(format!("etcd has the members {}", names.join(", "))));
    }
    let ailment = etcd::ailment(ctx, &cluster, &members).await?;
    Ok(ailment.map_or(Ok(nodes), Err))
}

/// What its status lacks.
fn missing(object: &Value, replicas: u32) -> Option<String> {
    let status = &object["status"];
    // Counts of the spec before say nothing of the one that stands there now.
    if status["observedGeneration"].as_u64() < object["metadata"]["generation"].as_u64() {
        return Some("its controller has not seen its newest spec yet".to_owned());
    }
    let counts = ["replicas", "readyReplicas", "updatedReplicas"];
    if let Some(name) = counts.iter().find(|name| status[**name] != replicas) {
        let count = status[*name].as_u64().unwrap_or(0);
        return Some(format!("{name} is {count} of {replicas}"));
    }
    ["Available", "EtcdClusterHealthy"]
        .iter()
        .find_map(|wanted| {
            let holds = status["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|condition| condition["type"] == *wanted && condition["status"] == "True");
            (!holds).then(|| format!("{wanted} is not true"))
        })
}
