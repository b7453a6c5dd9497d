//! The whole migration, by shape of cluster.

use std::{collections::BTreeMap, time::Duration};

use drover_sim::ClusterState;

use crate::{
    customer::Customer,
    stage::{Migration, Town},
};

async fn migrates(town: Town) {
    let customer = Customer::of(&town).await;
    let mut migration = Migration::of(town);
    migration.play().await;
    // What goes wrong later counts as well.
    migration.wait(Duration::from_secs(3600)).await;

    let report = migration.town.report();
    assert_eq!(report.state, ClusterState::Migrated, "{report:#?}");
    assert_eq!(report.gaps, []);
    assert_eq!(report.accidents, Vec::<String>::new());
    assert_eq!(report.shared_pod_cidrs, Vec::<String>::new());
    assert_eq!(migration.violations, []);
    assert_eq!(report.etcd.len(), 3);
    migration.assert_ledger_is_clean();
    customer.assert_nothing_lost().await;
}

#[tokio::test(start_paused = true)]
async fn three_masters_are_migrated_without_a_gap() {
    migrates(Town::three_masters()).await;
}

#[tokio::test(start_paused = true)]
async fn a_single_master_is_migrated_without_a_gap() {
    migrates(Town::generated(1, "eu-")).await;
}

#[tokio::test(start_paused = true)]
async fn three_masters_in_china_are_migrated_without_a_gap() {
    migrates(Town::generated(3, "cn-")).await;
}

#[tokio::test(start_paused = true)]
async fn a_single_master_in_china_is_migrated_without_a_gap() {
    migrates(Town::generated(1, "cn-")).await;
}

/// Leadership is with the member that stays before the others go, so no removal costs an election.
#[tokio::test(start_paused = true)]
async fn until_the_vintage_members_are_gone_nobody_waits() {
    let mut migration = Migration::of(Town::three_masters());
    migration.until("converge-etcd").await;
    let report = migration.town.report();
    assert_eq!(report.etcd.len(), 1);
    assert_eq!(report.longest_wait_ms, BTreeMap::new());
}
