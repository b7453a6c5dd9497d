//! The whole migration while outside calls fail.

use drover_sim::{ClusterState, FaultKind};
use drover_step_testkit::End;

use crate::{
    customer::Customer,
    stage::{Migration, Town},
};

async fn survives(kind: FaultKind, faults: &[&str]) {
    let mut injected = 0;
    for seed in 1..=3 {
        let town = Town::with_faults(seed, faults);
        // The customer is not part of what is tried: without faults it has the same.
        let mut migration = Migration::of(town);
        migration.play().await;
        let report = migration.town.report();
        assert_eq!(report.state, ClusterState::Migrated, "seed {seed}");
        assert_eq!(report.gaps, [], "seed {seed}");
        assert_eq!(report.accidents, Vec::<String>::new(), "seed {seed}");
        migration.assert_ledger_is_clean();
        let world = migration.town.world.now();
        injected += world.report().faults.get(&kind).copied().unwrap_or(0);
    }
    assert!(injected > 0, "nothing was tried");
}

#[tokio::test(start_paused = true)]
async fn throttled_calls_are_tried_again() {
    survives(FaultKind::Throttling, &["throttling=10%"]).await;
}

#[tokio::test(start_paused = true)]
async fn lost_replies_are_found_in_the_world() {
    survives(FaultKind::LostReply, &["lost-reply=10%"]).await;
}

#[tokio::test(start_paused = true)]
async fn unavailable_services_are_waited_for() {
    survives(FaultKind::Unavailable, &["unavailable=5%"]).await;
}

#[tokio::test(start_paused = true)]
async fn expired_credentials_are_refreshed() {
    survives(FaultKind::ExpiredCredentials, &["expired-credentials@*=2%"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_boot_is_waited_for() {
    survives(FaultKind::SlowBoot, &["slow-boot"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_never_comes_up_is_replaced() {
    survives(FaultKind::NodeNeverUp, &["node-never-up"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_node_of_a_pool_leaves_without_being_drained() {
    survives(FaultKind::DeadNodes, &["dead-nodes"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_lets_nobody_go_is_waited_for() {
    let mut injected = 0;
    for seed in 1..=3 {
        let town = Town::with_faults(seed, &["blocking-budget"]);
        let mut migration = Migration::of(town);
        // Whoever is on call sees the sentence, calls the owner, and tries again.
        while let Err((_, outcome)) = migration.try_until("give-back").await {
            let End::Stopped(error) = &outcome.end else {
                panic!("{outcome}");
            };
            assert_eq!(error.code(), "pdb-blocking", "{error}");
        }
        let report = migration.town.report();
        assert_eq!(report.state, ClusterState::Migrated, "seed {seed}");
        assert_eq!(report.gaps, [], "seed {seed}");
        let world = migration.town.world.now();
        injected += world.report().faults[&FaultKind::BlockingBudget];
    }
    assert!(injected > 0, "nothing was tried");
}

#[tokio::test(start_paused = true)]
async fn with_next_to_no_addresses_nodes_are_replaced_one_by_one() {
    survives(FaultKind::ScarceAddresses, &["scarce-addresses"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_join_fails_is_replaced() {
    survives(FaultKind::JoinFails, &["join-fails"]).await;
}

#[tokio::test(start_paused = true)]
async fn faults_of_all_kinds_cost_nothing_but_time() {
    let town = Town::with_faults(7, &["throttling=5%", "lost-reply=5%", "unavailable=2%"]);
    let customer = Customer::of(&town).await;
    let mut migration = Migration::of(town);
    migration.play().await;
    assert_eq!(migration.town.report().gaps, []);
    migration.assert_ledger_is_clean();
    drop(customer);
}
