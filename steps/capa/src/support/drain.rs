//! Draining a node: nothing new comes, and what is there leaves as far as disruption budgets allow.
//!
//! DaemonSets' pods and mirror pods stay. A pod that nobody would make again is not lost without an operator's word, and a
//! budget is not overridden without one either: `force` names what may be.

use std::time::Duration;

use drover_model::disruption::{Leaving, selects};
use drover_ports::{DISRUPTION_BUDGET, ObjectRef, PortErrorKind, Ports};
use drover_step_api::{Context, Poll, StepError};
use serde_json::{Value, json};

use super::{
    cluster::name,
    defaults::{minutes, seconds},
    looks,
    nodes::{self, workload},
};
use crate::kinds;

/// So long a node may show no pod that leaves. Replacements elsewhere have to come up in that time.
const PATIENCE: Duration = minutes(10);

/// What a drain is asked to do.
pub(crate) struct Drain<'d> {
    pub(crate) cluster: &'d str,
    pub(crate) node: &'d str,
    /// `namespace/name` of budgets and of pods without a controller that may be overridden.
    pub(crate) force: &'d [String],
}

/// Why a node is not drained: a sentence; `None` when it is, or is gone.
///
/// # Errors
/// As the port.
pub(crate) async fn undrained(
    ctx: &Context<Ports>,
    cluster: &str,
    node: &str,
) -> Result<Option<String>, StepError> {
    let Some(found) = nodes::find(ctx, cluster, node).await? else {
        return Ok(None);
    };
    if !nodes::is_cordoned(&found) {
        return Ok(Some(format!("node {node} is not cordoned")));
    }
    let dead = !nodes::is_ready(&found);
    let pods = workload(ctx, cluster).pods_on(node).await?;
    let mut staying = pods.iter().filter(|pod| match Leaving::of(pod) {
        Leaving::Stays => false,
        Leaving::Ending => !dead,
        Leaving::Evicted | Leaving::Lost => true,
    });
    if let Some(pod) = staying.next() {
        return Ok(Some(format!("pod {} is on node {node}", title(pod))));
    }
    if dead {
        return Ok(None);
    }
    let volumes = attached(ctx, cluster, node).await?;
    Ok(volumes
        .first()
        .map(|volume| format!("volume {volume} is attached to node {node}")))
}

/// The first pod on a node that nobody would make again, and that may not be lost.
///
/// # Errors
/// As the port.
pub(crate) async fn unmanaged(
    ctx: &Context<Ports>,
    drain: &Drain<'_>,
) -> Result<Option<String>, StepError> {
    let pods = looks::patient(ctx, "the pods to be read", || async {
        Ok(workload(ctx, drain.cluster).pods_on(drain.node).await?)
    })
    .await?;
    Ok(pods
        .iter()
        .find(|pod| Leaving::of(pod) == Leaving::Lost && !drain.may(&title(pod)))
        .map(|pod| lost(drain, pod)))
}

fn lost(drain: &Drain<'_>, pod: &Value) -> String {
    let pod = title(pod);
    format!(
        "pod {pod} on node {} has no controller and would be lost; let its owner delete it, or retry with force: [\"{pod}\"]",
        drain.node
    )
}

/// Drains a node that is cordoned, and waits until its volumes are detached. On a node whose kubelet is silent nobody ends pods
/// or lets volumes go: there it is enough that all were asked to leave, and what ends them is the end of the instance.
///
/// # Errors
/// `Failed` with the codes `pdb-blocking`, `pod-not-leaving`, `pod-unmanaged` and `volume-attached`, each with who, where and
/// what to do; as the port.
pub(crate) async fn drain(ctx: &Context<Ports>, drain: &Drain<'_>) -> Result<(), StepError> {
    let found = nodes::find(ctx, drain.cluster, drain.node).await?;
    let Some(found) = found else {
        return Ok(());
    };
    let dead = !nodes::is_ready(&found);
    let what = format!("node {} to be drained", drain.node);
    let mut before = Round {
        left: usize::MAX,
        ..Round::default()
    };
    while before.left > 0 {
        let patience = PATIENCE.max(seconds(before.grace + 60));
        let least = before.left;
        let round = ctx
            .wait_until(&what, seconds(5), patience, || async {
                let round = round(ctx, drain, dead).await?;
                Ok(if round.left < least {
                    Poll::Ready(round)
                } else {
                    Poll::Pending(round.sentence())
                })
            })
            .await;
        before = match round {
            Err(error) if error.code() == "wait-timed-out" => {
                return Err(why_stuck(ctx, drain, error).await);
            }
            round => round?,
        };
    }
    if dead {
        return Ok(());
    }
    detached(ctx, drain).await
}

impl Drain<'_> {
    fn may(&self, name: &str) -> bool {
        self.force.iter().any(|forced| forced == name)
    }
}

/// What a look at the node's pods found, after each was asked to leave.
#[derive(Default)]
struct Round {
    /// Pods that have not left.
    left: usize,
    /// One that a budget holds.
    held: Option<Held>,
    /// One that is ending.
    ending: Option<String>,
    /// The longest grace of those, seconds.
    grace: u64,
}

struct Held {
    pod: String,
    /// `namespace/name`
    budgets: Vec<String>,
    why: String,
}

impl Round {
    fn sentence(&self) -> String {
        match (&self.held, &self.ending) {
            (Some(held), _) => format!(
                "{} pods left, {} is held: {}",
                self.left, held.pod, held.why
            ),
            (None, Some(pod)) => format!("{} pods left, {pod} is ending", self.left),
            (None, None) => format!("{} pods left", self.left),
        }
    }
}

