//! Is the cluster still wanted?

use drover_ports::{ObjectRef, Ports};
use drover_step_api::{Context, StepError};
use serde_json::Value;

use crate::kinds;

/// The vintage Cluster object, for as long as the cluster exists.
///
/// # Errors
/// `Gone` when the object is not there or is being deleted.
pub(crate) async fn still_there(
    ctx: &Context<Ports>,
    namespace: &str,
    cluster: &str,
) -> Result<Value, StepError> {
    let object = ObjectRef::new(&kinds::cluster(), namespace, cluster);
    match ctx.ports().vintage_mc().find(&object).await? {
        None => Err(StepError::gone(format!(
            "the vintage Cluster {namespace}/{cluster} does not exist any more"
        ))),
        Some(found) if found["metadata"].get("deletionTimestamp").is_some() => {
            Err(StepError::gone(format!(
                "the vintage Cluster {namespace}/{cluster} is being deleted"
            )))
        }
        Some(found) => Ok(found),
    }
}

/// An annotation of an object; `None` when it has none.
pub(crate) fn annotation<'o>(object: &'o Value, key: &str) -> Option<&'o str> {
    object["metadata"]["annotations"][key].as_str()
}

/// Name of an object.
pub(crate) fn name(object: &Value) -> String {
    object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}
