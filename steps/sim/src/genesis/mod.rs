//! The beginning of a world: what it was made from, complete enough to make exactly the same one again.

mod apps;
mod cloud;
mod dns;
mod facts;
mod management;
mod mishaps;
mod site;
mod stacks;
mod upkeep;
mod workload;

use std::{collections::BTreeMap, sync::Arc};

use drover_model::VintageCluster;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use cloud::{elb_dns_name, security_groups_of, stack_tags};
pub(crate) use site::Site;
pub(crate) use stacks::template as stack_template;
pub(crate) use workload::vintage_host;

use crate::{
    ClusterKeys, InstallationConfig, KeyRing, WorldConfig, WorldError,
    chance::Chance,
    config::installation_of,
    faults::FaultKind,
    objects::Store,
    rules,
    state::{Apps, Cluster, ClusterFaults, Cni, Etcd, PodCidrs, Probes, Upkeep},
    timers::Timers,
};

/// What a world is made from. Serializes into the first record of the journal; holds private keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Genesis {
    /// Seed, start, installations, faults.
    pub config: WorldConfig,
    /// Clusters.
    pub clusters: Vec<GenesisCluster>,
    /// What controllers use when they invent keys.
    spare: Arc<ClusterKeys>,
}

/// One cluster of a [`Genesis`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenesisCluster {
    /// The installation that it is in.
    pub installation: String,
    /// Its custom resources.
    documents: Vec<Value>,
    keys: Arc<ClusterKeys>,
}

impl Genesis {
    /// Puts each cluster into an installation and makes its keys.
    ///
    /// # Errors
    /// When no installation lies in a cluster's partition, or keys cannot be made.
    pub fn new(config: WorldConfig, clusters: &[VintageCluster]) -> Result<Self, WorldError> {
        let ring = KeyRing::generate(clusters.len())?;
        Self::with_keys(config, clusters, &ring)
    }

    /// As [`Genesis::new`], with ready-made keys.
    ///
    /// # Errors
    /// When no installation lies in a cluster's partition.
    pub fn with_keys(
        config: WorldConfig,
        clusters: &[VintageCluster],
        ring: &KeyRing,
    ) -> Result<Self, WorldError> {
        let clusters = clusters
            .iter()
            .enumerate()
            .map(|(n, cluster)| GenesisCluster::new(cluster, &config.installations, ring.get(n)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            config,
            clusters,
            spare: Arc::clone(&ring.spare),
        })
    }

    /// Makes the installations and clusters.
    pub(crate) fn unfold(&self) -> Result<Unfolded, WorldError> {
        let mut sites: BTreeMap<String, Site> = self
            .config
            .installations
            .iter()
            .map(|installation| {
                (
                    installation.name.clone(),
                    Site::new(installation, self.config.start),
                )
            })
            .collect();
        let mut clusters = BTreeMap::new();
        for cluster in &self.clusters {
            let unfolded = cluster.unfold(&self.config, &self.spare, &mut sites)?;
            let id = unfolded.facts.id.clone();
            if clusters.insert(id.clone(), unfolded).is_some() {
                return Err(WorldError::Twice(id));
            }
        }
        Ok((sites, clusters))
    }

    /// The keys that controllers invent.
    pub(crate) fn spare(&self) -> &Arc<ClusterKeys> {
        &self.spare
    }
}

/// Installations and clusters, by name and id.
pub(crate) type Unfolded = (BTreeMap<String, Site>, BTreeMap<String, Cluster>);

impl GenesisCluster {
    pub(crate) fn new(
        cluster: &VintageCluster,
        installations: &[InstallationConfig],
        keys: Arc<ClusterKeys>,
    ) -> Result<Self, WorldError> {
        Ok(Self {
            installation: installation_of(cluster, installations)?.name.clone(),
            documents: cluster.raw.clone(),
            keys,
        })
    }

    pub(crate) fn unfold(
        &self,
        config: &WorldConfig,
        spare: &Arc<ClusterKeys>,
        sites: &mut BTreeMap<String, Site>,
    ) -> Result<Cluster, WorldError> {
        let read = VintageCluster::from_objects("genesis", self.documents.clone())?;
        let vintage = &read[0];
        let site = sites
            .get_mut(&self.installation)
            .ok_or_else(|| WorldError::NoInstallation {
                cluster: vintage.id.clone(),
                region: vintage.region.clone(),
                partition: vintage.partition(),
            })?;
        let chance = Chance::new(config.seed, &vintage.id);
        let facts = Arc::new(facts::of(vintage, &site.config, &chance));
        let id = facts.id.clone();
        let fault = |kind: FaultKind| {
            config
                .faults
                .iter()
                .any(|fault| fault.kind == kind && fault.concerns_cluster(&id, config.seed))
        };
        let mut cluster = Cluster {
            identities: self.keys.identities(),
            keys: Arc::clone(&self.keys),
            spare: Arc::clone(spare),
            vintage: Store::new(format!("{}-vintage", facts.id)),
            capi: Store::new(format!("{}-capi", facts.id)),
            realms: BTreeMap::new(),
            cloud: cloud::of(vintage, &facts, &chance),
            hosts: BTreeMap::new(),
            etcd: Etcd::default(),
            leases: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            endpoint_port: None,
            upkeep: Upkeep::default(),
            cni: Cni::default(),
            pod_cidrs: PodCidrs::default(),
            bootstraps: BTreeMap::new(),
            machines_made: 0,
            evictions: 0,
            outdated: None,
            bootstrap_failures: BTreeMap::new(),
            jobs_done: BTreeMap::new(),
            apps: Apps::default(),
            timers: Timers::default(),
            probes: Probes::default(),
            faults: ClusterFaults {
                never_up: fault(FaultKind::NodeNeverUp),
                failing_joins: fault(FaultKind::JoinFails).into(),
                joins_failed: 0,
                slow_boot: fault(FaultKind::SlowBoot),
                node_dies: fault(FaultKind::DeadNodes),
                ..ClusterFaults::default()
            },
            demolished: false,
            accidents: Vec::new(),
            facts,
            chance,
        };
        let start = config.start;
        management::fill(&mut cluster, vintage, site, start);
        cloud::start_instances(&mut cluster, vintage, start);
        if fault(FaultKind::ScarceAddresses) {
            mishaps::scarce_addresses(&mut cluster);
        }
        workload::fill(&mut cluster, vintage, start);
        apps::fill(&mut cluster, start);
        if fault(FaultKind::BlockingBudget) {
            mishaps::blocking_budget(&mut cluster);
        }
        upkeep::fill(&mut cluster, start);
        rules::settle(&mut cluster, start);
        Ok(cluster)
    }
}
