//! Leader election of controller managers and schedulers. Nobody gives a lease back; it runs out, and then whoever asks
//! first has it.

use drover_step_api::Timestamp;
use serde_json::json;

use super::{api, cidr};
use crate::state::{Cluster, Proc, VINTAGE_REALM};

const COMPONENTS: [(&str, Proc); 2] = [
    ("kube-controller-manager", Proc::ControllerManager),
    ("kube-scheduler", Proc::Scheduler),
];

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let mut acted = false;
    for (component, proc) in COMPONENTS {
        acted |= elect(cluster, component, proc, now);
    }
    acted
}

fn elect(cluster: &mut Cluster, component: &'static str, proc: Proc, now: Timestamp) -> bool {
    let lease = cluster.leases.entry(component).or_default().clone();
    let renewed = lease
        .holder
        .as_ref()
        .and_then(|holder| cluster.hosts.get(holder))
        .is_some_and(|host| host.runs(proc));
    let candidates: Vec<String> = cluster
        .hosts
        .iter()
        .filter(|(id, host)| host.runs(proc) && api::realm_name(id, host) == VINTAGE_REALM)
        .map(|(id, _)| id.clone())
        .collect();
    let vacant = !renewed && !candidates.is_empty() && api::somebody_serves(cluster);
    let chance = &cluster.chance;
    if !cluster.timers.hold("lease", component, vacant, now, || {
        chance.millis_nth(15_000, 17_000, "lease", component, lease.transitions)
    }) {
        return publish(cluster, component, now);
    }
    let nth = cluster
        .chance
        .number("lease-winner", component, lease.transitions)
        % candidates.len() as u64;
    let lease = cluster.leases.entry(component).or_default();
    lease.holder = Some(candidates[nth as usize].clone());
    lease.transitions += 1;
    if component == "kube-controller-manager" {
        cidr::rebuild(cluster);
    }
    publish(cluster, component, now);
    true
}

/// The Lease object that everybody sees.
fn publish(cluster: &mut Cluster, component: &str, now: Timestamp) -> bool {
    let Some(lease) = cluster.leases.get(component) else {
        return false;
    };
    let Some(host) = lease
        .holder
        .as_ref()
        .and_then(|holder| cluster.hosts.get(holder))
    else {
        return false;
    };
    let identity = format!("{}_{component}", host.node);
    let transitions = lease.transitions;
    let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) else {
        return false;
    };
    let key = crate::objects::Key::new("coordination.k8s.io", "Lease", "kube-system", component);
    let known = realm
        .get(&key)
        .is_some_and(|lease| lease["spec"]["holderIdentity"] == identity.as_str());
    if known {
        return false;
    }
    realm.put(
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": component, "namespace": "kube-system"},
            "spec": {
                "holderIdentity": identity,
                "leaseDurationSeconds": 15,
                "leaseTransitions": transitions,
            },
        }),
        now,
    );
    true
}
