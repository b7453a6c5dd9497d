//! `etcd-cluster-migrator` is not there: it takes one member and three masters for its own unfinished work.

use drover_ports::ObjectRef;

use super::{Findings, Look, blocker};
use crate::kinds;

const NAME: &str = "etcd-cluster-migrator";

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let mut found = Vec::new();
    for (gvk, namespace) in [
        (kinds::chart(), "giantswarm"),
        (kinds::job(), "kube-system"),
    ] {
        let object = ObjectRef::new(&gvk, namespace, NAME);
        if look.workload().find(&object).await?.is_some() {
            found.push(blocker(
                "etcd-migrator-there",
                format!(
                    "{} {namespace}/{NAME} exists and may rewrite etcd's membership; remove it",
                    gvk.kind
                ),
            ));
        }
    }
    Ok(found)
}
