//! What happens to a migration in the middle of it.

use std::time::Duration;

use drover_model::{
    cr::keys,
    names,
    node_job::{NodeCommand, NodeJob},
    target::{EXTERNAL_RESOURCE_GC, api},
};
use drover_ports::{
    Call, CloudCall, CloudReply, Cluster, KubeCall, KubeReply, Reply, SecretBytes, SecretObject,
};
use drover_sim::{ClusterState, Fate, Gap, ProbeName};
use drover_step_api::Clock as _;
use drover_step_testkit::End;
use serde_json::{Value, json};

use crate::{
    customer::Customer,
    stage::{Migration, Town},
};

/// Gaps in what customers see under the name that they know.
fn gaps(town: &Town) -> Vec<Gap> {
    let mut gaps = town.report().gaps;
    gaps.retain(|gap| gap.probe == ProbeName::OldName);
    gaps
}

/// The node dies in the seconds between the last master's leaving the load balancers and the proof.
#[tokio::test(start_paused = true)]
async fn masters_are_put_back_when_the_node_dies_as_it_takes_over() {
    let mut migration = Migration::of(Town::three_masters());
    migration.until("verify-first-node").await;
    let town = migration.town.clone();
    let instance = migration.output("join-etcd")["instance"].clone();
    let dies = Fate::InstanceDies(instance.as_str().unwrap().to_owned());

    let strike = async {
        let masters_are_on = || {
            let on = town.report().load_balancers["api"].clone();
            on.keys().any(|role| role.starts_with("master"))
        };
        while masters_are_on() {
            town.world.clock().sleep(Duration::from_millis(100)).await;
        }
        town.befall(&dies);
    };
    let (moved, ()) = tokio::join!(migration.step("move-api-traffic"), strike);

    match moved.unwrap_err().end {
        End::Stopped(error) => assert_eq!(error.code(), "old-name-silent"),
        other => panic!("{other}"),
    }
    migration.wait(Duration::from_secs(60)).await;
    let on = &town.report().load_balancers["api"];
    let serving = on.iter().filter(|(_, in_service)| **in_service);
    let serving: Vec<&String> = serving.map(|(role, _)| role).collect();
    assert_eq!(serving, ["master-1", "master-2", "master-3"]);
    let gaps = gaps(&town);
    let short = |gap: &Gap| gap.until.unwrap().since(gap.from) < Duration::from_secs(60);
    assert!(gaps.len() == 1 && gaps.iter().all(short), "{gaps:?}");
}

/// When four machines in a row do not join, it is not the machine.
#[tokio::test(start_paused = true)]
async fn the_fourth_machine_that_does_not_join_waits_for_a_person() {
    let mut migration = Migration::of(Town::three_masters());
    migration.until("stop-vintage-control-plane").await;
    let town = migration.town.clone();
    town.befall(&Fate::JoinsFail(4));
    let (step, error) = migration.stops().await;
    assert_eq!(
        (step.as_str(), error.code()),
        ("three-control-plane-nodes", "no-machine-joins")
    );
    // The sentence names the machine; a person does what it says.
    let machine = error.message().split(' ').next().unwrap();
    let object = town.object(api::CAPI, "Machine", machine);
    let (at, call) = (Cluster::CapiMc, KubeCall::Delete { object, uid: None });
    town.by_hand(Call::Kube { at, call }).await;
    migration.play().await;
    assert_eq!(town.report().state, ClusterState::Migrated);
    assert_eq!(town.report().accidents, Vec::<String>::new());
    assert_eq!(gaps(&town), []);
    migration.assert_ledger_is_clean();
}

/// Operators sleep before the point of no return. Meanwhile masters whose API servers are stopped, while somebody else answers
/// under their name, look like broken ones to themselves.
#[tokio::test(start_paused = true)]
async fn hours_before_the_point_of_no_return_cost_nothing() {
    let town = Town::three_masters();
    let before = instances(&town);
    let mut migration = Migration::of(town.clone());
    migration.until("stop-vintage-control-plane").await;
    migration.wait(Duration::from_secs(3 * 3600)).await;
    assert_eq!(town.report().accidents, Vec::<String>::new());
    assert_eq!(town.report().gaps, []);
    migration.unwind().await;
    assert_eq!(town.report().state, ClusterState::Vintage);
    assert_eq!(instances(&town), before);
}

fn instances(town: &Town) -> Value {
    let mut world = town.world.now().normalized();
    world["clusters"][&town.cluster]["instances"].take()
}

