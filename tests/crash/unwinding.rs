//! Cancelling with real processes.

use drover_proto::v1::{StepState, WorkflowState};
use drover_sim::{Gap, ProbeName, differences};
use serde_json::json;
use system_tests::{
    client::{Client, code, summary},
    town::{Plan, Town},
};

use crate::DROVER;

/// What stays after an unwind on purpose, and why.
const RESIDUES: &[(&str, &str)] = &[(
    "/region_store",
    "the snapshot of etcd is kept: a copy too many costs nothing",
)];

#[tokio::test]
async fn cancelled_at_the_gate_the_world_is_as_before() {
    let mut town = Town::start(DROVER, &Plan::default()).await;
    let before = town.reality.normalized().await.unwrap();
    let mut client = town.client().await;
    let production = json!({ "environment": "prod" });
    town.migrate_with(&mut client, "m1", 0, &production)
        .await
        .unwrap();
    town.until_step("m1", "approve-point-of-no-return", StepState::Waiting)
        .await;
    client
        .workflows
        .cancel_workflow(Client::act("m1"))
        .await
        .unwrap();
    // The way back survives a kill as well.
    town.until_step("m1", "join-etcd", StepState::Compensating)
        .await;
    town.kill_coordinator();
    town.kill_worker("golem");
    town.begin_coordinator();
    town.begin_worker("golem");
    let workflow = town.settled("m1").await;
    assert_eq!(
        workflow.state(),
        WorkflowState::RolledBack,
        "{:#?}",
        summary(workflow)
    );
    let after = town.world_at_rest().await;
    let mut differences = differences(&before, &after);
    differences.retain(|line| {
        let place = line
            .split_once(": ")
            .map_or(line.as_str(), |(place, _)| place);
        !RESIDUES.iter().any(|(path, _)| place.ends_with(path))
    });
    assert_eq!(differences, Vec::<String>::new());
    town.assert_ledger_is_clean().await;
    let report = town.reality.report().await.unwrap();
    // Nobody uses the new name before the point of no return; it goes down with the only node behind it.
    let used = |gap: &&Gap| gap.probe != ProbeName::NewName;
    let noticed: Vec<&Gap> = report.clusters[0].gaps.iter().filter(used).collect();
    assert_eq!(noticed, Vec::<&Gap>::new(), "nobody noticed");
}

#[tokio::test]
async fn cancelling_after_the_pivot_is_refused_with_a_reason() {
    let town = Town::start(DROVER, &Plan::default()).await;
    let mut client = town.client().await;
    assert!(town.migrate(&mut client, "m1", 0).await);
    town.until_step("m1", "converge-etcd", StepState::Running)
        .await;
    let refused = client.workflows.cancel_workflow(Client::act("m1")).await;
    assert_eq!(code(&refused.unwrap_err()), "past-pivot");
    // Said to a person, with the exit code of a refusal.
    let (exit, _, said) = town.drover(&["workflow", "cancel", "m1", "--reason", "changed my mind"]);
    assert_eq!(exit, 4, "{said}");
    assert!(said.contains("[past-pivot]"), "{said}");
    let workflow = town.settled("m1").await;
    assert_eq!(
        workflow.state(),
        WorkflowState::Completed,
        "{:#?}",
        summary(workflow)
    );
}
