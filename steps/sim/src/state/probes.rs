//! What customers see, continuously.

use std::collections::BTreeMap;

use drover_step_api::Timestamp;
use serde::{Deserialize, Serialize};

/// A way in which customers reach the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeName {
    /// `api.<id>.k8s.<base>`
    OldName,
    /// The Cluster API load balancer, from its first healthy backend until its last one is withdrawn.
    NewName,
    /// The `kubernetes` service inside the cluster.
    InCluster,
    /// The customer's Services: one of them has no pod that serves.
    Services,
    /// From a pod to a pod of another node.
    Pods,
}

impl ProbeName {
    pub(crate) const ALL: [Self; 5] = [
        Self::OldName,
        Self::NewName,
        Self::InCluster,
        Self::Services,
        Self::Pods,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::OldName => "old-name",
            Self::NewName => "new-name",
            Self::InCluster => "in-cluster",
            Self::Services => "services",
            Self::Pods => "pods",
        }
    }
}

/// A time in which customers' requests failed, or some of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Which way.
    pub probe: ProbeName,
    /// Since when.
    pub from: Timestamp,
    /// Until when; `None` while it lasts.
    pub until: Option<Timestamp>,
    /// Why, as it was when it began.
    pub cause: String,
}

/// What a request through one way would see right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// There is no such way (yet, or any more).
    Absent,
    /// Every request succeeds.
    Ok,
    /// Requests wait. A client's patience ends after a few seconds, and then this is a gap from the beginning.
    Stalled(String),
    /// Some or all requests fail.
    Down(String),
}

/// What customers saw so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probes {
    pub(crate) gaps: Vec<Gap>,
    /// Since when something is not right, by way.
    pub(crate) bad_since: BTreeMap<ProbeName, Timestamp>,
    /// Longest time that requests had to wait without failing.
    pub(crate) longest_wait: BTreeMap<ProbeName, std::time::Duration>,
    /// Pairs of nodes with overlapping pod CIDRs, ever seen.
    pub(crate) shared_pod_cidrs: Vec<String>,
}

impl Probes {
    /// The gap that lasts, if any.
    pub(crate) fn open(&mut self, probe: ProbeName) -> Option<&mut Gap> {
        self.gaps
            .iter_mut()
            .rev()
            .find(|gap| gap.probe == probe && gap.until.is_none())
    }
}