/// An API server may come back; a load balancer without a backend has nobody who could.
#[tokio::test(start_paused = true)]
async fn the_last_backend_stays_on_while_it_is_silent() {
    let mut migration = Migration::of(Town::three_masters());
    migration.until("move-api-traffic").await;
    let town = migration.town.clone();
    let node = migration.output("join-etcd")["node"].as_str().unwrap();
    let job = NodeJob {
        name: "by-hand".to_owned(),
        node: node.to_owned(),
        image: "alpine".to_owned(),
        commands: vec![NodeCommand::Park {
            manifest: "kube-apiserver.yaml".to_owned(),
        }],
    };
    let (at, object) = (town.workload(), job.render());
    town.by_hand(Call::Kube {
        at,
        call: KubeCall::Create { object },
    })
    .await;
    migration.wait(Duration::from_secs(600)).await;
    assert!(!gaps(&town).is_empty(), "it is silent");
    let on = &town.report().load_balancers["api"];
    assert!(on.contains_key("control-plane-1"), "{on:?}");
}

/// Nobody looks after the span's end: what happened since the guard's round before it is met by one more.
#[tokio::test(start_paused = true)]
async fn the_guard_leaves_nobody_out_at_its_end() {
    let mut migration = Migration::of(Town::three_masters());
    migration.until("retire-vintage-etcd").await;
    migration.wait(Duration::from_secs(60)).await;
    let town = migration.town.clone();
    let balancer = migration.output("inventory")["load_balancers"]["api"].clone();
    let load_balancer = balancer.as_str().unwrap().to_owned();
    let instances = registered(&town, &load_balancer).await;
    assert_eq!(instances.len(), 3);
    let taken_off = CloudCall::DeregisterInstancesFromLoadBalancer {
        load_balancer: load_balancer.clone(),
        instances: instances[..1].to_vec(),
    };
    town.cloud(taken_off).await;

    migration.end_spans("hand-over-dns").await;
    assert_eq!(registered(&town, &load_balancer).await.len(), 3);
    migration.assert_ledger_is_clean();
}

/// Who is registered at a load balancer.
async fn registered(town: &Town, load_balancer: &str) -> Vec<String> {
    let call = CloudCall::DescribeLoadBalancers {
        names: vec![load_balancer.to_owned()],
    };
    let CloudReply::LoadBalancers(mut found) = town.cloud(call).await else {
        panic!("no load balancers")
    };
    found.remove(0).instances
}

