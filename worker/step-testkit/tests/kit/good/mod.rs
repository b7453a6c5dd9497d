//! Kinds that are as they should be.

mod await_seen;
mod hold_cluster;
mod keep_registered;
mod readers;

use std::time::Duration;

use drover_ports::{Gvk, ObjectRef, Ports};
use drover_step_api::{
    Class, Compensation, Declaration, LossPolicy, Registry, RetryPolicy, Role, Timeouts,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    await_seen::AwaitSeen,
    hold_cluster::{Held, HoldCluster},
    keep_registered::KeepRegistered,
    readers::{KeepKey, Look},
};

/// What all toy kinds share.
pub(crate) const BASE: Declaration = Declaration {
    name: "toy.base",
    version: 1,
    summary: "A toy.",
    role: Role::Step,
    class: Class::Light,
    reach: &[],
    effects: &[],
    compensation: Compensation::RollForward,
    loss_policy: LossPolicy::StopAtPermit,
    timeouts: Timeouts {
        schedule_to_start: None,
        start_to_close: Some(Duration::from_secs(1800)),
        schedule_to_close: None,
        heartbeat: Some(Duration::from_secs(30)),
    },
    retry: RetryPolicy {
        initial_interval: Duration::from_secs(1),
        maximum_interval: Duration::from_secs(60),
        backoff_coefficient: 2.0,
        maximum_attempts: 5,
        maximum_losses: 5,
    },
    permissions: &[],
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ClusterParams {
    pub(crate) cluster: String,
}

impl ClusterParams {
    pub(crate) fn sample() -> Self {
        Self {
            cluster: "abc12".to_owned(),
        }
    }
}

pub(crate) fn cluster_ref(params: &ClusterParams) -> ObjectRef {
    object_ref("Cluster", &params.cluster)
}

pub(crate) fn object_ref(kind: &str, name: &str) -> ObjectRef {
    ObjectRef::new(&Gvk::new("toy", "v1", kind), "", name)
}

pub(crate) fn registry() -> Registry<Ports> {
    let mut registry = Registry::default();
    let valid = "the declarations are valid and their names differ";
    registry.register(HoldCluster).expect(valid);
    registry.register(AwaitSeen).expect(valid);
    registry.register(KeepRegistered).expect(valid);
    registry.register(Look).expect(valid);
    registry.register(KeepKey).expect(valid);
    registry
}
