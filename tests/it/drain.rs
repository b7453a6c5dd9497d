//! Workers that are sent away in good order, and one that is declared dead in the middle of a critical step.

use std::time::Duration;

use drover_proto::v1::{self, StepState, WorkflowState};
use system_tests::{
    client::{Client, code},
    eventually,
    worker::ToyWorker,
};

use crate::lifecycle::set_up;

const BLOCK: &str =
    "  steps:\n    - { id: a, uses: toy.block/1 }\n    - { id: b, uses: toy.make/1, needs: [a] }\n";

fn drain(exit: bool) -> v1::DrainWorkerRequest {
    v1::DrainWorkerRequest {
        id: "w1".into(),
        reason: "new build".into(),
        dry_run: false,
        exit,
    }
}

fn act(reason: &str) -> v1::WorkerRequest {
    v1::WorkerRequest {
        id: "w1".into(),
        reason: reason.into(),
        dry_run: false,
    }
}

async fn worker(client: &mut Client) -> v1::Worker {
    client
        .fleet
        .describe_worker(act(""))
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test]
async fn a_drained_worker_says_what_it_waits_for_and_ends_when_it_was_asked_to() {
    let (mut coordinator, mut first, world, mut client) = set_up(BLOCK).await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    let _second = ToyWorker::start("w2", coordinator.address, &world).await;
    client.workers(2).await;
    let said = client
        .fleet
        .drain_worker(drain(true))
        .await
        .unwrap()
        .into_inner();
    assert!(
        said.message.contains("m1/a") && said.message.contains("ends"),
        "{}",
        said.message
    );
    // The other one takes what comes, although it has more to do.
    for id in ["m2", "m3"] {
        client.start(id).await;
        let step = client.until_step(id, "a", StepState::Running).await;
        assert_eq!(step.worker, "w2");
    }
    // It was told by a coordinator that is gone; the next one remembers.
    coordinator.stop().await;
    coordinator.begin().await;
    let mut client = coordinator.client().await;
    client.workers(1).await;
    let drained = eventually("it is back", async || {
        let found = worker(&mut client).await;
        (found.state() == v1::WorkerState::Draining).then_some(found)
    })
    .await;
    assert_eq!(drained.waits_for, ["m1/a"]);
    world.release("a");
    first.ended().await;
    for id in ["m1", "m2", "m3"] {
        let ended = client.until(id, WorkflowState::Completed).await;
        assert_eq!(ended.steps[0].attempt, 1, "{id}");
    }
}

#[tokio::test]
async fn a_drained_worker_finishes_its_critical_span_and_only_that() {
    let spec = "
  pivot: b
  critical: { from: b, until: c }
  steps:
    - { id: a, uses: toy.make/1 }
    - { id: b, uses: toy.block/1, needs: [a] }
    - { id: c, uses: toy.block/1, needs: [b] }
    - { id: d, uses: toy.make/1, needs: [c] }
";
    let (_coordinator, mut first, world, mut client) = set_up(spec).await;
    client.start("m1").await;
    client.until_step("m1", "b", StepState::Running).await;
    client.fleet.drain_worker(drain(true)).await.unwrap();
    let waits_for = worker(&mut client).await.waits_for;
    assert_eq!(waits_for, ["m1/b", "m1 (critical span)"]);
    // Between two steps of the span it holds nothing, and stays.
    world.release("b");
    let step = client.until_step("m1", "c", StepState::Running).await;
    assert_eq!(step.worker, "w1");
    world.release("c");
    first.ended().await;
    let held = client.describe("m1").await;
    assert_eq!(held.steps[2].state(), StepState::Succeeded);
    assert_eq!(held.steps[3].state(), StepState::Ready);
    first.begin().await;
    client.until("m1", WorkflowState::Completed).await;
}

#[tokio::test]
async fn a_drain_is_taken_back() {
    let (_coordinator, _worker, world, mut client) = set_up(BLOCK).await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    client.fleet.drain_worker(drain(true)).await.unwrap();
    client.fleet.undrain_worker(act("not yet")).await.unwrap();
    world.release("a");
    client.until("m1", WorkflowState::Completed).await;
    let found = worker(&mut client).await;
    assert_eq!(found.state(), v1::WorkerState::Connected);
    assert!(found.waits_for.is_empty());
    client.fleet.drain_worker(drain(false)).await.unwrap();
    client.start("m2").await;
    assert_eq!(client.describe("m2").await.holds[0].code, "draining");
    client.fleet.undrain_worker(act("now")).await.unwrap();
    client.until("m2", WorkflowState::Completed).await;
}

#[tokio::test]
async fn a_critical_step_holds_others_off_until_a_person_vouches_that_its_worker_is_dead() {
    let spec = "  steps:\n    - { id: a, uses: toy.surgery/1 }\n";
    let (coordinator, mut first, world, mut client) = set_up(spec).await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    let _second = ToyWorker::start("w2", coordinator.address, &world).await;
    client.workers(2).await;
    first.kill().await;
    // Longer than the TTL: any other step would be with the peer by now.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let step = client.describe("m1").await.steps.remove(0);
    assert_eq!((step.worker.as_str(), step.attempt), ("w1", 1));
    client
        .fleet
        .declare_worker_dead(act("its node burnt down"))
        .await
        .unwrap();
    let step = eventually("the peer has it", async || {
        let step = client.describe("m1").await.steps.remove(0);
        (step.worker == "w2" && step.state() == StepState::Running).then_some(step)
    })
    .await;
    assert_eq!(step.attempt, 2);
    let refused = client.fleet.drain_worker(drain(false)).await.unwrap_err();
    assert_eq!(code(&refused), "worker-dead");
    world.release("a");
    client.until("m1", WorkflowState::Completed).await;
    let mut stream = client
        .admin
        .list_audit(v1::ListAuditRequest::default())
        .await
        .unwrap()
        .into_inner();
    let mut audit = String::new();
    while let Some(more) = stream.message().await.unwrap() {
        audit.push_str(std::str::from_utf8(&more.lines).unwrap());
    }
    let entry = r#""act":"worker.declare-dead","target":"w1","reason":"its node burnt down""#;
    assert!(audit.contains(entry), "{audit}");
}
