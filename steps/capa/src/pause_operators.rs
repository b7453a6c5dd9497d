//! `vintage.pause_operators/1`: every vintage operator leaves the cluster's objects alone.
//!
//! * Effect: the pause annotations on every vintage object of the cluster; on the AWSCluster also what keeps irsa-operator
//!   from taking the OIDC provider away. Each object notes which keys were added to it.
//! * Idempotency: an object that is paused stays as it is, whoever paused it.
//! * Compensation: undo; takes the noted keys away, and nothing else.
//!
//! Done means proved: for two of the operators' resync periods nobody has written to any of the objects.

use std::{collections::BTreeMap, time::Duration};

use drover_model::{TargetObject, cr::keys, names};
use drover_ports::{Gvk, ObjectRef, Ports};
use drover_step_api::{
    Certainty, Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Poll,
    Reach, Role, Step, StepError, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    kinds,
    support::{
        cluster::{annotation, name, still_there},
        defaults::{RETRY, minutes, seconds, timeouts},
    },
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct PauseOperators;

/// Parameters of `vintage.pause_operators/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
}

/// Output of `vintage.pause_operators/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The objects that are paused.
    pub objects: Vec<TargetObject>,
}

/// Annotation: labels and annotations that this step has added to the object, `annotation:KEY` or `label:KEY`,
/// separated by commas.
const ADDED: &str = "drover.giantswarm.io/added";

/// Twice the period after which operatorkit looks at an object again.
const QUIET: Duration = minutes(10);

impl Step<Ports> for PauseOperators {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "vintage.pause_operators",
        version: 1,
        summary: "pauses the vintage operators for all objects of the cluster and proves that they stay away",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::VintageMc, Reach::Aws],
        effects: &[Effect::once("pause"), Effect::once("resume")],
        compensation: Compensation::Undo,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(90)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "vintage-mc:list:Cluster",
            "vintage-mc:list:AWSCluster",
            "vintage-mc:list:G8sControlPlane",
            "vintage-mc:list:AWSControlPlane",
            "vintage-mc:list:MachineDeployment",
            "vintage-mc:list:AWSMachineDeployment",
            "vintage-mc:list:CertConfig",
            "vintage-mc:patch:Cluster",
            "vintage-mc:patch:AWSCluster",
            "vintage-mc:patch:G8sControlPlane",
            "vintage-mc:patch:AWSControlPlane",
            "vintage-mc:patch:MachineDeployment",
            "vintage-mc:patch:AWSMachineDeployment",
            "vintage-mc:patch:CertConfig",
            "cloudformation:DescribeStacks",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster)
            .await
            .map(drop)
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        // A stack update that has begun goes on without its operator, half-watched.
        wait_for_stacks(ctx, &params.cluster).await?;
        let found = objects(ctx, &params.cluster).await?;
        for (n, (gvk, object)) in found.iter().enumerate() {
            if !is_paused(object) {
                pause(ctx, gvk, object).await?;
            }
            ctx.progress(n as u64 + 1, found.len() as u64, "objects are paused");
        }
        wait_for_quiet(ctx, &params.cluster).await?;
        Ok(output(&found))
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let found = objects(ctx, &params.cluster).await?;
        if found.iter().all(|(_, object)| is_paused(object)) {
            return Ok(Observed::Done(output(&found)));
        }
        let touched = found
            .iter()
            .any(|(_, object)| annotation(object, ADDED).is_some());
        Ok(if touched {
            Observed::Partial
        } else {
            Observed::NotDone
        })
    }

    async fn compensate(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        for (gvk, object) in objects(ctx, &params.cluster).await? {
            let Some(added) = annotation(&object, ADDED) else {
                continue;
            };
            if annotation(&object, names::MIGRATION) != Some(ctx.workflow()) {
                continue;
            }
            let permit = ctx.permit_for("resume", &item(&gvk, &object)).await?;
            let patch = removal(added);
            let mc = ctx.ports().vintage_mc();
            mc.merge_patch(permit, &reference(&gvk, &object), patch, None)
                .await?;
        }
        Ok(())
    }
}

async fn wait_for_stacks(ctx: &Context<Ports>, cluster: &str) -> Result<(), StepError> {
    let prefix = format!("cluster-{cluster}-");
    ctx.wait_until("stack updates to end", seconds(20), minutes(45), || async {
        let stacks = ctx.ports().cloud(cluster).describe_stacks(&prefix).await?;
        Ok(
            match stacks
                .iter()
                .find(|stack| stack.status.ends_with("_IN_PROGRESS"))
            {
                None => Poll::Ready(()),
                Some(stack) => Poll::Pending(format!("{} is {}", stack.name, stack.status)),
            },
        )
    })
    .await
}

