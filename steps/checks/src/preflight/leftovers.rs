//! The Cluster API management cluster is ready for this cluster: its controllers run, and nothing of that name is left from
//! an earlier attempt.

use drover_model::names;
use drover_ports::ObjectRef;

use super::{Findings, Look, blocker};
use crate::kinds;

/// Controllers that the migration depends on.
const CONTROLLERS: [&str; 4] = [
    "capi-controller-manager",
    "capi-kubeadm-bootstrap-controller-manager",
    "capi-kubeadm-control-plane-controller-manager",
    "capa-controller-manager",
];

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let plan = look.plan;
    let capi = look.ports().capi_mc();
    let mut found = Vec::new();
    let namespace = ObjectRef::new(&kinds::namespace(), "", &plan.namespace);
    if capi.find(&namespace).await?.is_none() {
        found.push(blocker(
            "namespace-missing",
            format!(
                "namespace {} does not exist on the Cluster API management cluster",
                plan.namespace
            ),
        ));
    }
    for gvk in [
        kinds::cluster(),
        kinds::control_plane(),
        kinds::capa_cluster(),
    ] {
        let object = ObjectRef::new(&gvk, &plan.namespace, &plan.id);
        if capi.find(&object).await?.is_some() {
            found.push(left_over(&format!(
                "{} {}/{}",
                gvk.kind, plan.namespace, plan.id
            )));
        }
    }
    let mut secrets = names::ca_secrets(&plan.id).to_vec();
    secrets.push(names::sa_secret(&plan.id));
    secrets.push(names::encryption_secret(&plan.id));
    secrets.push(names::migration_files_secret(&plan.id));
    for name in secrets {
        let object = ObjectRef::new(&kinds::secret(), &plan.namespace, &name);
        if capi.find(&object).await?.is_some() {
            found.push(left_over(&format!("Secret {}/{name}", plan.namespace)));
        }
    }
    let running = capi.list(&kinds::deployment(), "giantswarm", &[]).await?;
    for name in CONTROLLERS {
        let ready = running.iter().any(|deployment| {
            deployment["metadata"]["name"] == name
                && deployment["status"]["readyReplicas"].as_u64().unwrap_or(0) > 0
        });
        if !ready {
            found.push(blocker(
                "controller-not-ready",
                format!("{name} is not ready on the Cluster API management cluster"),
            ));
        }
    }
    Ok(found)
}

fn left_over(what: &str) -> super::Finding {
    blocker(
        "leftover",
        format!(
            "{what} exists already on the Cluster API management cluster; find out whose it is, and remove it if nobody's"
        ),
    )
}
