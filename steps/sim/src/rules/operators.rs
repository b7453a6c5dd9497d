//! The vintage operators reconcile whatever is not paused: they put back settings that others changed, and rotate
//! certificates.

use std::time::Duration;

use drover_model::{cr::keys, names};
use drover_step_api::Timestamp;
use serde_json::Value;

use crate::{
    objects::Key,
    state::{Cluster, InstanceRole},
};

/// Operators look at every object again this often.
const RESYNC_MILLIS: u64 = 300_000;
/// cert-operator's rotation.
const ROTATION: Duration = Duration::from_secs(6 * 3600);

/// True when operators leave an object alone. The value has to be exactly `"true"`.
pub(super) fn is_paused(object: &Value) -> bool {
    let annotations = &object["metadata"]["annotations"];
    annotations[keys::PAUSED] == "true" || annotations[keys::OPERATORKIT_PAUSED] == "true"
}

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    restore_groups(cluster, now) | restore_annotation(cluster, now) | rotate(cluster, now)
}

/// aws-operator's stacks do not know suspended processes.
fn restore_groups(cluster: &mut Cluster, now: Timestamp) -> bool {
    let mut acted = false;
    let groups: Vec<(String, InstanceRole, bool)> = cluster
        .cloud
        .groups
        .values()
        .map(|group| {
            (
                group.name.clone(),
                group.role.clone(),
                !group.suspended.is_empty(),
            )
        })
        .collect();
    for (name, role, suspended) in groups {
        let owner = match &role {
            InstanceRole::Worker(pool) => {
                cluster.key(keys::VINTAGE_GROUP, "AWSMachineDeployment", pool)
            }
            // Not theirs.
            InstanceRole::PoolNode(_) => continue,
            InstanceRole::Master(_) | InstanceRole::ControlPlane(_) => cluster.key(
                keys::VINTAGE_GROUP,
                "AWSControlPlane",
                &cluster.facts.control_plane,
            ),
        };
        let due = suspended && acts_on(cluster, &owner);
        let chance = &cluster.chance;
        if cluster
            .timers
            .hold("operator-restores-group", &name, due, now, || {
                chance.millis(60_000, RESYNC_MILLIS, "operator-resync", &name)
            })
        {
            cluster.accident(
                now,
                "aws-operator resumed suspended processes, because its object is not paused",
            );
            if let Some(group) = cluster.cloud.groups.get_mut(&name) {
                group.suspended.clear();
            }
            acted = true;
        }
    }
    acted
}

fn acts_on(cluster: &Cluster, key: &Key) -> bool {
    cluster
        .vintage
        .get(key)
        .is_some_and(|object| !is_paused(object))
}

/// The switch of the terminator is a setting of the operator's own.
fn restore_annotation(cluster: &mut Cluster, now: Timestamp) -> bool {
    let key = cluster.key(keys::VINTAGE_GROUP, "AWSCluster", &cluster.facts.id);
    let due = acts_on(cluster, &key)
        && cluster.vintage.get(&key).is_some_and(|object| {
            object["metadata"]["annotations"][keys::TERMINATE_UNHEALTHY] == "false"
        });
    let chance = &cluster.chance;
    if !cluster
        .timers
        .hold("operator-restores-annotation", "", due, now, || {
            chance.millis(60_000, RESYNC_MILLIS, "operator-resync", "annotation")
        })
    {
        return false;
    }
    cluster.vintage.edit(&key, |object| {
        if let Value::Object(annotations) = &mut object["metadata"]["annotations"] {
            annotations.shift_remove(keys::TERMINATE_UNHEALTHY);
        }
    })
}

fn rotate(cluster: &mut Cluster, now: Timestamp) -> bool {
    let active = cluster
        .vintage
        .of_kind("CertConfig")
        .any(|(_, config)| !is_paused(config));
    if !cluster
        .timers
        .hold("cert-operator", "", active, now, || ROTATION)
    {
        return false;
    }
    let key = Key::secret(
        &cluster.facts.namespace,
        &names::api_certificate_secret(&cluster.facts.id),
    );
    cluster.vintage.edit(&key, |secret| {
        let rotations = secret["metadata"]["annotations"]["giantswarm.io/rotations"]
            .as_str()
            .and_then(|n| n.parse::<u64>().ok())
            .unwrap_or(0);
        secret["metadata"]["annotations"]["giantswarm.io/rotations"] =
            (rotations + 1).to_string().into();
    })
}
