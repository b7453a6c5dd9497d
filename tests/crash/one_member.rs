//! The minute in which etcd has one member.

use drover_proto::v1::{StepState, WorkflowState};
use drover_sim::ClusterState;
use system_tests::{
    client::summary,
    eventually_within,
    town::{MIGRATION, Plan, Town},
};

use crate::DROVER;

#[tokio::test]
async fn everybody_dies_while_etcd_has_one_member() {
    let mut town = Town::start(DROVER, &Plan::default()).await;
    let mut client = town.client().await;
    assert!(town.migrate(&mut client, "m1", 0).await);
    eventually_within(MIGRATION, "etcd has one member", async || {
        let report = town.reality.report().await.unwrap();
        (report.clusters[0].etcd.len() == 1).then_some(())
    })
    .await;
    town.kill_coordinator();
    town.kill_worker("golem");
    let report = town.reality.report().await.unwrap();
    assert!(report.clusters[0].etcd.len() == 1, "this is the minute");
    town.begin_worker("golem");
    town.begin_coordinator();

    let workflow = town.settled("m1").await;
    assert_eq!(
        workflow.state(),
        WorkflowState::Completed,
        "{:#?}",
        summary(workflow)
    );
    let guard = &workflow.guards[0];
    assert_eq!(guard.state(), StepState::Succeeded, "the guard went on");
    assert!(guard.attempt > 1, "the guard was killed, too");
    let entries = town.assert_ledger_is_clean().await;
    let report = town.reality.report().await.unwrap();
    let cluster = &report.clusters[0];
    assert_eq!(cluster.state, ClusterState::Migrated);
    assert_eq!(cluster.accidents, Vec::<String>::new());
    let mut removals: Vec<&str> = entries
        .iter()
        .filter(|entry| entry.changed && entry.action == "etcd:MemberRemove")
        .map(|entry| entry.target.as_str())
        .collect();
    let all = removals.len();
    removals.sort_unstable();
    removals.dedup();
    assert_eq!(removals.len(), all, "no member is removed twice");
}
