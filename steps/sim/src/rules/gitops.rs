//! Flux applies what stands in Git, over and over: what was deleted comes back, and so do labels and annotations that were
//! changed or taken away. What others have added stays, as server-side apply has it.

use drover_step_api::Timestamp;
use serde_json::Value;

use crate::{objects::Key, state::Cluster};

/// Namespace of the objects by which Flux applies.
pub(crate) const NAMESPACE: &str = "flux-giantswarm";
/// Name of its timers.
pub(super) const TIMER: &str = "flux";
/// Flux looks again this often, milliseconds.
const INTERVAL: (u64, u64) = (60_000, 600_000);

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let git = std::sync::Arc::clone(&cluster.upkeep.git);
    let mut acted = false;
    for (owner, manifests) in git.iter() {
        let applies = cluster
            .vintage
            .get(owner)
            .is_some_and(|object| object["spec"]["suspend"] != true);
        let drifted = applies
            && manifests
                .iter()
                .any(|(key, wanted)| differs(cluster, key, wanted));
        let chance = &cluster.chance;
        if cluster.timers.hold(TIMER, &owner.kind, drifted, now, || {
            chance.millis(INTERVAL.0, INTERVAL.1, "flux", &owner.kind)
        }) {
            apply(cluster, manifests, now);
            acted = true;
        }
    }
    acted
}

fn apply(cluster: &mut Cluster, manifests: &[(Key, Value)], now: Timestamp) {
    for (key, wanted) in manifests {
        if !cluster.vintage.contains(key) {
            let what = format!("Flux made {} {} again", key.kind, key.name);
            cluster.accident(now, what);
            cluster.vintage.put(wanted.clone(), now);
        } else if differs(cluster, key, wanted) {
            let what = format!(
                "Flux put labels or annotations of {} {} back",
                key.kind, key.name
            );
            cluster.accident(now, what);
            cluster.vintage.edit(key, |object| put_back(object, wanted));
        }
    }
}

const KEPT: [&str; 2] = ["labels", "annotations"];

fn differs(cluster: &Cluster, key: &Key, wanted: &Value) -> bool {
    let Some(object) = cluster.vintage.get(key) else {
        return true;
    };
    let (is, wanted) = (&object["metadata"], &wanted["metadata"]);
    KEPT.iter().any(|field| {
        let wanted = wanted[*field].as_object().into_iter().flatten();
        wanted
            .into_iter()
            .any(|(key, value)| is[*field][key] != *value)
    })
}

fn put_back(object: &mut Value, wanted: &Value) {
    for field in KEPT {
        let wanted = wanted["metadata"][field].as_object();
        for (key, value) in wanted.into_iter().flatten() {
            object["metadata"][field][key] = value.clone();
        }
    }
}
