//! Is the cluster still wanted?

use drover_ports::{ObjectRef, Ports};
use drover_step_api::{Context, StepError};

use crate::kinds;

/// # Errors
/// `Gone` when the vintage Cluster object is not there or is being deleted.
pub(crate) async fn still_there(
    ctx: &Context<Ports>,
    namespace: &str,
    cluster: &str,
) -> Result<(), StepError> {
    let object = ObjectRef::new(&kinds::cluster(), namespace, cluster);
    match ctx.ports().vintage_mc().find(&object).await? {
        Some(found) if found["metadata"].get("deletionTimestamp").is_none() => Ok(()),
        _ => Err(StepError::gone(format!(
            "the vintage Cluster {namespace}/{cluster} does not exist any more, or is being deleted"
        ))),
    }
}
