//! The `kubernetes` service inside the cluster: each API server keeps its own address among the endpoints for as long as
//! it can write to etcd, takes it off when it is asked to end, and is taken off by the others fifteen seconds after it
//! could not.
//!
//! All addresses have one port. Whoever comes leaves it as it is; whoever is asked to end writes its own, for those who stay.
//! Seen in the lab (kube-apiserver 1.34, `reconcilers/lease.go`).

use std::{collections::BTreeMap, time::Duration};

use drover_step_api::Timestamp;
use serde_json::{Value, json};

use super::api;
use crate::{
    objects::Key,
    state::{Cluster, VINTAGE_REALM},
};

const EXPIRY: Duration = Duration::from_secs(15);

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    if cluster.demolished {
        let had = !cluster.endpoints.is_empty();
        cluster.endpoints.clear();
        cluster.endpoint_port = None;
        return had;
    }
    let mut acted = false;
    let serving: BTreeMap<String, u16> = cluster
        .hosts
        .iter()
        .filter(|(id, host)| api::realm_name(id, host) == VINTAGE_REALM && api::serves(cluster, id))
        .map(|(id, host)| (id.clone(), host.config.port))
        .collect();
    for (id, port) in &serving {
        let missing = !cluster.endpoints.contains_key(id);
        if cluster.timers.hold("endpoint-added", id, missing, now, || {
            Duration::from_secs(2)
        }) {
            cluster.endpoints.insert(id.clone(), *port);
            cluster.endpoint_port.get_or_insert(*port);
            acted = true;
        }
    }
    let known: Vec<String> = cluster.endpoints.keys().cloned().collect();
    for id in known {
        // Somebody has to be there to take the stale address off.
        let stale = !serving.contains_key(&id) && !serving.is_empty();
        if cluster
            .timers
            .hold("endpoint-expires", &id, stale, now, || EXPIRY)
        {
            cluster.endpoints.remove(&id);
            acted = true;
        }
    }
    acted | publish(cluster, now)
}

/// An API server that is asked to end takes itself off.
pub(super) fn take_off(cluster: &mut Cluster, id: &str) {
    if let Some(port) = cluster.endpoints.remove(id) {
        cluster.endpoint_port = (!cluster.endpoints.is_empty()).then_some(port);
    }
}

fn publish(cluster: &mut Cluster, now: Timestamp) -> bool {
    let addresses: Vec<Value> = cluster
        .endpoints
        .keys()
        .filter_map(|id| cluster.cloud.instances.get(id))
        .map(|instance| json!({"ip": instance.address}))
        .collect();
    let port = cluster.endpoint_port.filter(|_| !addresses.is_empty());
    let ports: Vec<Value> = port
        .map(|port| json!({"name": "https", "port": port}))
        .into_iter()
        .collect();
    let subsets = json!([{"addresses": addresses, "ports": ports}]);
    let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) else {
        return false;
    };
    let key = Key::new("", "Endpoints", "default", "kubernetes");
    if realm
        .get(&key)
        .is_some_and(|object| object["subsets"] == subsets)
    {
        return false;
    }
    realm.put(
        json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": "kubernetes", "namespace": "default"},
            "subsets": subsets,
        }),
        now,
    );
    true
}