async fn round(ctx: &Context<Ports>, drain: &Drain<'_>, dead: bool) -> Result<Round, StepError> {
    let mut round = Round::default();
    for pod in workload(ctx, drain.cluster).pods_on(drain.node).await? {
        match Leaving::of(&pod) {
            Leaving::Stays => continue,
            Leaving::Ending if dead => continue,
            Leaving::Ending => {
                let grace = &pod["metadata"]["deletionGracePeriodSeconds"];
                round.grace = round.grace.max(grace.as_u64().unwrap_or(0));
                round.ending = Some(title(&pod));
            }
            Leaving::Lost if drain.may(&title(&pod)) => delete(ctx, drain, &pod).await?,
            Leaving::Lost => return Err(StepError::failed("pod-unmanaged", lost(drain, &pod))),
            Leaving::Evicted => {
                if let Some(held) = evict(ctx, drain, &pod).await? {
                    round.held = Some(held);
                }
            }
        }
        round.left += 1;
    }
    Ok(round)
}

async fn evict(
    ctx: &Context<Ports>,
    drain: &Drain<'_>,
    pod: &Value,
) -> Result<Option<Held>, StepError> {
    let permit = ctx.permit_for("evict", uid(pod)).await?;
    let why = match workload(ctx, drain.cluster).evict(permit, pod).await {
        Err(error) if error.kind == PortErrorKind::Conflict && error.code == DISRUPTION_BUDGET => {
            error.message
        }
        done => return Ok(done.map(|()| None)?),
    };
    let budgets = budgets(ctx, drain, pod).await?;
    if !budgets.is_empty() && budgets.iter().all(|budget| drain.may(budget)) {
        delete(ctx, drain, pod).await?;
        return Ok(None);
    }
    Ok(Some(Held {
        pod: title(pod),
        budgets,
        why,
    }))
}

async fn delete(ctx: &Context<Ports>, drain: &Drain<'_>, pod: &Value) -> Result<(), StepError> {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let reference = ObjectRef::new(&kinds::pod(), namespace, &name(pod));
    let permit = ctx.permit_for("delete-pod", uid(pod)).await?;
    let kube = workload(ctx, drain.cluster);
    Ok(kube.delete_seen(permit, &reference, pod).await?)
}

/// Budgets that select a pod, `namespace/name`.
async fn budgets(
    ctx: &Context<Ports>,
    drain: &Drain<'_>,
    pod: &Value,
) -> Result<Vec<String>, StepError> {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let found = workload(ctx, drain.cluster)
        .list(&kinds::disruption_budget(), namespace, &[])
        .await?;
    Ok(found
        .iter()
        .filter(|budget| selects(&budget["spec"]["selector"], &pod["metadata"]["labels"]))
        .map(title)
        .collect())
}

/// What to tell an operator when no pod has left for too long. `waited` is what to say when another look fails.
async fn why_stuck(ctx: &Context<Ports>, drain: &Drain<'_>, waited: StepError) -> StepError {
    let node = drain.node;
    match round(ctx, drain, false).await {
        Ok(Round {
            held: Some(held), ..
        }) => StepError::failed(
            "pdb-blocking",
            format!(
                "pod {} on node {node} cannot leave: PodDisruptionBudget {} has not allowed it for {} minutes ({}); let its owner add replicas or relax it and retry, or retry with force: {} to delete the pod against it",
                held.pod,
                held.budgets.join(", "),
                PATIENCE.as_secs() / 60,
                held.why,
                json!(held.budgets),
            ),
        ),
        Ok(Round {
            ending: Some(pod), ..
        }) => StepError::failed(
            "pod-not-leaving",
            format!(
                "pod {pod} on node {node} was asked to end and does not; read its events and finalizers, end it, then retry"
            ),
        ),
        Ok(_) => waited,
        Err(error) => error,
    }
}

/// Volumes that are attached to a node.
async fn attached(
    ctx: &Context<Ports>,
    cluster: &str,
    node: &str,
) -> Result<Vec<String>, StepError> {
    let all = workload(ctx, cluster)
        .list(&kinds::volume_attachment(), "", &[])
        .await?;
    Ok(all
        .iter()
        .filter(|attachment| attachment["spec"]["nodeName"] == node)
        .map(|attachment| {
            let volume = &attachment["spec"]["source"]["persistentVolumeName"];
            volume.as_str().unwrap_or_default().to_owned()
        })
        .collect())
}

/// A volume can be on one node only: ended with it, its pod waits elsewhere for minutes.
async fn detached(ctx: &Context<Ports>, drain: &Drain<'_>) -> Result<(), StepError> {
    let node = drain.node;
    let what = format!("volumes to be detached from node {node}");
    let done = ctx
        .wait_until(&what, seconds(5), PATIENCE, || async {
            let volumes = attached(ctx, drain.cluster, node).await?;
            Ok(match volumes.first() {
                None => Poll::Ready(()),
                Some(volume) => Poll::Pending(format!("{volume} is attached")),
            })
        })
        .await;
    done.map_err(|error| match error.code() {
        "wait-timed-out" => StepError::failed(
            "volume-attached",
            format!(
                "{error}; look at the CSI controller's log and at the VolumeAttachment, then retry"
            ),
        ),
        _ => error,
    })
}

fn title(object: &Value) -> String {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    format!("{namespace}/{}", name(object))
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}
