//! kubelet and systemd on control-plane hosts: processes start when their manifest or unit wants them, and end when it
//! does not.

use std::time::Duration;

use drover_step_api::Timestamp;

use super::{endpoints, etcd};
use crate::state::{Cluster, Proc};

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let mut acted = drop_dead_hosts(cluster);
    let ids: Vec<String> = cluster.hosts.keys().cloned().collect();
    for id in &ids {
        for proc in Proc::ALL {
            acted |= step(cluster, id, proc, now);
        }
    }
    acted
}

/// A host whose instance is gone is gone with everything on it.
fn drop_dead_hosts(cluster: &mut Cluster) -> bool {
    let before = cluster.hosts.len();
    let instances = &cluster.cloud.instances;
    cluster
        .hosts
        .retain(|id, _| instances.get(id).is_some_and(|instance| instance.runs()));
    cluster.hosts.len() != before
}

fn step(cluster: &mut Cluster, id: &str, proc: Proc, now: Timestamp) -> bool {
    let host = &cluster.hosts[id];
    let wanted = host.wants(proc) && may_start(cluster, id, proc);
    let runs = host.runs(proc);
    // A broken kubelet starts and stops nothing; what runs goes on running.
    let frozen = !host.kubelet && proc.manifest(&host.flavour).is_some();
    let of = format!("{id}/{}", proc.word());
    let chance = &cluster.chance;
    if cluster.timers.hold(
        "process-starts",
        &of,
        wanted && !runs && !frozen,
        now,
        || {
            let (from, to) = start_millis(proc);
            chance.millis(from, to, "process-starts", &of)
        },
    ) {
        if let Some(host) = cluster.hosts.get_mut(id) {
            host.running.insert(proc);
        }
        return true;
    }
    // etcd whose member was removed ends by itself, and at once.
    let delay = if proc == Proc::Etcd { 300 } else { 1_500 };
    if cluster
        .timers
        .hold("process-ends", &of, !wanted && runs && !frozen, now, || {
            Duration::from_millis(delay)
        })
    {
        if let Some(host) = cluster.hosts.get_mut(id) {
            host.running.remove(&proc);
        }
        if proc == Proc::ApiServer {
            // It was asked to end, so it took itself off the endpoints first.
            endpoints::take_off(cluster, id);
        }
        return true;
    }
    false
}

/// etcd starts only as a member.
fn may_start(cluster: &Cluster, id: &str, proc: Proc) -> bool {
    proc != Proc::Etcd || cluster.hosts[id].lone_etcd || etcd::belongs(cluster, id)
}

fn start_millis(proc: Proc) -> (u64, u64) {
    match proc {
        Proc::ApiServer => (7_000, 12_000),
        Proc::ControllerManager | Proc::Scheduler => (3_000, 6_000),
        Proc::Etcd => (2_000, 4_000),
        Proc::ApiHealthz => (2_000, 3_000),
    }
}
