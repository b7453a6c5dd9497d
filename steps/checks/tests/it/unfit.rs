//! Ways of being unfit, and what each check says about them.

use std::time::Duration;

use drover_model::{
    ClusterPlan,
    cr::keys,
    names,
    node_job::{NodeCommand, NodeJob},
    target::api,
};
use drover_ports::{
    Call, CloudCall, Cluster, Gvk, KubeCall, KubeReply, ObjectRef, Reply, SecretBytes, SecretObject,
};
use drover_sim::Fate;
use drover_step_api::Clock as _;
use drover_steps_checks::preflight::Severity::{self, Blocker, Warning};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::stage::Town;

/// How a cluster comes to be unfit.
#[derive(Clone, Copy)]
pub(crate) enum Unfit {
    /// Something has happened to it.
    World(for<'t> fn(&'t Town) -> BoxFuture<'t, ()>),
    /// The inventory says so.
    Plan(fn(&mut ClusterPlan)),
}

/// One way of being unfit.
pub(crate) struct Case {
    pub(crate) check: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unfit: Unfit,
    /// Everything that is found beyond what is found in a healthy cluster, ordered.
    pub(crate) finds: &'static [(Severity, &'static str)],
}

const VINTAGE: &str = "infrastructure.giantswarm.io/v1alpha3";

