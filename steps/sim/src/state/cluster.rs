//! One cluster with everything that belongs to it. Clusters share nothing, so what happens to one never depends on the
//! order in which calls about others arrive.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drover_model::{Partition, Version};
use drover_step_api::Timestamp;
use serde_json::Value;

use super::{Apps, Cloud, Cni, Etcd, Host, Probes, Upkeep};
use crate::{
    chance::Chance,
    keys::{ClusterKeys, Identities},
    objects::{Key, Store},
    timers::Timers,
};

/// Where the vintage cluster's objects lie in etcd.
pub(crate) const VINTAGE_REALM: &str = "giantswarm.io";

/// What never changes about a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) id: String,
    pub(crate) namespace: String,
    pub(crate) organization: String,
    pub(crate) installation: String,
    pub(crate) region: String,
    pub(crate) partition: Partition,
    pub(crate) account: String,
    pub(crate) base_domain: String,
    pub(crate) old_name: String,
    pub(crate) new_name: String,
    pub(crate) masters: u32,
    pub(crate) kubernetes: Version,
    pub(crate) pod_cidr: String,
    pub(crate) service_cidr: String,
    /// Name of the control plane's objects.
    pub(crate) control_plane: String,
    pub(crate) capa_role_arn: String,
}

/// What CABPK wrote for a Machine, as it was then.
#[derive(Clone, Debug)]
pub(crate) struct Bootstrap {
    /// The first control-plane machine: `kubeadm init`.
    pub(crate) init: bool,
    /// The KubeadmConfig's spec.
    pub(crate) spec: Value,
    /// Files by path, with the content of Secrets.
    pub(crate) files: BTreeMap<String, String>,
    /// Identities of the certificates and keys that came with it.
    pub(crate) identities: Identities,
    /// CA of etcd, which may be another one.
    pub(crate) etcd_ca: String,
}

/// Who leads a component.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease {
    /// Instance of the holder; stays until somebody else takes over.
    pub(crate) holder: Option<String>,
    /// Changes of holder so far.
    pub(crate) transitions: u64,
}

/// The allocator of the leading controller manager: blocks of one size, in use or free. As in reality it knows nothing
/// finer than its own blocks.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodCidrs {
    pub(crate) mask: u8,
    pub(crate) used: BTreeSet<u32>,
}

/// Faults that lie in the cluster rather than in calls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClusterFaults {
    /// The first machine never boots.
    pub(crate) never_up: bool,
    /// So many of the next machines that join the control plane fail to.
    pub(crate) failing_joins: u32,
    /// So many have failed to.
    pub(crate) joins_failed: u64,
    /// Machines boot slowly.
    pub(crate) slow_boot: bool,
    /// So many of the next nodes of pools never come up.
    pub(crate) lost_pool_nodes: u32,
    /// A node is going to die, once nobody replaces it any more.
    pub(crate) node_dies: bool,
    /// Nodes that died so.
    pub(crate) dead_nodes: u32,
    /// A budget lets no pod go, and its owner has not been asked.
    pub(crate) stern_budget: bool,
    /// Budgets whose owner had to be asked.
    pub(crate) relaxed_budgets: u32,
    /// Subnets that had next to no free addresses when the world began.
    pub(crate) full_subnets: u32,
}

/// One cluster.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) facts: Arc<Facts>,
    pub(crate) chance: Chance,
    pub(crate) keys: Arc<ClusterKeys>,
    /// What controllers use when they invent keys.
    pub(crate) spare: Arc<ClusterKeys>,
    pub(crate) identities: Identities,
    /// Its objects on the vintage management cluster.
    pub(crate) vintage: Store,
    /// Its objects on the Cluster API management cluster.
    pub(crate) capi: Store,
    /// Its own objects, by prefix in etcd.
    pub(crate) realms: BTreeMap<String, Store>,
    pub(crate) cloud: Cloud,
    /// Control-plane hosts by instance id.
    pub(crate) hosts: BTreeMap<String, Host>,
    pub(crate) etcd: Etcd,
    /// `kube-controller-manager` and `kube-scheduler`.
    pub(crate) leases: BTreeMap<&'static str, Lease>,
    /// Addresses behind the `kubernetes` service, by instance id, with the port that each API server binds.
    pub(crate) endpoints: BTreeMap<String, u16>,
    /// The one port that all of them are said to have.
    pub(crate) endpoint_port: Option<u16>,
    /// Who keeps its objects as they should be.
    pub(crate) upkeep: Upkeep,
    /// The network of its pods.
    pub(crate) cni: Cni,
    /// The pod CIDR allocator of the controller manager that leads.
    pub(crate) pod_cidrs: PodCidrs,
    /// By Machine.
    pub(crate) bootstraps: BTreeMap<String, Bootstrap>,
    /// Machines ever made, for names and for failure domains.
    pub(crate) machines_made: u64,
    /// Evictions since the control plane was last held.
    pub(crate) evictions: u64,
    /// Machines of another spec than the control plane's, and as of which change of the objects: to compare specs is dear, and
    /// they are asked for at every turn.
    pub(crate) outdated: Option<(u64, Vec<String>)>,
    /// Failed looks of CABPK, by Machine, for its back-off.
    pub(crate) bootstrap_failures: BTreeMap<String, u32>,
    /// Jobs that were carried out and have not been reported yet, by uid: true when they succeeded.
    pub(crate) jobs_done: BTreeMap<String, bool>,
    /// What customers run.
    pub(crate) apps: Apps,
    pub(crate) timers: Timers,
    pub(crate) probes: Probes,
    pub(crate) faults: ClusterFaults,
    /// True once the cluster has been deleted with all its stacks.
    pub(crate) demolished: bool,
    /// What went wrong by a rule of reality, for the report.
    pub(crate) accidents: Vec<Accident>,
}

/// Something that a rule of reality did to the cluster and that nobody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accident {
    pub(crate) at: Timestamp,
    pub(crate) what: String,
}

impl Cluster {
    /// Key of an object in the cluster's namespace.
    pub(crate) fn key(&self, group: &str, kind: &str, name: &str) -> Key {
        Key::new(group, kind, &self.facts.namespace, name)
    }

    /// Writes an accident down, once for the same words.
    pub(crate) fn accident(&mut self, at: Timestamp, what: impl Into<String>) {
        let what = what.into();
        if !self.accidents.iter().any(|accident| accident.what == what) {
            self.accidents.push(Accident { at, what });
        }
    }
}
