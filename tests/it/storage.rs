//! A disk that is full, and one that lost something.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use drover_coordinator::{engine::FreeSpace, store::memory::Disk};
use drover_core::{ids::WorkflowId, stream::StreamId};
use drover_proto::v1::{self, StepState, WorkflowState};
use serde_json::json;
use system_tests::{
    client::{Client, code},
    coordinator::{Coordinator, FULL_SPACE, LOW_SPACE},
    eventually,
    toy::World,
    worker::ToyWorker,
};

const BLOCK: &str =
    "  steps:\n    - { id: a, uses: toy.block/1 }\n    - { id: b, uses: toy.make/1, needs: [a] }\n";

/// A coordinator on a disk in memory, a worker, and how much space there is.
struct Stage {
    coordinator: Coordinator,
    _worker: ToyWorker,
    world: World,
    client: Client,
    space: Arc<AtomicU64>,
}

async fn set_up(disk: &Disk) -> Stage {
    let space = Arc::new(AtomicU64::new(u64::MAX));
    let free_space: FreeSpace = {
        let space = Arc::clone(&space);
        Arc::new(move || Some(space.load(Ordering::SeqCst)))
    };
    let coordinator = Coordinator::in_memory(disk, free_space).await;
    let world = World::default();
    let worker = ToyWorker::start("w1", coordinator.address, &world).await;
    let mut client = coordinator.client().await;
    client.workers(1).await;
    client.register(1, BLOCK).await;
    Stage {
        coordinator,
        _worker: worker,
        world,
        client,
        space,
    }
}

/// Waits until a start is refused with this code.
async fn until_refused(client: &mut Client, expected: &str) {
    eventually(expected, async || {
        let request = v1::StartWorkflowRequest {
            id: "late".to_owned(),
            definition: "toy".to_owned(),
            input: Some(v1::Json {
                text: json!({}).to_string().into_bytes(),
            }),
            dry_run: true,
            ..v1::StartWorkflowRequest::default()
        };
        let refused = client.workflows.start_workflow(request).await.err()?;
        (code(&refused) == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn with_little_space_left_starts_are_refused_and_running_workflows_go_on() {
    let mut stage = set_up(&Disk::default()).await;
    stage.client.start("m1").await;
    stage.client.until_step("m1", "a", StepState::Running).await;
    stage.space.store(LOW_SPACE - 1, Ordering::SeqCst);
    until_refused(&mut stage.client, "storage-low").await;
    stage.world.release("a");
    stage.client.until("m1", WorkflowState::Completed).await;
    stage.space.store(u64::MAX, Ordering::SeqCst);
    eventually("starts are taken again", async || {
        stage.client.try_start("m2", &json!({})).await.ok()
    })
    .await;
    stage.client.until("m2", WorkflowState::Completed).await;
}

#[tokio::test]
async fn on_a_full_disk_steps_go_on_and_their_results_wait_until_there_is_space() {
    let mut stage = set_up(&Disk::default()).await;
    stage.client.start("m1").await;
    stage.client.until_step("m1", "a", StepState::Running).await;
    stage.space.store(FULL_SPACE - 1, Ordering::SeqCst);
    until_refused(&mut stage.client, "storage-full").await;
    let before = stage.client.history("m1").await;
    stage.world.release("a");
    eventually("the step has done its work", async || {
        (stage.world.things() == ["a"]).then_some(())
    })
    .await;
    // Longer than a lease lives: beats are answered, so it lives on.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(
        stage.client.history("m1").await,
        before,
        "nothing is written"
    );
    stage.space.store(u64::MAX, Ordering::SeqCst);
    let ended = stage.client.until("m1", WorkflowState::Completed).await;
    assert_eq!(ended.steps[0].attempt, 1);
    assert_eq!(stage.world.runs("a"), 1);
}

#[tokio::test]
async fn a_write_that_fails_loses_nothing_that_was_acknowledged() {
    let disk = Disk::default();
    let mut stage = set_up(&disk).await;
    stage.client.start("m1").await;
    stage.client.until_step("m1", "a", StepState::Running).await;
    // The watermark did not see it coming: somebody else filled the disk between two looks.
    disk.set_full(true);
    let refused = stage.client.try_start("m2", &json!({})).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::Unavailable);
    stage.world.release("a");
    disk.set_full(false);
    eventually("starts are taken again", async || {
        stage.client.try_start("m2", &json!({})).await.ok()
    })
    .await;
    for id in ["m1", "m2"] {
        let ended = eventually("it ends", async || {
            let request = v1::DescribeWorkflowRequest { id: id.to_owned() };
            let found = stage.client.workflows.describe_workflow(request).await;
            let workflow = found.ok()?.into_inner();
            (workflow.state() == WorkflowState::Completed).then_some(workflow)
        })
        .await;
        assert_eq!(ended.steps[0].attempt, 1, "{id}");
    }
    assert_eq!(stage.world.runs("a"), 2, "once for each workflow");
}

#[tokio::test]
async fn a_damaged_stream_is_quarantined_and_the_others_run() {
    let disk = Disk::default();
    let mut stage = set_up(&disk).await;
    for id in ["m1", "m2", "m3"] {
        stage.client.start(id).await;
        stage.client.until_step(id, "a", StepState::Running).await;
    }
    stage.coordinator.stop().await;
    disk.damage(&StreamId::Workflow(WorkflowId::new("m2").unwrap()), 1);
    stage.coordinator.begin().await;
    let mut client = stage.coordinator.client().await;
    client.workers(1).await;
    stage.world.release("a");
    for id in ["m1", "m3"] {
        client.until(id, WorkflowState::Completed).await;
    }
    let damaged = client.describe("m2").await;
    assert_eq!(damaged.state(), WorkflowState::Quarantined);
    assert_eq!(damaged.holds[0].code, "quarantined");
    assert!(!damaged.holds[0].unblock.is_empty());
    let refused = client.workflows.resume_workflow(Client::act("m2")).await;
    assert_eq!(code(&refused.unwrap_err()), "quarantined");
    let refused = client.try_start("m2", &json!({})).await;
    assert_eq!(code(&refused.unwrap_err()), "quarantined");
}

#[tokio::test]
async fn a_second_coordinator_on_the_same_folder_is_refused() {
    let mut coordinator = Coordinator::start().await;
    let refused = coordinator.beside().await;
    assert!(
        refused.ends_with("is in use by another coordinator"),
        "{refused}"
    );
    // The first one did not notice, and whoever comes after it is welcome.
    let workers = v1::ListWorkersRequest::default();
    coordinator
        .client()
        .await
        .fleet
        .list_workers(workers)
        .await
        .unwrap();
    coordinator.stop().await;
    coordinator.begin().await;
}