#[tokio::test(start_paused = true)]
async fn load_balancers_of_services_stay_although_somebody_told_capa_to_collect_them() {
    let mut migration = Migration::of(Town::three_masters());
    migration.until("hold-control-plane").await;
    let town = migration.town.clone();
    let object = town.object(api::INFRASTRUCTURE, "AWSCluster", &town.cluster);
    let collect = json!({"metadata": {"annotations": {EXTERNAL_RESOURCE_GC: "true"}}});
    town.patch(Cluster::CapiMc, object, collect).await;
    migration.unwind().await;
    migration.wait(Duration::from_secs(3600)).await;
    let report = town.report();
    assert_eq!(report.state, ClusterState::Vintage);
    assert_eq!(report.accidents, Vec::<String>::new());
    assert!(report.load_balancers.contains_key("ingress"));
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_back_can_be_begun_again() {
    let town = Town::three_masters();
    let customer = Customer::of(&town).await;
    let mut first = Migration::of(town.clone());
    first.until("stop-vintage-control-plane").await;
    first.unwind().await;
    assert_eq!(town.report().state, ClusterState::Vintage);

    let mut second = Migration::called(town.clone(), "second");
    second.play().await;
    second.wait(Duration::from_secs(3600)).await;
    let report = town.report();
    assert_eq!(report.state, ClusterState::Migrated);
    assert_eq!(report.accidents, Vec::<String>::new());
    assert_eq!(gaps(&town), []);
    second.assert_ledger_is_clean();
    customer.assert_nothing_lost().await;
}

#[tokio::test(start_paused = true)]
async fn a_migration_is_taken_back_while_calls_fail() {
    for seed in 1..=3 {
        let faults = ["throttling=5%", "lost-reply=5%", "unavailable=2%"];
        let mut migration = Migration::of(Town::with_faults(seed, &faults));
        migration.until("stop-vintage-control-plane").await;
        migration.unwind().await;
        migration.wait(Duration::from_secs(3600)).await;
        let report = migration.town.report();
        assert_eq!(report.state, ClusterState::Vintage, "seed {seed}");
        assert_eq!(report.accidents, Vec::<String>::new(), "seed {seed}");
        assert_eq!(gaps(&migration.town), [], "seed {seed}");
        migration.assert_ledger_is_clean();
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_gives_up_halfway_is_taken_back_with_the_others() {
    let town = Town::three_masters();
    town.befall(&Fate::SubnetsFilled(0));
    let mut migration = Migration::without(town.clone(), &["preflight"]);
    let (step, _) = migration.gives_up().await;
    assert_eq!(step, "join-etcd");
    assert_eq!(town.report().state, ClusterState::Mixed);
    migration.unwind().await;
    assert_eq!(town.report().state, ClusterState::Vintage);
    assert_eq!(town.report().gaps, []);
    migration.assert_ledger_is_clean();
}

#[tokio::test(start_paused = true)]
async fn a_ca_that_is_not_the_one_in_use_is_not_copied() {
    let town = Town::three_masters();
    let name = names::api_certificate_secret(&town.cluster);
    let object = town.object("v1", "Secret", &name);
    let (at, call) = (Cluster::VintageMc, KubeCall::Delete { object, uid: None });
    town.by_hand(Call::Kube { at, call }).await;
    let mut secret = opaque(&town, name, "ca", "another");
    secret.labels = [(keys::CLUSTER.to_owned(), town.cluster.clone())].into();
    let (at, call) = (Cluster::VintageMc, KubeCall::ApplySecret { secret });
    town.by_hand(Call::Kube { at, call }).await;

    let mut migration = Migration::without(town, &["preflight"]);
    let (step, code) = migration.gives_up().await;
    assert_eq!((step.as_str(), code.as_str()), ("copy-ca", "ca-unfit"));
}

/// A Secret of somebody else's is left as it is, and what is somebody else's is not taken back.
#[tokio::test(start_paused = true)]
async fn a_secret_of_somebody_else_stops_the_migration_and_stays() {
    let mut migration = Migration::of(Town::three_masters());
    migration.until("preflight").await;
    let town = migration.town.clone();
    let [ca, ..] = names::ca_secrets(&town.cluster);
    let theirs = opaque(&town, ca.clone(), "tls.crt", "theirs");
    let data = theirs.data.clone();
    let (at, call) = (Cluster::CapiMc, KubeCall::ApplySecret { secret: theirs });
    town.by_hand(Call::Kube { at, call }).await;

    let (step, code) = migration.gives_up().await;
    assert_eq!(
        (step.as_str(), code.as_str()),
        ("copy-ca", "secret-differs")
    );
    migration.unwind().await;
    let (namespace, name) = (town.namespace.clone(), ca);
    let (at, call) = (Cluster::CapiMc, KubeCall::GetSecret { namespace, name });
    match town.by_hand(Call::Kube { at, call }).await {
        Reply::Kube(KubeReply::Secret(secret)) => assert_eq!(secret.data, data),
        other => panic!("{other:?}"),
    }
}

fn opaque(town: &Town, name: String, key: &str, value: &str) -> SecretObject {
    SecretObject {
        namespace: town.namespace.clone(),
        name,
        type_: "Opaque".to_owned(),
        labels: [].into(),
        annotations: [].into(),
        data: [(key.to_owned(), SecretBytes::new(value.as_bytes().to_vec()))].into(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_of_somebody_else_stops_the_migration_and_stays() {
    let mut migration = Migration::of(Town::three_masters());
    migration.until("generate-target").await;
    let town = migration.town.clone();
    let theirs = json!({
        "apiVersion": api::CAPI,
        "kind": "Cluster",
        "metadata": {"name": town.cluster, "namespace": town.namespace},
        "spec": {"paused": true, "controlPlaneRef": {"name": "theirs"}},
    });
    let (at, call) = (Cluster::CapiMc, KubeCall::Create { object: theirs });
    town.by_hand(Call::Kube { at, call }).await;

    let (step, code) = migration.gives_up().await;
    assert_eq!(
        (step.as_str(), code.as_str()),
        ("apply-capi", "object-exists")
    );
    migration.unwind().await;
    let object = town.object(api::CAPI, "Cluster", &town.cluster);
    let (at, call) = (Cluster::CapiMc, KubeCall::Get { object });
    match town.by_hand(Call::Kube { at, call }).await {
        Reply::Kube(KubeReply::Object { object }) => {
            assert_eq!(object["spec"]["controlPlaneRef"]["name"], "theirs");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_its_customer_deletes_is_left_alone() {
    let mut migration = Migration::of(Town::three_masters());
    migration.until("preflight").await;
    migration.town.befall(&Fate::CustomerDeletes);
    let (step, code) = migration.gives_up().await;
    assert_eq!((step.as_str(), code.as_str()), ("suspend-gitops", "gone"));
}
