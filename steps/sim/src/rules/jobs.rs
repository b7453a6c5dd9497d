//! Jobs that act on a host: carried out when they have the form that `drover_model::node_job` defines, failed otherwise.
//!
//! A Job needs somebody to make its pod (a leading controller manager), a kubelet on its node that can read it, and an
//! API to report to. One whose API goes away because of what it did is reported when an API is back.

use std::time::Duration;

use drover_model::node_job::{NodeCommand, NodeJob};
use drover_step_api::Timestamp;
use serde_json::{Value, json};

use super::api;
use crate::{
    objects::Key,
    state::{Cluster, InstanceRole, Status, VINTAGE_REALM},
    text::rfc3339,
};

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    clean_up(cluster, now) | advance(cluster, now)
}

/// The controller that removes finished Jobs after their time.
fn clean_up(cluster: &mut Cluster, now: Timestamp) -> bool {
    let Some(realm) = api::realm(cluster) else {
        return false;
    };
    let finished: Vec<(Key, String, u64)> = realm
        .of_kind("Job")
        .filter(|(_, job)| NodeJob::has_succeeded(job) || NodeJob::has_failed(job))
        .filter_map(|(key, job)| {
            let after = job["spec"]["ttlSecondsAfterFinished"].as_u64()?;
            Some((
                key.clone(),
                job["metadata"]["uid"].as_str()?.to_owned(),
                after,
            ))
        })
        .collect();
    let mut acted = false;
    for (key, uid, after) in finished {
        let due = cluster.timers.hold("job-cleaned-up", &uid, true, now, || {
            Duration::from_secs(after)
        });
        if let (true, Some(realm)) = (due, cluster.realms.get_mut(VINTAGE_REALM)) {
            realm.remove(&key);
            acted = true;
        }
    }
    acted
}

fn advance(cluster: &mut Cluster, now: Timestamp) -> bool {
    let Some(realm) = api::realm(cluster) else {
        return false;
    };
    let open: Vec<(Key, Value)> = realm
        .of_kind("Job")
        .filter(|(_, job)| !NodeJob::has_succeeded(job) && !NodeJob::has_failed(job))
        .filter(|(key, _)| key.name != super::migrator::NAME)
        .map(|(key, job)| (key.clone(), job.clone()))
        .collect();
    let mut acted = false;
    for (key, job) in open {
        let uid = job["metadata"]["uid"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        acted |= carry_out(cluster, &uid, &job, now);
        acted |= report(cluster, &key, &uid, now);
    }
    acted
}

fn carry_out(cluster: &mut Cluster, uid: &str, object: &Value, now: Timestamp) -> bool {
    let done = cluster.jobs_done.contains_key(uid);
    let job = NodeJob::parse(object);
    let ready = match &job {
        Some(job) => can_run(cluster, &job.node),
        // Its pod would fail wherever it ran.
        None => api::somebody_serves(cluster),
    };
    let chance = &cluster.chance;
    if !cluster
        .timers
        .hold("job-runs", uid, ready && !done, now, || {
            chance.millis(8_000, 16_000, "job-runs", uid)
        })
    {
        return false;
    }
    let success = job.is_some_and(|job| execute(cluster, &job));
    cluster.jobs_done.insert(uid.to_owned(), success);
    true
}

/// A pod for the Job gets made, and the kubelet of its node hears of it.
fn can_run(cluster: &Cluster, node: &str) -> bool {
    let Some((id, host)) = cluster.hosts.iter().find(|(_, host)| host.node == node) else {
        return false;
    };
    let is_capi = matches!(
        cluster
            .cloud
            .instances
            .get(id)
            .map(|instance| &instance.role),
        Some(InstanceRole::ControlPlane(_))
    );
    let path = if is_capi {
        api::through_new_name(cluster)
    } else {
        api::through_old_name(cluster)
    };
    let leader = cluster
        .leases
        .get("kube-controller-manager")
        .and_then(|lease| lease.holder.as_ref())
        .and_then(|holder| cluster.hosts.get(holder))
        .is_some_and(|host| host.runs(crate::state::Proc::ControllerManager));
    host.kubelet && leader && path == Status::Ok
}

fn execute(cluster: &mut Cluster, job: &NodeJob) -> bool {
    let Some(host) = cluster
        .hosts
        .values_mut()
        .find(|host| host.node == job.node)
    else {
        return false;
    };
    for command in &job.commands {
        match command {
            NodeCommand::Park { manifest } => {
                host.park(manifest, false);
            }
            NodeCommand::Unpark { manifest } => {
                host.park(manifest, true);
            }
            NodeCommand::StopUnit { unit } => {
                if let Some(active) = host.units.get_mut(unit.as_str()) {
                    *active = false;
                }
            }
            NodeCommand::StartUnit { unit } => match host.units.get_mut(unit.as_str()) {
                Some(active) => *active = true,
                // systemctl fails for a unit that does not exist.
                None => return false,
            },
        }
    }
    true
}

fn report(cluster: &mut Cluster, key: &Key, uid: &str, now: Timestamp) -> bool {
    let Some(success) = cluster.jobs_done.get(uid).copied() else {
        return false;
    };
    let can = api::somebody_serves(cluster);
    if !cluster.timers.hold("job-reported", uid, can, now, || {
        Duration::from_millis(1_500)
    }) {
        return false;
    }
    let (count, condition) = if success {
        ("succeeded", "Complete")
    } else {
        ("failed", "Failed")
    };
    if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
        realm.edit(key, |job| {
            job["status"] = json!({
                count: 1,
                "conditions": [{
                    "type": condition, "status": "True", "lastTransitionTime": rfc3339(now),
                }],
            });
        });
    }
    cluster.jobs_done.remove(uid);
    true
}
