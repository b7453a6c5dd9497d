//! The bundle of ports that one attempt holds.

use std::sync::Arc;

use drover_step_api::{Permit, Stamp};

use crate::{
    CaSource, Call, Caller, Cloud, Cluster, Door, Etcd, Kube, PortError, PortErrorKind, Probe,
    RegionStore, Reply, Via,
};

/// All ports of one attempt. Refuses what the attempt's kind did not declare.
#[derive(Clone)]
pub struct Ports {
    line: Line,
}

/// A line to the door, with everything that the door asks of a caller.
#[derive(Clone)]
pub(crate) struct Line {
    door: Arc<dyn Door>,
    caller: Arc<Caller>,
    permissions: &'static [&'static str],
}

impl Ports {
    /// Ports for one attempt of a kind that declares `permissions`.
    pub fn new(door: Arc<dyn Door>, caller: Caller, permissions: &'static [&'static str]) -> Self {
        Self {
            line: Line {
                door,
                caller: Arc::new(caller),
                permissions,
            },
        }
    }

    /// The API of the vintage management cluster.
    pub fn vintage_mc(&self) -> Kube {
        Kube::new(self.line.clone(), Cluster::VintageMc)
    }

    /// The API of the Cluster API management cluster.
    pub fn capi_mc(&self) -> Kube {
        Kube::new(self.line.clone(), Cluster::CapiMc)
    }

    /// The API of a workload cluster.
    pub fn workload(&self, cluster: &str, via: Via) -> Kube {
        Kube::new(
            self.line.clone(),
            Cluster::Workload {
                cluster: cluster.to_owned(),
                via,
            },
        )
    }

    /// AWS, in the account and region of a workload cluster.
    pub fn cloud(&self, cluster: &str) -> Cloud {
        Cloud::new(self.line.clone(), cluster)
    }

    /// etcd of a workload cluster.
    pub fn etcd(&self, cluster: &str) -> Etcd {
        Etcd::new(self.line.clone(), cluster)
    }

    /// Where a workload cluster's CA key comes from.
    pub fn ca_source(&self, cluster: &str) -> CaSource {
        CaSource::new(self.line.clone(), cluster)
    }

    /// The installation's own store for what must be kept.
    pub fn region_store(&self) -> RegionStore {
        RegionStore::new(self.line.clone())
    }

    /// Looks at a workload cluster from the outside.
    pub fn probe(&self, cluster: &str) -> Probe {
        Probe::new(self.line.clone(), cluster)
    }
}

impl Line {
    pub(crate) async fn read(&self, call: Call) -> Result<Reply, PortError> {
        if call.mutates() {
            return Err(bug(&call, "a mutation was called without a permit"));
        }
        self.pass(call, None).await
    }

    pub(crate) async fn write(&self, permit: Permit, call: Call) -> Result<Reply, PortError> {
        self.pass(call, Some(permit.into_stamp())).await
    }

    async fn pass(&self, call: Call, stamp: Option<Stamp>) -> Result<Reply, PortError> {
        let action = call.action();
        if !self.permissions.contains(&action.as_str()) {
            return Err(bug(&call, "the step kind does not declare this permission"));
        }
        let first = self
            .door
            .pass(&self.caller, call.clone(), stamp.clone())
            .await;
        match first {
            // Nothing happened, and fresh ones are at hand: no step has to know that credentials end.
            Err(error) if error.kind == PortErrorKind::ExpiredCredentials => {
                self.door.refresh_credentials().await;
                self.door.pass(&self.caller, call, stamp).await
            }
            other => other,
        }
    }
}

fn bug(call: &Call, message: &str) -> PortError {
    PortError::new(PortErrorKind::Bug, call.action(), message)
}

/// The error for a reply of another shape than the call's.
pub(crate) fn mismatch(action: &str) -> PortError {
    PortError::new(
        PortErrorKind::Bug,
        action,
        "the reply does not belong to the call",
    )
}
