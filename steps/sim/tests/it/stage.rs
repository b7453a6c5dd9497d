//! A world with one cluster, and short words for what tests do to it.

use std::{sync::LazyLock, time::Duration};

use drover_model::VintageCluster;
use drover_ports::{
    Call, Caller, CloudCall, CloudReply, Cluster as At, EtcdCall, EtcdReply, Gvk, Instance,
    InstanceHealth, KubeCall, KubeReply, Member, ObjectRef, PortError, ProbeCall, ProbeReply,
    Reply, SecretBytes, SecretObject, Via,
};
use drover_sim::{
    ClusterReport, Fate, Genesis, KeyRing, Request, World, WorldConfig, generate, sample_crs,
};
use drover_step_api::{Fence, Stamp, Timestamp};
use serde_json::{Value, json};

use crate::by_hand::Omit;

/// Keys are made once for all tests.
pub(crate) static KEYS: LazyLock<KeyRing> = LazyLock::new(|| KeyRing::generate(1).unwrap());

pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) id: String,
    pub(crate) installation: String,
    calls: u64,
}

pub(crate) fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A generated cluster with so many masters, in this partition's installation.
pub(crate) fn generated(masters: u32, region_prefix: &str) -> String {
    generate(200, 1)
        .into_iter()
        .find(|text| {
            let cluster = &VintageCluster::read(&[("generated", text)]).unwrap()[0];
            cluster.replicas() == masters && cluster.region.starts_with(region_prefix)
        })
        .unwrap()
}

impl Stage {
    /// The sample: three masters in eu-central-1.
    pub(crate) fn sample() -> Self {
        Self::of(sample_crs(), WorldConfig::default())
    }

    pub(crate) fn single_master() -> Self {
        Self::of(&generated(1, "eu-"), WorldConfig::default())
    }

    pub(crate) fn of(text: &str, config: WorldConfig) -> Self {
        let clusters = VintageCluster::read(&[("test", text)]).unwrap();
        let genesis = Genesis::with_keys(config, &clusters, &KEYS).unwrap();
        let world = World::from_genesis(&genesis).unwrap();
        let installation = world.clusters().next().unwrap().1.to_owned();
        Self {
            world,
            id: clusters[0].id.clone(),
            installation,
            calls: 0,
        }
    }

    /// The sample, up to where the first new member has been asked to join.
    pub(crate) fn joined(omit: Omit) -> Self {
        let mut stage = Self::sample();
        stage.up_to_join(sample_crs(), omit);
        stage
    }

    pub(crate) fn has_accident(&self, words: &str) -> bool {
        self.report()
            .accidents
            .iter()
            .any(|what| what.contains(words))
    }

    pub(crate) fn has_gap_because(&self, words: &str) -> bool {
        self.report()
            .gaps
            .iter()
            .any(|gap| gap.cause.contains(words))
    }

    pub(crate) fn member_count(&self) -> usize {
        self.report().etcd.len()
    }

    pub(crate) fn wait(&mut self, duration: Duration) {
        let until = self.world.now().after(duration);
        self.world.advance(until);
    }

    /// Lets time pass until something is so.
    pub(crate) fn wait_for(
        &mut self,
        what: &str,
        within: Duration,
        is_so: impl Fn(&mut Self) -> bool,
    ) {
        let end = self.world.now().after(within);
        while !is_so(self) {
            assert!(
                self.world.now() < end,
                "waited {within:?} for {what}: {:#?}",
                self.report()
            );
            self.wait(seconds(1));
        }
    }