pub(crate) const CASES: &[Case] = &[
    Case {
        check: "release",
        what: "a release before migrations",
        unfit: Unfit::Plan(|plan| plan.release = Some("19.3.1".parse().unwrap())),
        finds: &[(Blocker, "release-too-old")],
    },
    Case {
        check: "release",
        what: "no release at all",
        unfit: Unfit::Plan(|plan| plan.release = None),
        finds: &[(Blocker, "release-unknown")],
    },
    Case {
        check: "release",
        what: "an upgrade under way",
        unfit: Unfit::Plan(|plan| plan.condition = "Updating".to_owned()),
        finds: &[(Blocker, "cluster-not-idle")],
    },
    Case {
        check: "release",
        what: "an upgrade that is to begin",
        unfit: Unfit::World(|town| Box::pin(schedule(town, "20.9.0", "49"))),
        finds: &[(Blocker, "upgrade-scheduled")],
    },
    Case {
        check: "release",
        what: "the annotations of an upgrade that is over",
        unfit: Unfit::World(|town| Box::pin(schedule(town, "20.1.2", "20"))),
        finds: &[(Warning, "upgrade-schedule-stale")],
    },
    Case {
        check: "custom-resources",
        what: "a NetworkPool that is named and not there",
        unfit: Unfit::World(|town| {
            let patch = json!({"spec": {"provider": {"nodes": {"networkPool": "shared"}}}});
            Box::pin(patch_aws_cluster(town, patch))
        }),
        finds: &[(Warning, "network-pool-missing")],
    },
    Case {
        check: "gitops",
        what: "a Kustomization that applies the Cluster",
        unfit: Unfit::World(|town| {
            let owner = "kustomize.toolkit.fluxcd.io/name";
            Box::pin(label(town, owner, json!("fleet")))
        }),
        finds: &[(Blocker, "gitops-active")],
    },
    Case {
        check: "stacks",
        what: "a stack update under way",
        unfit: Unfit::World(|town| Box::pin(befall(town, Fate::StackUpdates(true)))),
        finds: &[(Blocker, "stack-updates")],
    },
    Case {
        check: "control-plane",
        what: "a master without a scheduler",
        unfit: Unfit::World(|town| Box::pin(park(town, "k8s-scheduler.yaml"))),
        finds: &[(Blocker, "static-pods-missing")],
    },
    Case {
        check: "control-plane",
        what: "a node of another version",
        unfit: Unfit::World(|town| {
            let patch = json!({"status": {"nodeInfo": {"kubeletVersion": "v1.24.17"}}});
            Box::pin(patch_node(town, patch))
        }),
        finds: &[(Blocker, "versions-differ")],
    },
    Case {
        check: "control-plane",
        what: "a node that is not ready",
        unfit: Unfit::World(|town| Box::pin(break_kubelet(town))),
        finds: &[(Warning, "nodes-not-ready")],
    },
    Case {
        check: "control-plane",
        what: "a master that is not there",
        unfit: Unfit::Plan(|plan| plan.control_plane.zones.push("eu-central-1a".to_owned())),
        finds: &[(Blocker, "masters-missing")],
    },
    Case {
        check: "api-endpoints",
        what: "a master whose API server does not run",
        unfit: Unfit::World(|town| Box::pin(park(town, "k8s-api-server.yaml"))),
        finds: &[
            (Blocker, "endpoints-missing"),
            (Blocker, "static-pods-missing"),
        ],
    },
    Case {
        check: "etcd-health",
        what: "an alarm",
        unfit: Unfit::World(|town| {
            let alarm = Fate::EtcdAlarm("NOSPACE on etcd1".to_owned());
            Box::pin(befall(town, alarm))
        }),
        finds: &[(Blocker, "etcd-alarms")],
    },
    Case {
        check: "etcd-health",
        what: "a member that nobody knows",
        unfit: Unfit::Plan(|plan| plan.masters[0].member = "etcd9".to_owned()),
        finds: &[(Blocker, "etcd-members")],
    },
    Case {
        check: "etcd-health",
        what: "a member that is down",
        unfit: Unfit::World(|town| {
            let unit = "etcd3.service".to_owned();
            Box::pin(on_a_master(town, NodeCommand::StopUnit { unit }))
        }),
        finds: &[(Blocker, "etcd-member-down")],
    },
    Case {
        check: "etcd-health",
        what: "a database above half of its quota",
        unfit: Unfit::Plan(|plan| plan.etcd_quota_bytes = 1),
        finds: &[(Blocker, "etcd-too-large")],
    },
    Case {
        check: "etcd-migrator",
        what: "the migrator's Job",
        unfit: Unfit::World(|town| Box::pin(befall(town, Fate::MigratorWakes))),
        finds: &[(Warning, "etcd-migrator-there")],
    },
    Case {
        check: "node-cidrs",
        what: "a node with a block of another mask",
        unfit: Unfit::World(|town| {
            Box::pin(patch_node(
                town,
                json!({"spec": {"podCIDR": "10.99.0.0/24"}}),
            ))
        }),
        finds: &[(Blocker, "node-cidr-mask")],
    },
    Case {
        check: "node-cidrs",
        what: "two nodes with one block",
        unfit: Unfit::World(|town| Box::pin(share_a_block(town))),
        finds: &[(Blocker, "node-cidrs-overlap")],
    },
    Case {
        check: "pod-cidr",
        what: "a controller manager that hands out another range",
        unfit: Unfit::World(|town| Box::pin(other_pod_cidr(town))),
        finds: &[(Blocker, "pod-cidr-differs")],
    },
    Case {
        check: "pod-cidr",
        what: "services in the pods' network",
        unfit: Unfit::Plan(|plan| plan.network.service_cidr = plan.network.pod_cidr.clone()),
        finds: &[(Blocker, "networks-overlap")],
    },
    Case {
        check: "vpc",
        what: "a VPC that CAPA would call its own",
        unfit: Unfit::World(|town| Box::pin(tag_vpc(town))),
        finds: &[(Blocker, "vpc-managed")],
    },
    Case {
        check: "vpc",
        what: "a zone without a private subnet",
        unfit: Unfit::Plan(|plan| {
            plan.network
                .subnets
                .retain(|subnet| subnet.public || subnet.zone != plan.control_plane.zones[0]);
        }),
        finds: &[(Blocker, "subnet-missing")],
    },
    Case {
        check: "routes",
        what: "a subnet at the VPC's main route table",
        unfit: Unfit::Plan(|plan| plan.network.subnets[0].route_table = String::new()),
        finds: &[(Blocker, "route-table-implicit")],
    },
    Case {
        check: "free-addresses",
        what: "full subnets",
        unfit: Unfit::World(|town| Box::pin(befall(town, Fate::SubnetsFilled(0)))),
        finds: &[(Blocker, "addresses-exhausted")],
    },
    Case {
        check: "capa-role",
        what: "a role that cannot be assumed",
        unfit: Unfit::World(|town| Box::pin(befall(town, Fate::CapaRoleWithdrawn))),
        finds: &[(Blocker, "capa-role")],
    },
    Case {
        check: "ca",
        what: "an API certificate of an unknown CA",
        unfit: Unfit::World(|town| {
            let name = names::api_certificate_secret(&town.cluster);
            let secret = secret(town, name, &[("ca", "not a certificate")]);
            Box::pin(replace_secret(town, secret))
        }),
        finds: &[(Blocker, "ca-differs")],
    },
    Case {
        check: "service-accounts",
        what: "a key pair that does not fit",
        unfit: Unfit::World(|town| {
            let name = names::service_account_v2_secret(&town.cluster);
            let secret = secret(town, name, &[("key", "one"), ("pub", "another")]);
            Box::pin(replace_secret(town, secret))
        }),
        finds: &[(Blocker, "service-account-key")],
    },
    Case {
        check: "service-accounts",
        what: "no issuer",
        unfit: Unfit::Plan(|plan| plan.service_accounts.issuers.clear()),
        finds: &[(Blocker, "issuers-unknown")],
    },
    Case {
        check: "encryption",
        what: "a rotation under way",
        unfit: Unfit::World(|town| Box::pin(befall(town, Fate::EncryptionRotates))),
        finds: &[(Blocker, "encryption-rotates")],
    },
    Case {
        check: "leftovers",
        what: "a CA from an earlier attempt",
        unfit: Unfit::World(|town| {
            let [name, ..] = names::ca_secrets(&town.cluster);
            let secret = secret(town, name, &[("tls.crt", "old")]);
            Box::pin(put_secret(town, Cluster::CapiMc, secret))
        }),
        finds: &[(Blocker, "leftover")],
    },
    Case {
        check: "encryption",
        what: "no configuration",
        unfit: Unfit::World(|town| {
            let name = names::encryption_secret(&town.cluster);
            let object = town.object("v1", "Secret", &name);
            Box::pin(delete(town, Cluster::VintageMc, object))
        }),
        finds: &[(Blocker, "encryption-missing")],
    },
    Case {
        check: "leftovers",
        what: "no namespace",
        unfit: Unfit::World(|town| {
            let gvk = Gvk::new("", "v1", "Namespace");
            let object = ObjectRef::new(&gvk, "", &town.namespace);
            Box::pin(delete(town, Cluster::CapiMc, object))
        }),
        finds: &[(Blocker, "namespace-missing")],
    },
    Case {
        check: "leftovers",
        what: "a controller that does not run",
        unfit: Unfit::World(|town| Box::pin(stop_controller(town))),
        finds: &[(Blocker, "controller-not-ready")],
    },
];

