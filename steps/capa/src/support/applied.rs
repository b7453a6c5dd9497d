//! Objects of the target as they are applied: marked with the workflow and with the digest of what was reviewed.

use drover_model::{TargetObject, names};
use drover_ports::{Gvk, ObjectRef, Ports};
use drover_step_api::{Context, StepError};
use serde_json::{Value, json};

use super::cluster::annotation;

/// Annotation: digest of the target that an object was applied from.
const DIGEST: &str = "drover.giantswarm.io/target-digest";

/// The objects with their marks.
pub(crate) fn marked(ctx: &Context<Ports>, digest: &str, objects: Vec<Value>) -> Vec<Value> {
    objects
        .into_iter()
        .map(|mut object| {
            let annotations = &mut object["metadata"]["annotations"];
            annotations[names::MIGRATION] = json!(ctx.workflow());
            annotations[DIGEST] = json!(digest);
            object
        })
        .collect()
}

/// What an object is called.
pub(crate) fn reference(object: &Value) -> ObjectRef {
    let named = TargetObject::of(object);
    ObjectRef::new(
        &Gvk::of(&named.api_version, &named.kind),
        &named.namespace,
        &named.name,
    )
}

fn is_as_wanted(known: &Value, wanted: &Value) -> bool {
    [names::MIGRATION, DIGEST].iter().all(|key| {
        annotation(known, key).is_some() && annotation(known, key) == annotation(wanted, key)
    })
}

/// What of the target is there.
pub(crate) struct There {
    pub(crate) as_wanted: usize,
    /// An object that somebody else made.
    pub(crate) foreign: Option<String>,
}

/// Looks for the objects.
///
/// # Errors
/// As the port.
pub(crate) async fn look(
    ctx: &Context<Ports>,
    installation: &str,
    objects: &[Value],
) -> Result<There, StepError> {
    let mut there = There {
        as_wanted: 0,
        foreign: None,
    };
    for object in objects {
        let reference = reference(object);
        let Some(known) = ctx.ports().capi_mc().find(&reference).await? else {
            continue;
        };
        if is_as_wanted(&known, object) {
            there.as_wanted += 1;
        } else if annotation(&known, names::MIGRATION) != Some(ctx.workflow()) {
            there.foreign = Some(format!(
                "{} {}/{} exists on the Cluster API management cluster of {installation} and was not made by this migration",
                reference.gvk.kind, reference.namespace, reference.name
            ));
        }
    }
    Ok(there)
}

/// Applies those that are not as they are to be, under the effect `apply-object`.
///
/// # Errors
/// As the port.
pub(crate) async fn apply(ctx: &Context<Ports>, objects: &[Value]) -> Result<(), StepError> {
    for (n, object) in objects.iter().enumerate() {
        let reference = reference(object);
        let known = ctx.ports().capi_mc().find(&reference).await?;
        if !known.is_some_and(|known| is_as_wanted(&known, object)) {
            let item = format!("{}/{}", reference.gvk.kind, reference.name);
            let permit = ctx.permit_for("apply-object", &item).await?;
            ctx.ports().capi_mc().apply(permit, object.clone()).await?;
        }
        ctx.progress(
            n as u64 + 1,
            objects.len() as u64,
            format!("{} is applied", reference.gvk.kind),
        );
    }
    Ok(())
}
