//! PodDisruptionBudgets: how many of the pods that a budget selects may be down, by somebody's will. And the owner of a budget
//! that lets nobody go, whom somebody calls when a drain waits for it.

use std::time::Duration;

use drover_model::disruption::selects;
use drover_ports::{DISRUPTION_BUDGET, PortError, PortErrorKind};
use drover_step_api::Timestamp;
use serde_json::{Value, json};

use super::apps;
use crate::{
    objects::{Key, Store},
    state::{Cluster, VINTAGE_REALM},
};

/// How long a drain waits for a budget until its owner has been found and relaxes it.
const OWNER: Duration = Duration::from_secs(15 * 60);

/// The budget that lets nobody go where a fault says so.
pub(crate) fn stern() -> Key {
    Key::new("policy", "PodDisruptionBudget", "shop", "web")
}

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    if !cluster.faults.stern_budget {
        return false;
    }
    let key = stern();
    let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) else {
        return false;
    };
    let is_cordoned = |name: &Value| {
        let node = Key::new("", "Node", "", name.as_str().unwrap_or_default());
        realm
            .get(&node)
            .is_some_and(|node| node["spec"]["unschedulable"] == true)
    };
    let selector = realm
        .get(&key)
        .map(|budget| budget["spec"]["selector"].clone());
    let waited_for = selector.is_some_and(|selector| {
        realm.of_kind("Pod").any(|(pod, object)| {
            pod.namespace == key.namespace
                && selects(&selector, &object["metadata"]["labels"])
                && is_cordoned(&object["spec"]["nodeName"])
        })
    });
    let timers = &mut cluster.timers;
    if !timers.hold("budget-owner", &key.name, waited_for, now, || OWNER) {
        return false;
    }
    cluster.faults.stern_budget = false;
    cluster.faults.relaxed_budgets += 1;
    realm.edit(&key, |budget| budget["spec"]["maxUnavailable"] = json!(1))
}

/// Carries an eviction out. True when the pod is asked to end by it.
pub(crate) fn evict(
    realm: &mut Store,
    (namespace, name): (&str, &str),
    uid: &str,
    action: &str,
    now: Timestamp,
) -> Result<bool, PortError> {
    let key = Key::new("", "Pod", namespace, name);
    let what = format!("Pod {namespace}/{name}");
    let Some(pod) = realm.get(&key) else {
        let why = format!("{what} not found");
        return Err(PortError::new(PortErrorKind::NotFound, action, why).with_code("NotFound"));
    };
    if pod["metadata"]["uid"] != uid {
        let why = format!("{what}: it has another uid");
        return Err(PortError::new(PortErrorKind::Conflict, action, why).with_code("Conflict"));
    }
    // One that is ending counts as gone; so does one that does not serve.
    let counts = pod["metadata"].get("deletionTimestamp").is_none() && apps::is_ready(pod);
    if let (true, Some(why)) = (counts, forbids(realm, namespace, pod)) {
        let why =
            format!("Cannot evict pod as it would violate the pod's disruption budget. {why}");
        let error = PortError::new(PortErrorKind::Conflict, action, why);
        return Err(error.with_code(DISRUPTION_BUDGET));
    }
    Ok(realm.delete(&key, now))
}

/// Why a budget does not let a pod go now.
fn forbids(realm: &Store, namespace: &str, pod: &Value) -> Option<String> {
    let labels = &pod["metadata"]["labels"];
    realm
        .of_kind("PodDisruptionBudget")
        .filter(|(key, _)| key.namespace == namespace)
        .filter(|(_, budget)| selects(&budget["spec"]["selector"], labels))
        .find_map(|(key, budget)| {
            let (healthy, needed) = count(realm, namespace, budget);
            (healthy <= needed).then(|| {
                format!(
                    "The disruption budget {} needs {needed} healthy pods and has {healthy} currently",
                    key.name
                )
            })
        })
}

/// Pods that are healthy, and how many have to be. How many there ought to be is what there are: a pod that ends is made anew.
fn count(realm: &Store, namespace: &str, budget: &Value) -> (u64, u64) {
    let spec = &budget["spec"];
    let selected = || {
        realm
            .of_kind("Pod")
            .filter(|(key, _)| key.namespace == namespace)
            .filter(|(_, pod)| selects(&spec["selector"], &pod["metadata"]["labels"]))
            .filter(|(_, pod)| pod["metadata"].get("deletionTimestamp").is_none())
            .map(|(_, pod)| pod)
    };
    let healthy = selected().filter(|pod| apps::is_ready(pod)).count() as u64;
    let expected = realm
        .of_kind("Deployment")
        .chain(realm.of_kind("StatefulSet"))
        .filter(|(key, _)| key.namespace == namespace)
        .filter(|(_, owner)| owner["spec"]["selector"] == spec["selector"])
        .filter_map(|(_, owner)| owner["spec"]["replicas"].as_u64())
        .sum::<u64>()
        .max(healthy);
    let needed = match (
        spec["minAvailable"].as_u64(),
        spec["maxUnavailable"].as_u64(),
    ) {
        (Some(least), _) => least,
        (None, Some(most)) => expected.saturating_sub(most),
        (None, None) => expected,
    };
    (healthy, needed)
}

/// Somebody deletes a pod instead of asking: an accident when a budget would have said no.
pub(crate) fn notice_deletion(cluster: &mut Cluster, namespace: &str, name: &str, now: Timestamp) {
    let Some(realm) = super::api::realm(cluster) else {
        return;
    };
    let Some(pod) = realm.get(&Key::new("", "Pod", namespace, name)) else {
        return;
    };
    let counts = pod["metadata"].get("deletionTimestamp").is_none() && apps::is_ready(pod);
    if let (true, Some(why)) = (counts, forbids(realm, namespace, pod)) {
        let app = pod["metadata"]["labels"]["app"].as_str().unwrap_or("?");
        let what = format!("a pod of {namespace}/{app} was deleted against its budget. {why}");
        cluster.accident(now, what);
    }
}
