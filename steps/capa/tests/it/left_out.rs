//! What becomes of a migration that leaves something out: a gap in what customers see, an accident, or a later step that
//! will not go on. So every line of the definition has a reason that can be seen.
//!
//! What surrounds the cluster is in `around.rs`. Not here: `snapshot-etcd`, an insurance that is only missed when it is needed;
//! `generate-target` and the approval, which are for people; `three-control-plane-nodes`, a wait that the steps behind it would make
//! themselves, with a worse reason when it does not end.

use std::time::Duration;

use drover_model::{cr::keys, target::api};
use drover_ports::Cluster;
use drover_sim::{ClusterState, Fate, ProbeName};
use serde_json::json;

use crate::{
    customer::Customer,
    stage::{Migration, Town},
};

/// Leaves out these steps, plays until a step gives up, and answers which, and why.
async fn gives_up_without(steps: &[&'static str]) -> (String, String) {
    Migration::without(Town::three_masters(), steps)
        .gives_up()
        .await
}

fn at(step: &str, code: &str) -> (String, String) {
    (step.to_owned(), code.to_owned())
}

/// A migration without one of the steps that copy Secrets, and with an operator who says that there was none to copy.
fn with_nothing_copied(step: &'static str) -> Migration {
    let mut migration = Migration::without(Town::three_masters(), &[step]);
    migration.pretend(step, json!({ "secrets": [] }));
    migration
}

#[tokio::test(start_paused = true)]
async fn without_preflight_an_unfit_cluster_is_found_out_halfway() {
    let unfit = || {
        let town = Town::three_masters();
        town.befall(&Fate::SubnetsFilled(0));
        town
    };
    let mut migration = Migration::of(unfit());
    assert_eq!(
        migration.gives_up().await,
        at("preflight", "preflight-blocked")
    );
    assert_eq!(migration.town.report().state, ClusterState::Vintage);

    let mut migration = Migration::without(unfit(), &["preflight"]);
    assert_eq!(
        migration.gives_up().await,
        at("join-etcd", "wait-timed-out")
    );
    assert_eq!(migration.town.report().state, ClusterState::Mixed);
}

#[tokio::test(start_paused = true)]
async fn without_draining_requests_on_their_way_are_cut() {
    let mut migration = Migration::without(Town::three_masters(), &["drain-connections"]);
    migration.play().await;
    let report = migration.town.report();
    assert!(
        report
            .accidents
            .iter()
            .any(|what| what.contains("cut the connections")),
        "{:?}",
        report.accidents
    );
}

#[tokio::test(start_paused = true)]
async fn without_pausing_the_operators_arm_the_node_killers_again() {
    let mut migration = Migration::without(Town::three_masters(), &["pause-operators"]);
    migration.until("retire-vintage-etcd").await;
    let report = migration.town.report();
    assert!(
        report.accidents.iter().any(|what| what.contains("resumed")),
        "{:?}",
        report.accidents
    );
}

#[tokio::test(start_paused = true)]
async fn without_disarming_nothing_joins_etcd() {
    assert_eq!(
        gives_up_without(&["disarm-node-killers"]).await,
        at("join-etcd", "not-disarmed")
    );
}

#[tokio::test(start_paused = true)]
async fn without_the_copied_secrets_nothing_is_applied() {
    let mut whole = Migration::of(Town::three_masters());
    whole.play().await;
    for step in [
        "copy-ca",
        "copy-service-account-keys",
        "copy-encryption-config",
    ] {
        let mut migration = Migration::without(Town::three_masters(), &[step]);
        migration.pretend(step, whole.output(step).clone());
        assert_eq!(
            migration.gives_up().await,
            at("apply-capi", "secret-missing"),
            "without {step}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_ca_the_controller_invents_one_and_nothing_joins() {
    let mut migration = with_nothing_copied("copy-ca");
    assert_eq!(
        migration.gives_up().await,
        at("join-etcd", "no-machine-joins")
    );
    assert_invented(&migration, "-ca");
    assert_eq!(
        migration.town.report().etcd.len(),
        3,
        "only the masters' members"
    );
}

#[tokio::test(start_paused = true)]
async fn without_the_token_keys_the_controller_invents_one_and_nothing_boots() {
    let mut migration = with_nothing_copied("copy-service-account-keys");
    assert_eq!(
        migration.gives_up().await,
        at("join-etcd", "wait-timed-out")
    );
    assert_invented(&migration, "-sa");
}

#[tokio::test(start_paused = true)]
async fn without_the_encryption_key_the_first_node_is_not_let_in() {
    let mut migration = with_nothing_copied("copy-encryption-config");
    assert_eq!(
        migration.gives_up().await,
        at("verify-first-node", "first-node-unfit")
    );
    assert_invented(&migration, "key");
}

#[tokio::test(start_paused = true)]
async fn without_the_proof_of_the_first_node_customers_find_out() {
    let town = Town::three_masters();
    let customer = Customer::of(&town).await;
    let mut migration = Migration::without(town, &["copy-encryption-config", "verify-first-node"]);
    migration.pretend("copy-encryption-config", json!({ "secrets": [] }));
    migration.play().await;
    assert_eq!(migration.town.report().state, ClusterState::Migrated);
    assert!(
        !customer.can_read_secrets().await,
        "the migration went through, and the Secrets are lost"
    );
}

#[tokio::test(start_paused = true)]
async fn without_the_objects_there_is_nothing_to_hold() {
    assert_eq!(
        gives_up_without(&["apply-capi"]).await,
        at("hold-control-plane", "wait-timed-out")
    );
}

#[tokio::test(start_paused = true)]
async fn without_holding_it_no_machine_may_boot() {
    assert_eq!(
        gives_up_without(&["hold-control-plane"]).await,
        at("join-etcd", "not-held")
    );
}

/// What the hold prevents.
#[tokio::test(start_paused = true)]
async fn a_control_plane_that_is_let_go_too_early_costs_a_gap() {
    let mut migration = Migration::of(Town::three_masters());
    migration.until("join-etcd").await;
    assert_eq!(migration.town.report().gaps, []);
    let town = &migration.town;
    let control_plane = town.object(api::CONTROL_PLANE, "KubeadmControlPlane", &town.cluster);
    let released = json!({"metadata": {"annotations": {keys::PAUSED: null}}});
    town.patch(Cluster::CapiMc, control_plane, released).await;
    migration.wait(Duration::from_secs(60)).await;
    assert_gap(&migration, ProbeName::OldName);
}

#[tokio::test(start_paused = true)]
async fn without_the_join_there_is_no_first_node_to_verify() {
    let mut whole = Migration::of(Town::three_masters());
    whole.play().await;
    let mut migration = Migration::without(Town::three_masters(), &["join-etcd"]);
    migration.pretend("join-etcd", whole.output("join-etcd").clone());
    assert_eq!(
        migration.gives_up().await,
        at("verify-first-node", "first-node-unfit")
    );
}

#[tokio::test(start_paused = true)]
async fn without_moving_traffic_no_master_is_stopped() {
    assert_eq!(
        gives_up_without(&["move-api-traffic"]).await,
        at("stop-vintage-control-plane", "traffic-not-moved")
    );
}

#[tokio::test(start_paused = true)]
async fn without_stopping_the_masters_etcd_does_not_converge() {
    assert_eq!(
        gives_up_without(&["stop-vintage-control-plane"]).await,
        at("converge-etcd", "vintage-api-runs")
    );
}

#[tokio::test(start_paused = true)]
async fn without_convergence_there_is_no_second_node() {
    assert_eq!(
        gives_up_without(&["converge-etcd"]).await,
        at("three-control-plane-nodes", "wait-timed-out")
    );
}

/// For as long as the old name leads to the old load balancers.
#[tokio::test(start_paused = true)]
async fn without_the_guard_one_failure_is_a_gap() {
    for (omitted, gap) in [(None, false), (Some("keep-api-elb"), true)] {
        let steps: Vec<&'static str> = omitted.into_iter().collect();
        let mut migration = Migration::without(Town::three_masters(), &steps);
        migration.until("retire-vintage-etcd").await;
        migration.wait(Duration::from_secs(3600)).await;
        assert_eq!(migration.town.report().state, ClusterState::Migrated);
        let first = migration.output("join-etcd")["instance"].as_str().unwrap();
        let dies = Fate::InstanceDies(first.to_owned());
        migration.town.befall(&dies);
        migration.wait(Duration::from_secs(600)).await;
        let gaps = migration.town.report().gaps;
        let long = gaps.iter().any(|gap| {
            gap.probe == ProbeName::OldName
                && gap
                    .until
                    .is_none_or(|until| until.since(gap.from) > Duration::from_secs(120))
        });
        assert_eq!(long, gap, "without {omitted:?}: {gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_retiring_it_etcd_would_start_again_on_the_masters() {
    for (omitted, active) in [(None, false), (Some("retire-vintage-etcd"), true)] {
        let steps: Vec<&'static str> = omitted.into_iter().collect();
        let mut migration = Migration::without(Town::three_masters(), &steps);
        migration.before("drain-masters").await;
        let world = migration.town.world.now().normalized();
        let hosts = &world["clusters"][&migration.town.cluster]["hosts"];
        assert_eq!(hosts["master-1"]["units"]["etcd3.service"], active);
    }
}

fn assert_invented(migration: &Migration, what: &str) {
    let accidents = migration.town.report().accidents;
    let invented = |accident: &String| accident.contains("invented") && accident.contains(what);
    assert!(accidents.iter().any(invented), "{accidents:?}");
}

fn assert_gap(migration: &Migration, probe: ProbeName) {
    let gaps = migration.town.report().gaps;
    assert!(gaps.iter().any(|gap| gap.probe == probe), "{gaps:?}");
}
