//! What is done weeks after a migration, and what it refuses.

use std::time::Duration;

use drover_model::{names, target::api};
use drover_ports::{Call, Cluster, Gvk, KubeCall, KubeReply, Reply};
use drover_sim::{ClusterState, Fate, Gap, ProbeName};
use drover_step_api::Clock as _;
use drover_step_testkit::{End, Outcome};
use serde_json::{Value, json};

use crate::{
    customer::Customer,
    stage::{Migration, Town, care_of},
};

const CLEAN: &str = "clean-manifest";
const SWITCH: &str = "sign-as-new-issuer";
const DROP: &str = "drop-old-issuers";

/// A migrated cluster, weeks later, and its after-care without the day of watching.
async fn migrated(town: Town) -> Migration {
    let mut migration = Migration::of(town);
    migration.play().await;
    migration.wait(Duration::from_secs(21 * 24 * 3600)).await;
    let mut care = care_of(&migration);
    care.leave_out(&["watch-routes"]);
    care
}

async fn objects(town: &Town, api_version: &str, kind: &str) -> Vec<Value> {
    let call = KubeCall::List {
        gvk: Gvk::of(api_version, kind),
        namespace: String::new(),
        labels: [].into(),
    };
    let at = Cluster::CapiMc;
    match town.by_hand(Call::Kube { at, call }).await {
        Reply::Kube(KubeReply::Objects { objects }) => objects,
        other => panic!("{other:?}"),
    }
}

async fn machines(town: &Town) -> Vec<String> {
    let machines = objects(town, api::CAPI, "Machine").await;
    let name = |machine: &Value| machine["metadata"]["name"].as_str().unwrap().to_owned();
    machines.iter().map(name).collect()
}

fn code(outcome: &Outcome) -> &str {
    match &outcome.end {
        End::Stopped(error) => error.code(),
        _ => panic!("{outcome}"),
    }
}

/// What is not whole now.
fn ailment(town: &Town) -> Option<String> {
    let report = town.report();
    let up = report.etcd.values();
    let up = up
        .filter(|word| *word == "leader" || *word == "member")
        .count();
    (up < 3 || report.etcd.len() > 4).then(|| format!("{:?}", report.etcd))
}

/// What a rollout costs by name: CAPA's load balancer does not drain, so requests on their way to the machine that leaves are cut.
fn cut(town: &Town) -> [String; 1] {
    let name = names::capa_load_balancer(&town.cluster);
    [format!(
        "{name} cut the connections of an instance in service"
    )]
}

