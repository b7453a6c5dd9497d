//! The masters' end: what runs on them moves first, and nobody is ended who is not drained.

use drover_ports::{Call, CloudCall, KubeCall};
use drover_sim::Fate;
use drover_step_api::Certainty;
use serde_json::{Value, json};

use crate::stage::{Migration, Town};

/// The budget of what customers run on their masters.
const BUDGET: &str = "platform/policy-webhook";

async fn before_the_drain() -> Migration {
    let mut migration = Migration::of(Town::three_masters());
    migration.before("drain-masters").await;
    migration
}

/// The cluster without times and random ids.
fn shown(migration: &Migration) -> Value {
    let world = migration.town.world.now().normalized();
    world["clusters"][&migration.town.cluster].clone()
}

fn masters(shown: &Value) -> usize {
    let instances = shown["instances"].as_object().unwrap();
    let masters = instances.keys().filter(|role| role.starts_with("master-"));
    masters.count()
}

#[tokio::test(start_paused = true)]
async fn masters_end_and_what_ran_on_them_runs_elsewhere() {
    let mut migration = before_the_drain().await;
    assert_eq!(masters(&shown(&migration)), 3);
    migration.until("retire-masters").await;

    let after = shown(&migration);
    assert_eq!(masters(&after), 0);
    let groups = after["auto_scaling_groups"].as_array().unwrap();
    assert!(
        groups
            .iter()
            .all(|group| !group["role"].as_str().unwrap().starts_with("master"))
    );
    assert_eq!(after["load_balancers"]["etcd"], json!({}));
    assert_eq!(after["apps"][BUDGET], 2);
    let nodes = after["workload"]["giantswarm.io"].as_object().unwrap();
    assert!(
        !nodes.keys().any(|name| name.contains("node-of-master")),
        "{nodes:#?}"
    );
    let report = migration.town.report();
    assert_eq!(report.gaps, []);
    assert_eq!(report.accidents, Vec::<String>::new());
    migration.assert_ledger_is_clean();
}

/// It says who holds what, and nothing has ended; once the owner has given way, the same step goes on.
#[tokio::test(start_paused = true)]
async fn a_budget_that_blocks_pauses_the_migration() {
    let mut migration = before_the_drain().await;
    let town = migration.town.clone();
    town.befall(&Fate::BudgetAllows(BUDGET.to_owned(), 0));
    let (step, error) = migration.stops().await;
    assert_eq!(
        (step.as_str(), error.code()),
        ("drain-masters", "pdb-blocking")
    );
    assert_eq!(error.certainty(), Certainty::Failed, "an operator is asked");
    for named in [BUDGET, "pod platform/policy-webhook-", "force"] {
        assert!(error.message().contains(named), "{named}: {error}");
    }
    // Which of the masters the scheduler has given one to is chance.
    let nodes = migration.params("drain-masters")["nodes"].clone();
    let mut nodes = nodes.as_array().unwrap().iter();
    let is_named = |node: &Value| error.message().contains(node.as_str().unwrap());
    assert!(nodes.any(is_named), "{error}");
    let held = shown(&migration);
    assert_eq!((masters(&held), &held["apps"][BUDGET]), (3, &json!(2)));

    town.befall(&Fate::BudgetAllows(BUDGET.to_owned(), 1));
    migration.play().await;
    assert_eq!(masters(&shown(&migration)), 0);
    assert_eq!(town.report().accidents, Vec::<String>::new());
    assert_eq!(town.report().gaps, []);
}

#[tokio::test(start_paused = true)]
async fn an_operator_may_override_a_budget_by_name() {
    let mut migration = before_the_drain().await;
    let town = migration.town.clone();
    town.befall(&Fate::BudgetAllows(BUDGET.to_owned(), 0));
    migration.stops().await;
    migration.amend("drain-masters", "force", json!(["platform/another"]));
    let (_, error) = migration.stops().await;
    assert_eq!(error.code(), "pdb-blocking", "that was another one");

    migration.amend("drain-masters", "force", json!([BUDGET]));
    migration.play().await;
    let after = shown(&migration);
    assert_eq!((masters(&after), &after["apps"][BUDGET]), (0, &json!(2)));
    let accidents = town.report().accidents;
    assert!(
        accidents
            .iter()
            .all(|what| what.contains("against its budget"))
            && !accidents.is_empty(),
        "the world has seen it: {accidents:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_nobody_would_make_again_is_not_lost_unasked() {
    let mut migration = before_the_drain().await;
    let town = migration.town.clone();
    let nodes = migration.params("drain-masters")["nodes"].clone();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "debugging", "namespace": "default"},
        "spec": {"nodeName": nodes[1]},
        "status": {"phase": "Running"},
    });
    let at = town.workload();
    let call = KubeCall::Create { object: pod };
    town.by_hand(Call::Kube { at, call }).await;
    let (step, error) = migration.stops().await;
    assert_eq!(
        (step.as_str(), error.code()),
        ("drain-masters", "pod-unmanaged")
    );
    assert_eq!(
        error.certainty(),
        Certainty::Refused,
        "nothing has happened"
    );
    assert!(error.message().contains("pod default/debugging"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn masters_that_are_not_drained_do_not_end() {
    let mut migration = Migration::without(Town::three_masters(), &["drain-masters"]);
    let (step, error) = migration.stops().await;
    assert_eq!(
        (step.as_str(), error.code()),
        ("retire-masters", "not-drained")
    );
    assert_eq!(masters(&shown(&migration)), 3);
}

/// What the drain prevents.
#[tokio::test(start_paused = true)]
async fn masters_that_are_ended_by_hand_take_their_pods_along() {
    let migration = before_the_drain().await;
    let town = &migration.town;
    let instances = migration.output("inventory")["masters"].as_array().unwrap();
    let instances = instances
        .iter()
        .map(|master| master["instance"].as_str().unwrap().to_owned());
    let instances = instances.collect();
    town.cloud(CloudCall::TerminateInstances { instances })
        .await;
    let report = town.report();
    assert!(
        report
            .accidents
            .iter()
            .any(|what| what.contains("with a pod of policy-webhook on it")),
        "{:?}",
        report.accidents
    );
    let gap = report
        .gaps
        .iter()
        .find(|gap| gap.cause.contains("policy-webhook"));
    assert!(gap.is_some(), "{:?}", report.gaps);
}
