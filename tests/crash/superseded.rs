//! A worker that is held still until somebody else has its work, and then goes on.

use drover_proto::v1::{StepState, WorkflowState};
use system_tests::{
    client::summary,
    eventually,
    town::{Plan, Town},
};

use crate::DROVER;

#[tokio::test]
async fn a_late_worker_is_told_and_changes_nothing() {
    let mut town = Town::start(DROVER, &Plan::default()).await;
    let mut client = town.client().await;
    assert!(town.migrate(&mut client, "m1", 0).await);
    // In the middle of a step that changes much.
    town.until_step("m1", "apply-capi", StepState::Running)
        .await;
    town.hold_worker("golem");
    town.begin_peer("golem", "2");
    eventually("the peer has the step", async || {
        let workflow = client.describe("m1").await;
        let mut steps = workflow.steps.into_iter();
        steps.find(|step| step.id == "apply-capi" && step.worker == "golem-2")
    })
    .await;
    town.let_worker_go_on("golem");
    eventually("the late one is told", async || {
        town.log("worker-golem")
            .contains("an attempt was superseded")
            .then_some(())
    })
    .await;
    let workflow = town.settled("m1").await;
    assert_eq!(
        workflow.state(),
        WorkflowState::Completed,
        "{:#?}",
        summary(workflow)
    );
    town.assert_ledger_is_clean().await;
}