async fn befall(town: &Town, fate: Fate) {
    town.befall(&fate);
}

fn cluster(town: &Town) -> ObjectRef {
    town.object(api::CAPI, "Cluster", &town.cluster)
}

async fn label(town: &Town, key: &str, value: Value) {
    let patch = json!({"metadata": {"labels": {key: value}}});
    town.patch(Cluster::VintageMc, cluster(town), patch).await;
}

async fn schedule(town: &Town, release: &str, year: &str) {
    let time = format!("01 Jan {year} 08:00 UTC");
    let patch = json!({"metadata": {"annotations": {
        keys::UPDATE_TARGET_RELEASE: release,
        keys::UPDATE_TARGET_TIME: time,
    }}});
    town.patch(Cluster::VintageMc, cluster(town), patch).await;
}

async fn patch_aws_cluster(town: &Town, patch: Value) {
    let object = town.object(VINTAGE, "AWSCluster", &town.cluster);
    town.patch(Cluster::VintageMc, object, patch).await;
}

/// The objects of a kind in the cluster itself.
async fn list(town: &Town, kind: &str, namespace: &str) -> Vec<Value> {
    let call = KubeCall::List {
        gvk: Gvk::new("", "v1", kind),
        namespace: namespace.to_owned(),
        labels: [].into(),
    };
    let at = town.workload();
    match town.by_hand(Call::Kube { at, call }).await {
        Reply::Kube(KubeReply::Objects { objects }) => objects,
        other => panic!("{other:?}"),
    }
}

fn reference(kind: &str, object: &Value) -> ObjectRef {
    let metadata = &object["metadata"];
    ObjectRef::new(
        &Gvk::new("", "v1", kind),
        metadata["namespace"].as_str().unwrap_or_default(),
        metadata["name"].as_str().unwrap(),
    )
}

/// The Nodes of a role.
async fn nodes(town: &Town, role: &str) -> Vec<Value> {
    let mut nodes = list(town, "Node", "").await;
    nodes.retain(|node| node["metadata"]["labels"]["role"] == role);
    nodes
}

async fn patch_node(town: &Town, patch: Value) {
    let node = reference("Node", &nodes(town, "worker").await[0]);
    town.patch(town.workload(), node, patch).await;
}

