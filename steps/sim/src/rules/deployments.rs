//! Deployments have as many pods as they should, soon after that was changed.

use std::time::Duration;

use drover_step_api::Timestamp;
use serde_json::json;

use crate::{
    objects::{Key, Store},
    state::{Cluster, VINTAGE_REALM},
};

/// Name of its timers.
pub(super) const TIMER: &str = "deployment";
const ROLLS: Duration = Duration::from_secs(5);

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let mut behind: Vec<(bool, Key, u64)> = behind(&cluster.vintage)
        .map(|(key, replicas)| (false, key, replicas))
        .collect();
    if let Some(realm) = cluster.realms.get(VINTAGE_REALM) {
        behind.extend(self::behind(realm).map(|(key, replicas)| (true, key, replicas)));
    }
    let mut acted = false;
    for (workload, key, replicas) in behind {
        if !cluster.timers.hold(TIMER, &key.name, true, now, || ROLLS) {
            continue;
        }
        let store = if workload {
            cluster.realms.get_mut(VINTAGE_REALM)
        } else {
            Some(&mut cluster.vintage)
        };
        acted |= store.is_some_and(|store| {
            store.edit(&key, |object| {
                object["status"] = json!({"replicas": replicas, "readyReplicas": replicas});
            })
        });
    }
    acted
}

/// Deployments whose pods are not what they should be, and how many they should be.
fn behind(store: &Store) -> impl Iterator<Item = (Key, u64)> {
    store.of_kind("Deployment").filter_map(|(key, object)| {
        let wanted = object["spec"]["replicas"].as_u64().unwrap_or(1);
        let has = object["status"]["replicas"].as_u64().unwrap_or(0);
        (wanted != has).then(|| (key.clone(), wanted))
    })
}

/// True while a Deployment has pods.
pub(super) fn runs(store: &Store, namespace: &str, name: &str) -> bool {
    store
        .get(&Key::new("apps", "Deployment", namespace, name))
        .is_some_and(|object| object["status"]["replicas"].as_u64().unwrap_or(0) > 0)
}
