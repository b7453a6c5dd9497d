//! `etcd-cluster-migrator`: a Helm hook of vintage clusters that turns one master into three. When it runs while etcd has
//! one member and three masters are listed, it takes that for its task, and ruins the membership.

use std::time::Duration;

use drover_step_api::Timestamp;
use serde_json::{Value, json};

use crate::{
    objects::Key,
    state::{Cluster, InstanceRole, NodeState, VINTAGE_REALM},
};

/// Name of its Chart and of its Job.
pub(crate) const NAME: &str = "etcd-cluster-migrator";

fn job_key() -> Key {
    Key::new("batch", "Job", "kube-system", NAME)
}

/// Every boot of a master of three applies the Chart anew, and its hook starts the Job.
pub(crate) fn wake(cluster: &mut Cluster, now: Timestamp) {
    let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) else {
        return;
    };
    realm.put(
        json!({
            "apiVersion": "application.giantswarm.io/v1alpha1",
            "kind": "Chart",
            "metadata": {"name": NAME, "namespace": "giantswarm"},
            "spec": {"name": NAME, "namespace": "kube-system"},
        }),
        now,
    );
    realm.put(
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": NAME, "namespace": "kube-system"},
            "spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}},
            "status": {"active": 1},
        }),
        now,
    );
}

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let active = cluster
        .realms
        .get(VINTAGE_REALM)
        .and_then(|realm| realm.get(&job_key()))
        .is_some_and(|job| job["status"]["active"] == 1);
    if !active {
        return false;
    }
    let members = cluster.etcd.members.len();
    let masters = cluster
        .cloud
        .instances
        .values()
        .filter(|i| matches!(i.role, InstanceRole::Master(_)) && i.node != NodeState::Absent)
        .count();
    let timers = &mut cluster.timers;
    if timers.hold("migrator-done", NAME, members == 3, now, || {
        Duration::from_secs(20)
    }) {
        set_status(cluster, json!({"succeeded": 1}));
        return true;
    }
    let misled = members == 1 && masters >= 3 && cluster.etcd.corrupted.is_none();
    if timers.hold("migrator-misled", NAME, misled, now, || {
        Duration::from_secs(10)
    }) {
        let what = "etcd-cluster-migrator woke up with one member and three masters and rewrote the membership";
        cluster.etcd.corrupted = Some(what.to_owned());
        cluster.accident(now, what);
        return true;
    }
    false
}

fn set_status(cluster: &mut Cluster, status: Value) {
    if let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) {
        realm.edit(&job_key(), |job| job["status"] = status);
    }
}