#[tokio::test(start_paused = true)]
async fn after_care_leaves_nothing_of_the_migration_and_nobody_notices() {
    let town = Town::three_masters();
    let mut customer = Customer::of(&town).await;
    let mut migration = Migration::of(town.clone());
    migration.play().await;
    migration.wait(Duration::from_secs(21 * 24 * 3600)).await;
    let mut care = care_of(&migration);
    let first = machines(&town).await;

    let mut worst = None;
    {
        let clock = town.world.clock();
        let mut played = std::pin::pin!(care.until(SWITCH));
        loop {
            // Both arms are cancel-safe: a future that is only borrowed, and a timer.
            tokio::select! {
                () = &mut played => break,
                () = clock.sleep(Duration::from_secs(2)) => worst = worst.or_else(|| ailment(&town)),
            }
        }
    }
    assert_eq!(
        worst, None,
        "three members at least, four at most, all the time"
    );
    customer.assert_nothing_lost().await;

    let second = machines(&town).await;
    assert!(first.iter().all(|machine| !second.contains(machine)));
    let secret = names::migration_files_secret(&town.cluster);
    let secrets = objects(&town, "v1", "Secret").await;
    assert!(
        secrets
            .iter()
            .all(|object| object["metadata"]["name"] != secret.as_str())
    );
    for (api_version, kind) in [
        (api::CONTROL_PLANE, "KubeadmControlPlane"),
        (api::BOOTSTRAP, "KubeadmConfig"),
    ] {
        for object in objects(&town, api_version, kind).await {
            let spec = object["spec"].to_string();
            assert!(
                !spec.contains("/migration/") && !spec.contains(&secret),
                "{spec}"
            );
        }
    }
    let world = town.world.now().normalized();
    let hosts = &world["clusters"][&town.cluster]["hosts"];
    assert_eq!(hosts.as_object().unwrap().len(), 3);
    assert!(!hosts.to_string().contains("api-healthz"), "{hosts}");

    care.play().await;
    assert_eq!(care.output(DROP)["issuers"].as_array().unwrap().len(), 1);
    assert!(!customer.is_known().await, "a token of the vintage issuer");
    customer.renew().await;
    assert!(customer.is_known().await);
    assert!(customer.can_read_secrets().await);

    care.wait(Duration::from_secs(3600)).await;
    let report = town.report();
    assert_eq!(report.state, ClusterState::Migrated, "{report:#?}");
    assert_eq!(report.accidents, cut(&town));
    assert_eq!(report.etcd.len(), 3);
    let (in_cluster, others): (Vec<Gap>, Vec<Gap>) = report
        .gaps
        .into_iter()
        .partition(|gap| gap.probe == ProbeName::InCluster);
    assert_eq!(others, []);
    // What a rollout costs anywhere: whose etcd member is removed cannot take itself off the endpoints any more.
    let fifteen = Duration::from_secs(15);
    let lengths: Vec<Duration> = in_cluster
        .iter()
        .map(|gap| gap.until.unwrap().since(gap.from))
        .collect();
    assert_eq!(lengths, [fifteen; 9], "three rollouts of three machines");
    care.assert_ledger_is_clean();
}

#[tokio::test(start_paused = true)]
async fn after_care_goes_through_while_calls_fail() {
    let faults = ["throttling=5%", "lost-reply=5%", "unavailable=2%"];
    let mut care = migrated(Town::with_faults(7, &faults)).await;
    care.play().await;
    assert_eq!(care.town.report().accidents, cut(&care.town));
    assert_eq!(ailment(&care.town), None);
    care.assert_ledger_is_clean();
}