/// All vintage objects of the cluster.
async fn objects(ctx: &Context<Ports>, cluster: &str) -> Result<Vec<(Gvk, Value)>, StepError> {
    let mc = ctx.ports().vintage_mc();
    let mut found = Vec::new();
    for gvk in kinds::vintage() {
        for object in mc
            .list(&gvk, "", &[(kinds::CLUSTER_LABEL, cluster)])
            .await?
        {
            found.push((gvk.clone(), object));
        }
    }
    Ok(found)
}

fn is_paused(object: &Value) -> bool {
    annotation(object, keys::PAUSED) == Some("true")
}

fn reference(gvk: &Gvk, object: &Value) -> ObjectRef {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    ObjectRef::new(gvk, namespace, &name(object))
}

fn item(gvk: &Gvk, object: &Value) -> String {
    format!("{}/{}", gvk.kind, name(object))
}

fn output(found: &[(Gvk, Value)]) -> Output {
    let objects = found
        .iter()
        .map(|(gvk, object)| TargetObject {
            api_version: gvk.api_version(),
            ..TargetObject::of(object)
        })
        .collect();
    Output { objects }
}

async fn pause(ctx: &Context<Ports>, gvk: &Gvk, object: &Value) -> Result<(), StepError> {
    let mut annotations = vec![keys::PAUSED, keys::OPERATORKIT_PAUSED];
    let mut labels = Vec::new();
    if gvk.kind == "AWSCluster" {
        annotations.push(keys::PAUSE_IRSA);
        labels.push(keys::KEEP_IRSA);
    }
    let missing = |kind: &str, keys: Vec<&'static str>| -> Vec<&'static str> {
        keys.into_iter()
            .filter(|key| object["metadata"][kind].get(key).is_none())
            .collect()
    };
    let (annotations, labels) = (
        missing("annotations", annotations),
        missing("labels", labels),
    );
    let added: Vec<String> = annotations
        .iter()
        .map(|key| format!("annotation:{key}"))
        .chain(labels.iter().map(|key| format!("label:{key}")))
        .collect();
    let set = |keys: &[&str]| -> BTreeMap<String, Value> {
        keys.iter()
            .map(|key| ((*key).to_owned(), json!("true")))
            .collect()
    };
    let mut new_annotations = set(&annotations);
    // An annotation that somebody had set to something else than "true" pauses nothing.
    new_annotations.insert(keys::PAUSED.to_owned(), json!("true"));
    new_annotations.insert(ADDED.to_owned(), json!(added.join(",")));
    new_annotations.insert(names::MIGRATION.to_owned(), json!(ctx.workflow()));
    let mut patch = json!({"metadata": {"annotations": new_annotations}});
    if !labels.is_empty() {
        patch["metadata"]["labels"] = json!(set(&labels));
    }
    let permit = ctx.permit_for("pause", &item(gvk, object)).await?;
    let mc = ctx.ports().vintage_mc();
    mc.merge_patch(permit, &reference(gvk, object), patch, None)
        .await?;
    Ok(())
}

/// The patch that takes away what was added.
fn removal(added: &str) -> Value {
    let mut patch = json!({"metadata": {"annotations": {ADDED: null, names::MIGRATION: null}}});
    for key in added.split(',') {
        if let Some(key) = key.strip_prefix("annotation:") {
            patch["metadata"]["annotations"][key] = Value::Null;
        } else if let Some(key) = key.strip_prefix("label:") {
            patch["metadata"]["labels"][key] = Value::Null;
        }
    }
    patch
}

/// Waits until no object has been written to for [`QUIET`]. A look that fails for a moment is a look less: the versions
/// tell of every write since the last one.
async fn wait_for_quiet(ctx: &Context<Ports>, cluster: &str) -> Result<(), StepError> {
    let begin = ctx.now();
    let mut quiet: Option<(Vec<(String, String)>, Timestamp)> = None;
    loop {
        let lasted = match (versions(ctx, cluster).await, &quiet) {
            (Ok(now), Some((before, since))) if now == *before => ctx.now().since(*since),
            (Ok(now), _) => {
                quiet = Some((now, ctx.now()));
                Duration::ZERO
            }
            (Err(error), _) if error.certainty() == Certainty::Transient => Duration::ZERO,
            (Err(error), _) => return Err(error),
        };
        if lasted >= QUIET {
            return Ok(());
        }
        if ctx.now().since(begin) > minutes(40) {
            return Err(StepError::transient(
                "operators-still-write",
                "somebody goes on writing to the paused objects; see their managedFields",
            ));
        }
        ctx.progress(
            lasted.as_secs(),
            QUIET.as_secs(),
            "seconds without a write by anybody",
        );
        ctx.sleep(seconds(60)).await?;
    }
}

async fn versions(ctx: &Context<Ports>, cluster: &str) -> Result<Vec<(String, String)>, StepError> {
    let found = objects(ctx, cluster).await?;
    Ok(found
        .iter()
        .map(|(gvk, object)| {
            let version = object["metadata"]["resourceVersion"]
                .as_str()
                .unwrap_or_default();
            (item(gvk, object), version.to_owned())
        })
        .collect())
}
