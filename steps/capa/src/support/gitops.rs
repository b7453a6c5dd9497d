//! Whoever applies the cluster's objects from Git, as Flux marks it on them.

use std::collections::BTreeSet;

use drover_ports::{Gvk, Kube, ObjectRef};
use drover_step_api::StepError;
use serde_json::Value;

/// What Flux applies objects by: the group that its labels begin with, the version, the kind.
const APPLIERS: [(&str, &str, &str); 2] = [
    ("kustomize.toolkit.fluxcd.io", "v1", "Kustomization"),
    ("helm.toolkit.fluxcd.io", "v2", "HelmRelease"),
];

/// Whoever applies any of these objects, each once. See "Inventory" and "Labels" in Flux's reference.
pub(crate) fn owners<'o>(objects: impl IntoIterator<Item = &'o Value>) -> BTreeSet<ObjectRef> {
    let mut owners = BTreeSet::new();
    for object in objects {
        let labels = &object["metadata"]["labels"];
        for (group, version, kind) in APPLIERS {
            let label = |name: &str| labels[format!("{group}/{name}")].as_str();
            if let (Some(name), Some(namespace)) = (label("name"), label("namespace")) {
                let gvk = Gvk::new(group, version, kind);
                owners.insert(ObjectRef::new(&gvk, namespace, name));
            }
        }
    }
    owners
}

/// True when Flux leaves alone what it applies by this object.
pub(crate) fn is_suspended(owner: &Value) -> bool {
    owner["spec"]["suspend"] == true
}

/// One that applies any of these objects, which are in the same cluster, and is not suspended; in words.
///
/// # Errors
/// As the port.
pub(crate) async fn active_owner(
    kube: &Kube,
    objects: &[&Value],
) -> Result<Option<String>, StepError> {
    for owner in owners(objects.iter().copied()) {
        let found = kube.find(&owner).await?;
        if found.is_some_and(|found| !is_suspended(&found)) {
            return Ok(Some(words(&owner)));
        }
    }
    Ok(None)
}

/// Kind, namespace and name.
pub(crate) fn words(owner: &ObjectRef) -> String {
    format!("{} {}/{}", owner.gvk.kind, owner.namespace, owner.name)
}
