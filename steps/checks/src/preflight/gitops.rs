//! Nobody applies the cluster's objects from elsewhere: GitOps would put back what the migration changes.

use drover_ports::ObjectRef;
use serde_json::Value;

use super::{Findings, Look, blocker};
use crate::kinds;

/// Flux marks what it applies.
const OWNER: &str = "kustomize.toolkit.fluxcd.io/name";
/// And leaves alone what is marked so.
const RECONCILE: &str = "kustomize.toolkit.fluxcd.io/reconcile";

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let plan = look.plan;
    let mut found = Vec::new();
    for gvk in [kinds::cluster(), kinds::vintage_aws_cluster()] {
        let object = ObjectRef::new(&gvk, &plan.namespace, &plan.id);
        let Some(object) = look.ports().vintage_mc().find(&object).await? else {
            continue;
        };
        if let Some(owner) = owner(&object) {
            found.push(blocker(
                "gitops-active",
                format!(
                    "{} {} is applied by the Kustomization {owner}; suspend it, or set {RECONCILE}: disabled",
                    gvk.kind, plan.id
                ),
            ));
        }
    }
    Ok(found)
}

fn owner(object: &Value) -> Option<&str> {
    let metadata = &object["metadata"];
    if metadata["annotations"][RECONCILE] == "disabled"
        || metadata["labels"][RECONCILE] == "disabled"
    {
        return None;
    }
    metadata["labels"][OWNER].as_str()
}
