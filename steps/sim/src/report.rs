//! What a person wants to see of the world after a demo.

use std::collections::BTreeMap;

use drover_step_api::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    FaultKind, Gap, ProbeName, World,
    normalized::{elb_role, role_name},
    rules,
    state::{Cluster, InstanceRole, Proc},
};

/// What a person wants to see of the world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The domain clock.
    pub now: Timestamp,
    /// Clusters, ordered by id.
    pub clusters: Vec<ClusterReport>,
    /// Outside calls by action.
    pub calls: BTreeMap<String, u64>,
    /// Injected faults by kind.
    pub faults: BTreeMap<FaultKind, u64>,
}

/// Where a cluster stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterState {
    /// As it was.
    Vintage,
    /// Something of the Cluster API side is there.
    Mixed,
    /// Three Cluster API nodes serve and hold etcd; no vintage one does.
    Migrated,
    /// Deleted.
    Gone,
}

/// One cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterReport {
    /// Its id.
    pub id: String,
    /// Its installation.
    pub installation: String,
    /// AWS region.
    pub region: String,
    /// Where it stands.
    pub state: ClusterState,
    /// Control-plane hosts by role, and the processes that run on them.
    pub control_plane: BTreeMap<String, Vec<String>>,
    /// etcd members: role of their host, and what they are (`leader`, `member`, `learner`, `unstarted`, `down`).
    pub etcd: BTreeMap<String, String>,
    /// Load balancers by role, their instances by role: true when in service.
    pub load_balancers: BTreeMap<String, BTreeMap<String, bool>>,
    /// Times in which customers' requests failed. An open one lasts.
    pub gaps: Vec<Gap>,
    /// Longest time in milliseconds that requests had to wait without failing, by way.
    pub longest_wait_ms: BTreeMap<ProbeName, u64>,
    /// Pairs of nodes that had overlapping pod CIDRs.
    pub shared_pod_cidrs: Vec<String>,
    /// What rules of reality did to it that nobody wants.
    pub accidents: Vec<String>,
}

impl Report {
    /// True when no cluster has a gap, shared addresses or an accident.
    pub fn is_clean(&self) -> bool {
        self.clusters.iter().all(|cluster| {
            cluster.gaps.is_empty()
                && cluster.shared_pod_cidrs.is_empty()
                && cluster.accidents.is_empty()
        })
    }
}

impl World {
    /// What a person wants to see.
    pub fn report(&self) -> Report {
        let mut calls = BTreeMap::new();
        for entry in &self.ledger {
            *calls.entry(entry.action.clone()).or_default() += 1;
        }
        Report {
            now: self.now(),
            clusters: self.realm.clusters.values().map(of_cluster).collect(),
            calls,
            faults: self.injected(),
        }
    }

    /// Faults that struck: of calls, and of machines as they were made.
    fn injected(&self) -> BTreeMap<FaultKind, u64> {
        let mut faults = self.faults.injected.clone();
        for cluster in self.realm.clusters.values() {
            let made = cluster.machines_made;
            let never_up = u64::from(cluster.faults.never_up).min(made);
            let slow = if cluster.faults.slow_boot { made } else { 0 };
            for (kind, count) in [
                (FaultKind::NodeNeverUp, never_up),
                (FaultKind::JoinFails, cluster.faults.joins_failed),
                (FaultKind::SlowBoot, slow),
                (FaultKind::DeadNodes, cluster.faults.dead_nodes.into()),
                (
                    FaultKind::BlockingBudget,
                    cluster.faults.relaxed_budgets.into(),
                ),
                (
                    FaultKind::ScarceAddresses,
                    cluster.faults.full_subnets.into(),
                ),
            ] {
                if count > 0 {
                    *faults.entry(kind).or_default() += count;
                }
            }
        }
        faults
    }

    /// One cluster of the report.
    pub fn report_of(&self, cluster: &str) -> Option<ClusterReport> {
        self.realm.clusters.get(cluster).map(of_cluster)
    }
}

fn of_cluster(cluster: &Cluster) -> ClusterReport {
    let role = |id: &str| role_name(cluster, id).unwrap_or_else(|| id.to_owned());
    ClusterReport {
        id: cluster.facts.id.clone(),
        installation: cluster.facts.installation.clone(),
        region: cluster.facts.region.clone(),
        state: state(cluster),
        control_plane: cluster
            .hosts
            .iter()
            .map(|(id, host)| {
                let running = host
                    .running
                    .iter()
                    .map(|proc| proc.word().to_owned())
                    .collect();
                (role(id), running)
            })
            .collect(),
        etcd: cluster
            .etcd
            .members
            .iter()
            .map(|member| {
                let word = match member {
                    member if !member.started => "unstarted",
                    member if !rules::etcd::is_up(cluster, member) => "down",
                    member if member.learner => "learner",
                    member if cluster.etcd.leader == Some(member.id) => "leader",
                    _ => "member",
                };
                (role(&member.instance), word.to_owned())
            })
            .collect(),
        load_balancers: cluster
            .cloud
            .elbs
            .values()
            .map(|elb| {
                let backends = elb
                    .backends
                    .iter()
                    .map(|(id, backend)| (role(id), backend.in_service))
                    .collect();
                (elb_role(&cluster.facts.id, &elb.name), backends)
            })
            .collect(),
        gaps: cluster.probes.gaps.clone(),
        longest_wait_ms: cluster
            .probes
            .longest_wait
            .iter()
            .map(|(probe, wait)| (*probe, u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
            .collect(),
        shared_pod_cidrs: cluster.probes.shared_pod_cidrs.clone(),
        accidents: cluster
            .accidents
            .iter()
            .map(|accident| accident.what.clone())
            .collect(),
    }
}

fn state(cluster: &Cluster) -> ClusterState {
    if cluster.demolished {
        return ClusterState::Gone;
    }
    let is_capi = |instance: &str| {
        matches!(
            cluster.cloud.instances.get(instance).map(|i| &i.role),
            Some(InstanceRole::ControlPlane(_))
        )
    };
    let serving = |capi: bool| {
        cluster
            .hosts
            .iter()
            .filter(|(id, host)| is_capi(id) == capi && host.runs(Proc::ApiServer))
            .count()
    };
    let members = |capi: bool| {
        cluster
            .etcd
            .members
            .iter()
            .filter(|member| is_capi(&member.instance) == capi)
            .count()
    };
    match (serving(true), members(true), serving(false), members(false)) {
        (3, 3, 0, 0) => ClusterState::Migrated,
        (0, 0, _, _) if cluster.capi.iter().next().is_none() => ClusterState::Vintage,
        _ => ClusterState::Mixed,
    }
}
