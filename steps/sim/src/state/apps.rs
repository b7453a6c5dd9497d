//! What customers run in a cluster. The objects themselves lie in the cluster's realm.

use std::collections::{BTreeMap, BTreeSet};

/// One Deployment or StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct App {
    pub(crate) namespace: &'static str,
    pub(crate) name: &'static str,
    pub(crate) replicas: u32,
    /// A StatefulSet whose pods have a volume each; else a Deployment.
    pub(crate) stateful: bool,
    /// It runs on control-plane nodes, and nowhere else.
    pub(crate) on_control_plane: bool,
}

/// What customers run in a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Apps {
    pub(crate) all: Vec<App>,
    /// Pods ever made, for their names.
    pub(crate) pods_made: u64,
    /// Apps that have served once: from then on silence is a gap.
    pub(crate) served: BTreeSet<&'static str>,
    /// Zone of each volume, by the pod that it is of.
    pub(crate) volumes: BTreeMap<String, String>,
}
