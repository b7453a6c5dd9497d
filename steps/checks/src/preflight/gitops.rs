//! Nobody applies the cluster's objects from elsewhere: GitOps would put back what the migration changes. What is on this
//! management cluster the migration suspends itself; what is not, people have to.

use drover_ports::ObjectRef;
use serde_json::Value;

use super::{Findings, Look, blocker};
use crate::kinds;

/// Flux marks what it applies.
const OWNER: &str = "kustomize.toolkit.fluxcd.io/name";
/// With its namespace.
const NAMESPACE: &str = "kustomize.toolkit.fluxcd.io/namespace";
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
        let Some(owner) = owner(&object) else {
            continue;
        };
        let namespace = object["metadata"]["labels"][NAMESPACE].as_str();
        let applier = ObjectRef::new(
            &kinds::kustomization(),
            namespace.unwrap_or_default(),
            owner,
        );
        if look.ports().vintage_mc().find(&applier).await?.is_none() {
            found.push(blocker(
                "gitops-active",
                format!(
                    "{} {} is applied by the Kustomization {owner}, which is not on this management cluster; suspend it there and set {RECONCILE}: disabled",
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
