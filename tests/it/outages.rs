//! The coordinator goes away and comes back.

use std::time::Duration;

use drover_proto::v1::{StepState, WorkflowState};
use system_tests::eventually;

use crate::lifecycle::set_up;

const BLOCK: &str =
    "  steps:\n    - { id: a, uses: toy.block/1 }\n    - { id: b, uses: toy.make/1, needs: [a] }\n";

#[tokio::test]
async fn a_step_that_runs_through_an_outage_is_not_run_again() {
    let (mut coordinator, _worker, world, mut client) = set_up(BLOCK).await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    coordinator.stop().await;
    // Longer than the lease, shorter than the grace.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    coordinator.begin().await;
    let mut client = coordinator.client().await;
    client.workers(1).await;
    world.release("a");
    let ended = client.until("m1", WorkflowState::Completed).await;
    assert_eq!((ended.steps[0].attempt, world.runs("a")), (1, 1));
}

#[tokio::test]
async fn a_result_that_was_ready_during_an_outage_is_not_lost() {
    let (mut coordinator, mut worker, world, mut client) = set_up("  steps:\n    - { id: a, uses: toy.echo/1 }\n    - { id: b, uses: toy.block/1, needs: [a] }\n").await;
    client.start("m1").await;
    client.until_step("m1", "b", StepState::Running).await;
    world.release("b");
    eventually("the step has made its thing", async || {
        (world.things() == ["b"]).then_some(())
    })
    .await;
    coordinator.stop().await;
    // The worker dies, too: the result is in its spool, or the world says what it did.
    worker.kill().await;
    worker.begin().await;
    coordinator.begin().await;
    let mut client = coordinator.client().await;
    client.until("m1", WorkflowState::Completed).await;
    assert_eq!(world.ledger().len(), 1, "made once");
}

#[tokio::test]
async fn permits_wait_while_the_lease_is_not_known() {
    let (mut coordinator, _worker, world, mut client) = set_up(BLOCK).await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    coordinator.stop().await;
    // Past the TTL the worker no longer knows its lease.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.release("a");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(world.things().is_empty(), "no permit without a known lease");
    coordinator.begin().await;
    let mut client = coordinator.client().await;
    client.until("m1", WorkflowState::Completed).await;
    assert_eq!(world.runs("a"), 1);
}

#[tokio::test]
async fn many_workflows_survive_many_restarts_in_good_order() {
    let (mut coordinator, _worker, world, mut client) = set_up(BLOCK).await;
    world.release("a");
    for round in 0..5 {
        for n in 0..20 {
            client.start(&format!("m{round}-{n}")).await;
        }
        coordinator.stop().await;
        coordinator.begin().await;
        client = coordinator.client().await;
    }
    for round in 0..5 {
        for n in 0..20 {
            client
                .until(&format!("m{round}-{n}"), WorkflowState::Completed)
                .await;
        }
    }
}