    pub(crate) fn call(&mut self, call: Call) -> Result<Reply, PortError> {
        self.calls += 1;
        let stamp = call.mutates().then(|| self.stamp());
        let request = Request {
            caller: Caller {
                installation: self.installation.clone(),
                kind: "test.by_hand/1".into(),
                workflow: "by-hand".into(),
                step: "step".into(),
                attempt: 1,
                worker: "w".into(),
            },
            credentials: 0,
            call,
            stamp,
        };
        let now: Timestamp = self.world.now();
        self.world.call(now, &request)
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            workflow: "by-hand".into(),
            step: "step".into(),
            attempt: 1,
            fence: Fence {
                epoch: 1,
                counter: 1,
            },
            effect: "act".into(),
            idempotency_key: format!("key-{}", self.calls),
            compensating: false,
        }
    }

    pub(crate) fn report(&self) -> ClusterReport {
        self.world.report_of(&self.id).unwrap()
    }

    pub(crate) fn strike(&mut self, fate: &Fate) {
        let (now, id) = (self.world.now(), self.id.clone());
        assert!(
            self.world.strike(now, &id, fate),
            "{fate:?} changed nothing"
        );
    }

    pub(crate) fn kube(&mut self, at: At, call: KubeCall) -> Result<KubeReply, PortError> {
        match self.call(Call::Kube { at, call })? {
            Reply::Kube(reply) => Ok(reply),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn workload(&self, via: Via) -> At {
        At::Workload {
            cluster: self.id.clone(),
            via,
        }
    }

    pub(crate) fn find(&mut self, at: At, object: &ObjectRef) -> Option<Value> {
        let call = KubeCall::Get {
            object: object.clone(),
        };
        match self.kube(at, call) {
            Ok(KubeReply::Object { object }) => Some(object),
            Err(error) if error.is_not_found() => None,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn list(&mut self, at: At, gvk: &Gvk) -> Vec<Value> {
        let call = KubeCall::List {
            gvk: gvk.clone(),
            namespace: String::new(),
            labels: [].into(),
        };
        match self.kube(at, call).unwrap() {
            KubeReply::Objects { objects } => objects,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn apply(&mut self, at: At, object: Value) {
        self.kube(at, KubeCall::Apply { object }).unwrap();
    }

    pub(crate) fn patch(&mut self, at: At, object: &ObjectRef, patch: Value) {
        let call = KubeCall::MergePatch {
            object: object.clone(),
            patch,
            resource_version: None,
        };
        self.kube(at, call).unwrap();
    }

    pub(crate) fn delete(&mut self, at: At, object: &ObjectRef) {
        let call = KubeCall::Delete {
            object: object.clone(),
            uid: None,
        };
        self.kube(at, call).unwrap();
    }

    pub(crate) fn annotate(&mut self, at: At, object: &ObjectRef, key: &str, value: Value) {
        self.patch(
            at,
            object,
            json!({"metadata": {"annotations": {key: value}}}),
        );
    }

    pub(crate) fn secret(
        &mut self,
        at: At,
        namespace: &str,
        name: &str,
    ) -> Result<SecretObject, PortError> {
        let call = KubeCall::GetSecret {
            namespace: namespace.into(),
            name: name.into(),
        };
        match self.kube(at, call)? {
            KubeReply::Secret(secret) => Ok(secret),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn write_secret(
        &mut self,
        namespace: &str,
        name: &str,
        data: &[(&str, SecretBytes)],
    ) {
        let is_opaque = data
            .iter()
            .any(|(key, _)| *key == "encryption" || key.contains("join"))
            || name.ends_with("-sa-old");
        let secret = SecretObject {
            namespace: namespace.into(),
            name: name.into(),
            type_: if is_opaque {
                "Opaque"
            } else {
                "cluster.x-k8s.io/secret"
            }
            .into(),
            labels: [("cluster.x-k8s.io/cluster-name".to_owned(), self.id.clone())].into(),
            annotations: [].into(),
            data: data
                .iter()
                .map(|(k, v)| ((*k).to_owned(), v.clone()))
                .collect(),
        };
        self.kube(At::CapiMc, KubeCall::ApplySecret { secret })
            .unwrap();
    }

    pub(crate) fn token(&mut self, via: Via) -> SecretBytes {
        let call = KubeCall::RequestToken {
            namespace: "kube-system".into(),
            service_account: "default".into(),
        };
        let at = self.workload(via);
        match self.kube(at, call).unwrap() {
            KubeReply::Token { token } => token,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn accepts(&mut self, via: Via, token: &SecretBytes) -> bool {
        let call = KubeCall::ReviewToken {
            token: token.clone(),
        };
        let at = self.workload(via);
        match self.kube(at, call).unwrap() {
            KubeReply::Review { authenticated } => authenticated,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn cloud(&mut self, call: CloudCall) -> Result<CloudReply, PortError> {
        let cluster = self.id.clone();
        match self.call(Call::Cloud { cluster, call })? {
            Reply::Cloud(reply) => Ok(reply),
            other => panic!("{other:?}"),
        }
    }

    /// Instances with a tag, in the order of their ids.
    pub(crate) fn instances(&mut self, key: &str, value: &str) -> Vec<Instance> {
        let tags = [(key.to_owned(), value.to_owned())].into();
        match self.cloud(CloudCall::DescribeInstances { tags }).unwrap() {
            CloudReply::Instances(instances) => instances,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn masters(&mut self) -> Vec<Instance> {
        self.instances("giantswarm.io/stack", "tccpn")
    }

    /// Instances of Cluster API machines.
    pub(crate) fn machines(&mut self) -> Vec<Instance> {
        self.instances("sigs.k8s.io/cluster-api-provider-aws/role", "control-plane")
    }

    pub(crate) fn health(&mut self, elb: &str) -> Vec<InstanceHealth> {
        let call = CloudCall::DescribeInstanceHealth {
            load_balancer: elb.into(),
        };
        match self.cloud(call).unwrap() {
            CloudReply::Health(health) => health,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn is_in_service(&mut self, elb: &str, instance: &str) -> bool {
        self.health(elb)
            .iter()
            .any(|health| health.instance == instance && health.state == "InService")
    }

    pub(crate) fn etcd(&mut self, call: EtcdCall) -> Result<EtcdReply, PortError> {
        let cluster = self.id.clone();
        match self.call(Call::Etcd { cluster, call })? {
            Reply::Etcd(reply) => Ok(reply),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn members(&mut self) -> Vec<Member> {
        match self.etcd(EtcdCall::MemberList).unwrap() {
            EtcdReply::Members { members } => members,
            other => panic!("{other:?}"),
        }
    }

    /// Whether the API answers through a door.
    pub(crate) fn answers(&mut self, via: Via) -> bool {
        let cluster = self.id.clone();
        let call = Call::Probe {
            cluster,
            call: ProbeCall::Api { via },
        };
        match self.call(call).unwrap() {
            Reply::Probe(ProbeReply::Api(result)) => result.ok,
            other => panic!("{other:?}"),
        }
    }
}
