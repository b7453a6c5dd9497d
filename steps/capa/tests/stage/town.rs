//! Worlds with one cluster in them.

use std::sync::LazyLock;

use drover_model::VintageCluster;
use drover_ports::{
    Call, Caller, CloudCall, CloudReply, Cluster, Door, Gvk, KubeCall, ObjectRef, Reply, Via,
};
use drover_sim::{
    ClusterReport, Fate, FaultSpec, Genesis, KeyRing, LocalWorld, World, WorldConfig, generate,
    sample_crs,
};
use drover_step_api::{Fence, Stamp};
use serde_json::Value;

/// Keys are made once for all tests.
static KEYS: LazyLock<KeyRing> = LazyLock::new(|| KeyRing::generate(1).unwrap());

/// A world, and the cluster in it that is migrated.
#[derive(Clone)]
pub(crate) struct Town {
    pub(crate) world: LocalWorld,
    pub(crate) cluster: String,
    pub(crate) namespace: String,
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
            namespace: clusters[0].namespace.clone(),
            installation: installation.to_owned(),
            world: LocalWorld::new(world),
        }
    }

    /// Lets something happen to the cluster.
    pub(crate) fn befall(&self, fate: &Fate) {
        let mut world = self.world.now();
        let now = world.now();
        assert!(
            world.strike(now, &self.cluster, fate),
            "it changes something"
        );
    }

    /// A call that no step makes.
    pub(crate) async fn by_hand(&self, call: Call) -> Reply {
        let caller = Caller {
            installation: self.installation.clone(),
            kind: "test.by_hand/1".to_owned(),
            workflow: "by-hand".to_owned(),
            step: "by-hand".to_owned(),
            attempt: 1,
            worker: "nobody".to_owned(),
        };
        let stamp = call.mutates().then(|| Stamp {
            workflow: caller.workflow.clone(),
            step: caller.step.clone(),
            attempt: 1,
            fence: Fence {
                epoch: 1,
                counter: 1,
            },
            effect: "by-hand".to_owned(),
            idempotency_key: "by-hand".to_owned(),
            compensating: false,
        });
        let door = self.world.door();
        door.pass(&caller, call, stamp).await.unwrap()
    }

    /// As [`Town::by_hand`], of a Kubernetes object.
    pub(crate) async fn patch(&self, at: Cluster, object: ObjectRef, patch: Value) {
        let resource_version = None;
        let call = KubeCall::MergePatch {
            object,
            patch,
            resource_version,
        };
        self.by_hand(Call::Kube { at, call }).await;
    }

    /// The API of the cluster itself.
    pub(crate) fn workload(&self) -> Cluster {
        Cluster::Workload {
            cluster: self.cluster.clone(),
            via: Via::OldName,
        }
    }

    /// One of its objects on a management cluster.
    pub(crate) fn object(&self, api_version: &str, kind: &str, name: &str) -> ObjectRef {
        ObjectRef::new(&Gvk::of(api_version, kind), &self.namespace, name)
    }

    /// As [`Town::by_hand`], of AWS.
    pub(crate) async fn cloud(&self, call: CloudCall) -> CloudReply {
        let cluster = self.cluster.clone();
        match self.by_hand(Call::Cloud { cluster, call }).await {
            Reply::Cloud(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    /// What a person would see of the cluster now.
    pub(crate) fn report(&self) -> ClusterReport {
        self.world.now().report_of(&self.cluster).unwrap()
    }
}
