//! Worlds with one cluster in them.

use std::sync::LazyLock;

use drover_model::VintageCluster;
use drover_sim::{
    ClusterReport, FaultSpec, Genesis, KeyRing, LocalWorld, World, WorldConfig, generate,
    sample_crs,
};

/// Keys are made once for all tests.
static KEYS: LazyLock<KeyRing> = LazyLock::new(|| KeyRing::generate(1).unwrap());

/// A world, and the cluster in it that is migrated.
#[derive(Clone)]
pub(crate) struct Town {
    pub(crate) world: LocalWorld,
    pub(crate) cluster: String,
    pub(crate) installation: String,
}

impl Town {
    /// The sample: three masters in eu-central-1.
    pub(crate) fn three_masters() -> Self {
        Self::of(sample_crs(), WorldConfig::default())
    }

    /// A generated cluster with so many masters, in a region that begins like this.
    pub(crate) fn generated(masters: u32, region: &str) -> Self {
        let fits = |text: &String| {
            let cluster = &VintageCluster::read(&[("generated", text)]).unwrap()[0];
            cluster.replicas() == masters && cluster.region.starts_with(region)
        };
        let text = generate(200, 1).into_iter().find(fits).unwrap();
        Self::of(&text, WorldConfig::default())
    }

    /// The generated cluster with the most node pools.
    pub(crate) fn many_pools() -> Self {
        let pools = |text: &String| {
            let cluster = &VintageCluster::read(&[("generated", text)]).unwrap()[0];
            cluster.pools.len()
        };
        let text = generate(200, 1).into_iter().max_by_key(pools).unwrap();
        Self::of(&text, WorldConfig::default())
    }

    /// The sample in a world with these faults.
    pub(crate) fn with_faults(seed: u64, faults: &[&str]) -> Self {
        let faults: Vec<FaultSpec> = faults.iter().map(|text| text.parse().unwrap()).collect();
        let config = WorldConfig {
            seed,
            faults,
            ..WorldConfig::default()
        };
        Self::of(sample_crs(), config)
    }

    fn of(text: &str, config: WorldConfig) -> Self {
        let clusters = VintageCluster::read(&[("test", text)]).unwrap();
        let genesis = Genesis::with_keys(config, &clusters, &KEYS).unwrap();
        let world = World::from_genesis(&genesis).unwrap();
        let (cluster, installation) = world.clusters().next().unwrap();
        Self {
            cluster: cluster.to_owned(),
            installation: installation.to_owned(),
            world: LocalWorld::new(world),
        }
    }

    /// What a person would see of the cluster now.
    pub(crate) fn report(&self) -> ClusterReport {
        self.world.now().report_of(&self.cluster).unwrap()
    }
}
