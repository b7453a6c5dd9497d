//! Workers that die, hang, come back late, or are sent away.

use drover_proto::v1::{self, StepState, WorkflowState};
use system_tests::{
    client::code,
    coordinator::Coordinator,
    eventually,
    toy::{self, World},
    worker::ToyWorker,
};

use crate::lifecycle::set_up;

const BLOCK: &str =
    "  steps:\n    - { id: a, uses: toy.block/1 }\n    - { id: b, uses: toy.make/1, needs: [a] }\n";

#[tokio::test]
async fn a_killed_workers_next_process_takes_over_at_once() {
    let (_coordinator, mut worker, world, mut client) = set_up(BLOCK).await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    worker.kill().await;
    worker.begin().await;
    eventually("it runs again", async || {
        (world.runs("a") == 2).then_some(())
    })
    .await;
    world.release("a");
    let ended = client.until("m1", WorkflowState::Completed).await;
    assert_eq!(ended.steps[0].attempt, 2);
    let history = client.history("m1").await;
    assert!(
        history.contains(r#""reason":"worker-restarted""#),
        "{history}"
    );
}

#[tokio::test]
async fn a_peer_takes_over_after_the_lease_has_expired_and_the_late_one_is_told() {
    let (coordinator, mut first, world, mut client) = set_up(BLOCK).await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    let _second = ToyWorker::start("w2", coordinator.address, &world).await;
    client.workers(2).await;
    first.kill().await;
    let step = eventually("w2 has it", async || {
        let workflow = client.describe("m1").await;
        workflow
            .steps
            .into_iter()
            .next()
            .filter(|step| step.worker == "w2" && step.state() == StepState::Running)
    })
    .await;
    assert_eq!(step.attempt, 2);
    world.release("a");
    client.until("m1", WorkflowState::Completed).await;
    let fences: Vec<_> = world
        .ledger()
        .iter()
        .map(|(_, stamp)| stamp.fence)
        .collect();
    assert!(
        fences.windows(2).all(|pair| pair[0] < pair[1]),
        "{fences:?}"
    );
}

#[tokio::test]
async fn when_the_whole_pool_is_silent_nothing_is_lost_and_no_attempt_is_spent() {
    let (_coordinator, mut worker, world, mut client) = set_up(BLOCK).await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    worker.kill().await;
    eventually("the silence is noticed", async || {
        let list = client
            .fleet
            .list_installations(v1::ListInstallationsRequest {})
            .await
            .unwrap()
            .into_inner();
        list.installations[0].pools[0].silent_since
    })
    .await;
    assert_eq!(
        client.describe("m1").await.steps[0].state(),
        StepState::Running,
        "it is still its"
    );
    worker.begin().await;
    world.release("a");
    client.until("m1", WorkflowState::Completed).await;
}

#[tokio::test]
async fn a_step_nobody_serves_is_a_visible_hold_until_somebody_does() {
    let coordinator = Coordinator::start().await;
    let world = World::default();
    let mut worker = ToyWorker::start("w1", coordinator.address, &world).await;
    let mut client = coordinator.client().await;
    client.workers(1).await;
    client
        .register(1, "  steps:\n    - { id: a, uses: toy.make/1 }\n")
        .await;
    worker.stop().await;
    let mut fewer = drover_step_api::Registry::default();
    fewer.register(toy::Echo).unwrap();
    worker.begin_with(fewer).await;
    client.workers(1).await;
    client.start("m1").await;
    let held = client.describe("m1").await;
    assert_eq!(held.holds[0].code, "kind-unserved");
    assert!(
        held.holds[0].unblock.contains("toy.make/1"),
        "{:?}",
        held.holds
    );
    worker.stop().await;
    assert_eq!(client.describe("m1").await.holds[0].code, "worker-offline");
    worker.begin().await;
    client.until("m1", WorkflowState::Completed).await;
}

#[tokio::test]
async fn a_stopped_worker_hands_its_attempts_back_and_they_cost_nothing() {
    let (coordinator, mut first, world, mut client) = set_up(BLOCK).await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    let _second = ToyWorker::start("w2", coordinator.address, &world).await;
    client.workers(2).await;
    first.stop().await;
    eventually("w2 has it", async || {
        (client.describe("m1").await.steps[0].worker == "w2").then_some(())
    })
    .await;
    world.release("a");
    let ended = client.until("m1", WorkflowState::Completed).await;
    assert!(ended.steps[0].last_error.is_none());
}

#[tokio::test]
async fn a_drained_worker_finishes_what_it_has_and_takes_nothing_new() {
    let (_coordinator, mut worker, world, mut client) = set_up(BLOCK).await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    let request = v1::DrainWorkerRequest {
        id: "w1".into(),
        reason: "new build".into(),
        ..v1::DrainWorkerRequest::default()
    };
    client.fleet.drain_worker(request).await.unwrap();
    world.release("a");
    client.until_step("m1", "a", StepState::Succeeded).await;
    let held = client.describe("m1").await;
    assert_eq!(held.holds[0].code, "draining");
    worker.stop().await;
    worker.begin().await;
    client.until("m1", WorkflowState::Completed).await;
}

#[tokio::test]
async fn a_worker_declared_dead_loses_everything_at_once() {
    let (coordinator, mut first, world, mut client) = set_up(BLOCK).await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    let request = || v1::WorkerRequest {
        id: "w1".into(),
        reason: "its node burnt down".into(),
        dry_run: false,
    };
    let refused = client
        .fleet
        .declare_worker_dead(request())
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "worker-connected");
    first.kill().await;
    // Nobody else is there: only a person can say that it will not come back.
    eventually("it may be declared dead", async || {
        client.fleet.declare_worker_dead(request()).await.ok()
    })
    .await;
    let _second = ToyWorker::start("w2", coordinator.address, &world).await;
    world.release("a");
    client.until("m1", WorkflowState::Completed).await;
}

#[tokio::test]
async fn a_worker_without_its_spool_waits_until_the_old_leases_are_gone() {
    let (_coordinator, mut worker, world, mut client) = set_up(BLOCK).await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    worker.kill().await;
    worker.lose_spool();
    worker.begin().await;
    // Its predecessor may still run: nobody can tell. A person can.
    let request = || v1::WorkerRequest {
        id: "w1".into(),
        reason: "volume lost".into(),
        dry_run: false,
    };
    eventually("the old one is declared dead", async || {
        client.fleet.declare_worker_dead(request()).await.ok()
    })
    .await;
    world.release("a");
    let ended = client.until("m1", WorkflowState::Completed).await;
    assert_eq!(ended.steps[0].attempt, 2);
}