async fn share_a_block(town: &Town) {
    let block = nodes(town, "worker").await[1]["spec"]["podCIDR"].clone();
    patch_node(town, json!({"spec": {"podCIDR": block}})).await;
}

async fn break_kubelet(town: &Town) {
    let node = &nodes(town, "worker").await[0];
    let provider_id = node["spec"]["providerID"].as_str().unwrap();
    let (_, instance) = provider_id.rsplit_once('/').unwrap();
    town.befall(&Fate::KubeletBreaks(instance.to_owned()));
    noticed(town).await;
}

async fn park(town: &Town, manifest: &str) {
    let manifest = manifest.to_owned();
    on_a_master(town, NodeCommand::Park { manifest }).await;
}

/// Does something on one master.
async fn on_a_master(town: &Town, command: NodeCommand) {
    let master = &nodes(town, "master").await[0]["metadata"]["name"];
    let job = NodeJob {
        name: "by-hand".to_owned(),
        node: master.as_str().unwrap().to_owned(),
        image: "alpine".to_owned(),
        commands: vec![command],
    };
    let object = job.render();
    let at = town.workload();
    let call = KubeCall::Create { object };
    town.by_hand(Call::Kube { at, call }).await;
    noticed(town).await;
}

/// Lets time pass in which everybody sees it, and nobody has repaired it yet.
async fn noticed(town: &Town) {
    town.world.clock().sleep(Duration::from_secs(50)).await;
}

async fn other_pod_cidr(town: &Town) {
    let pods = list(town, "Pod", "kube-system").await;
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
    // The inventory reads the first one.
    let second = pods
        .iter()
        .filter(|pod| name(pod).starts_with("k8s-controller-manager-"))
        .nth(1)
        .unwrap();
    let patch = json!({"spec": {"containers": [{
        "command": ["kube-controller-manager", "--cluster-cidr=10.200.0.0/16"],
    }]}});
    town.patch(town.workload(), reference("Pod", second), patch)
        .await;
}

async fn tag_vpc(town: &Town) {
    let call = CloudCall::CreateTags {
        resources: vec![vpc(town).await],
        tags: [(names::tag_capa_cluster(&town.cluster), "owned".to_owned())].into(),
    };
    town.cloud(call).await;
}

async fn vpc(town: &Town) -> String {
    let object = town.object(VINTAGE, "AWSCluster", &town.cluster);
    let call = KubeCall::Get { object };
    let at = Cluster::VintageMc;
    match town.by_hand(Call::Kube { at, call }).await {
        Reply::Kube(KubeReply::Object { object }) => {
            let vpc = &object["status"]["provider"]["network"]["vpcID"];
            vpc.as_str().unwrap().to_owned()
        }
        other => panic!("{other:?}"),
    }
}

fn secret(town: &Town, name: String, data: &[(&str, &str)]) -> SecretObject {
    SecretObject {
        namespace: town.namespace.clone(),
        name,
        type_: "Opaque".to_owned(),
        labels: [(keys::CLUSTER.to_owned(), town.cluster.clone())].into(),
        annotations: [].into(),
        data: data
            .iter()
            .map(|(key, value)| {
                let value = SecretBytes::new(value.as_bytes().to_vec());
                ((*key).to_owned(), value)
            })
            .collect(),
    }
}

/// Another Secret of that name on the vintage management cluster.
async fn replace_secret(town: &Town, secret: SecretObject) {
    let at = Cluster::VintageMc;
    let object = town.object("v1", "Secret", &secret.name);
    delete(town, at.clone(), object).await;
    put_secret(town, at, secret).await;
}

async fn delete(town: &Town, at: Cluster, object: ObjectRef) {
    let call = KubeCall::Delete { object, uid: None };
    town.by_hand(Call::Kube { at, call }).await;
}

async fn put_secret(town: &Town, at: Cluster, secret: SecretObject) {
    let call = KubeCall::ApplySecret { secret };
    town.by_hand(Call::Kube { at, call }).await;
}

async fn stop_controller(town: &Town) {
    let object = ObjectRef::new(
        &Gvk::new("apps", "v1", "Deployment"),
        "giantswarm",
        "capa-controller-manager",
    );
    let patch = json!({"status": {"readyReplicas": 0}});
    town.patch(Cluster::CapiMc, object, patch).await;
}