/// A rollout takes a member away for each that it adds: with one down already, that is one too many.
#[tokio::test(start_paused = true)]
async fn no_rollout_begins_while_a_member_is_down() {
    let mut care = migrated(Town::three_masters()).await;
    let town = care.town.clone();
    let before = machines(&town).await;
    let nodes = objects(&town, api::INFRASTRUCTURE, "AWSMachine").await;
    let provider_id = nodes[0]["spec"]["providerID"].as_str().unwrap();
    let instance = provider_id.rsplit('/').next().unwrap();
    town.befall(&Fate::InstanceDies(instance.to_owned()));
    care.wait(Duration::from_secs(120)).await;

    let (step, error) = care.stops().await;
    assert_eq!(
        (step.as_str(), error.code()),
        (CLEAN, "control-plane-not-whole")
    );
    care.wait(Duration::from_secs(3600)).await;
    assert_eq!(machines(&town).await, before);
    let objects = objects(&town, api::CONTROL_PLANE, "KubeadmControlPlane").await;
    assert!(
        objects[0].to_string().contains("/migration/"),
        "nothing was changed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_paused_control_plane_is_not_changed() {
    let mut care = migrated(Town::three_masters()).await;
    let town = care.town.clone();
    let object = town.object(api::CONTROL_PLANE, "KubeadmControlPlane", &town.cluster);
    let paused = json!({"metadata": {"annotations": {"cluster.x-k8s.io/paused": "true"}}});
    town.patch(Cluster::CapiMc, object, paused).await;
    let (step, code) = care.gives_up().await;
    assert_eq!(
        (step.as_str(), code.as_str()),
        (CLEAN, "control-plane-paused")
    );
}

#[tokio::test(start_paused = true)]
async fn what_flux_applies_is_changed_in_git() {
    let mut care = migrated(Town::three_masters()).await;
    let town = care.town.clone();
    let release = json!({
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": town.cluster, "namespace": town.namespace},
        "spec": {},
    });
    let (at, call) = (Cluster::CapiMc, KubeCall::Create { object: release });
    town.by_hand(Call::Kube { at, call }).await;
    let object = town.object(api::CONTROL_PLANE, "KubeadmControlPlane", &town.cluster);
    let labels = json!({
        "helm.toolkit.fluxcd.io/name": town.cluster,
        "helm.toolkit.fluxcd.io/namespace": town.namespace,
    });
    let labelled = json!({"metadata": {"labels": labels}});
    town.patch(Cluster::CapiMc, object, labelled).await;
    let (step, code) = care.gives_up().await;
    assert_eq!((step.as_str(), code.as_str()), (CLEAN, "applied-by-gitops"));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_signs_is_not_dropped_and_one_that_is_not_accepted_does_not_sign() {
    let mut care = migrated(Town::three_masters()).await;
    care.until(CLEAN).await;
    let issuers = care.output(CLEAN)["issuers"].clone();
    let mut early = care.params(SWITCH);
    early["issuers"] = json!([care.output(CLEAN)["issuers"].as_array().unwrap().last()]);
    let mut unknown = care.params(SWITCH);
    unknown["issuers"]
        .as_array_mut()
        .unwrap()
        .insert(0, json!("https://unknown.example"));
    let mut none = care.params(SWITCH);
    none["issuers"] = json!([]);
    for (params, expected) in [
        (early, "issuer-dropped-too-early"),
        (unknown, "issuer-not-accepted"),
        (none, "issuers-empty"),
    ] {
        let refused = care.extra("try", "capi.switch_issuer", params).await;
        assert_eq!(code(&refused.unwrap_err()), expected);
        care.renew("try");
    }
    let object = &objects(&care.town, api::CONTROL_PLANE, "KubeadmControlPlane").await[0];
    let spec = &object["spec"]["kubeadmConfigSpec"];
    let stands = drover_model::target::care::issuers(spec).unwrap();
    assert_eq!(json!(stands), issuers);
}

/// Machines are drained as every node is. Whose budget lets nobody go holds the rollout up, and nothing is ended.
#[tokio::test(start_paused = true)]
async fn a_budget_holds_the_rollout_up_until_it_lets_somebody_go() {
    let mut care = migrated(Town::three_masters()).await;
    let town = care.town.clone();
    let webhook = || "platform/policy-webhook".to_owned();
    town.befall(&Fate::BudgetAllows(webhook(), 0));
    let (step, code) = care.gives_up().await;
    assert_eq!((step.as_str(), code.as_str()), (CLEAN, "wait-timed-out"));
    assert_eq!(town.report().accidents, cut(&town));
    assert_eq!(ailment(&town), None);
    let secret = town.object(
        "v1",
        "Secret",
        &names::migration_files_secret(&town.cluster),
    );
    let (at, call) = (Cluster::CapiMc, KubeCall::Get { object: secret });
    town.by_hand(Call::Kube { at, call }).await;

    town.befall(&Fate::BudgetAllows(webhook(), 1));
    care.until(CLEAN).await;
    assert_eq!(care.output(CLEAN)["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(town.report().accidents, cut(&town));
    care.assert_ledger_is_clean();
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_gone_needs_no_after_care() {
    let mut care = migrated(Town::three_masters()).await;
    let town = care.town.clone();
    let object = town.object(api::CONTROL_PLANE, "KubeadmControlPlane", &town.cluster);
    let (at, call) = (Cluster::CapiMc, KubeCall::Delete { object, uid: None });
    town.by_hand(Call::Kube { at, call }).await;
    let (step, code) = care.gives_up().await;
    assert_eq!((step.as_str(), code.as_str()), (CLEAN, "gone"));
}
