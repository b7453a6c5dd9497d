//! The continuous backup, and coming back from it.

use std::{fs, io::Write as _, path::Path};

use drover_proto::v1::{
    self, StepState, WorkflowState, worker_service_client::WorkerServiceClient,
};
use serde_json::json;
use system_tests::{
    client::{Client, code},
    coordinator::{Choices, Coordinator},
    copied::{as_backup, read_folder},
    eventually,
    toy::World,
    worker::ToyWorker,
};

use crate::outputs::{GATED, approve};

/// A step before the kill, one in it, one that runs in the future that is lost, and one for afterwards.
const LONG: &str = "
  steps:
    - { id: a, uses: toy.make/1 }
    - { id: b, uses: toy.block/1, needs: [a] }
    - { id: c, uses: toy.make/1, needs: [b] }
    - { id: d, uses: toy.block/1, needs: [c] }
";

fn into(folder: &Path) -> Choices {
    Choices {
        backup: Some(folder.to_path_buf()),
        ..Choices::default()
    }
}

async fn set_up(backup: &Path) -> (Coordinator, ToyWorker, World, Client) {
    let coordinator = Coordinator::choosing(into(backup)).await;
    let world = World::default();
    let worker = ToyWorker::start("w1", coordinator.address, &world).await;
    let mut client = coordinator.client().await;
    client.workers(1).await;
    client.register(1, LONG).await;
    (coordinator, worker, world, client)
}

/// The history of a workflow as the folder holds it.
fn copied_history(folder: &Path, id: &str) -> String {
    let (_, streams) = read_folder(folder);
    let name = format!("workflow/{id}");
    let records = streams
        .into_iter()
        .find(|(stream, _)| stream.to_string() == name);
    let lines = records.into_iter().flat_map(|(_, records)| records);
    let lines: Vec<u8> = lines.flat_map(|record| record.lines.to_vec()).collect();
    String::from_utf8(lines).unwrap()
}

/// Waits until the folder holds the history as it is told.
async fn until_copied(client: &mut Client, folder: &Path, id: &str) {
    client.copied().await;
    eventually("its history is copied", async || {
        (copied_history(folder, id) == client.history(id).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_commit_is_copied_and_a_restart_goes_on_after_a_torn_end() {
    let folder = tempfile::tempdir().unwrap();
    let (mut coordinator, _worker, world, mut client) = set_up(folder.path()).await;
    client.start("m1").await;
    client.until_step("m1", "b", StepState::Running).await;
    until_copied(&mut client, folder.path(), "m1").await;
    coordinator.stop().await;
    // Where it was cut off.
    let newest = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let newest = newest
        .filter(|path| path.extension().is_some())
        .max()
        .unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(newest).unwrap();
    file.write_all(b"{\"stream\":\"workflow/m1\",\"first\":99,")
        .unwrap();
    coordinator.begin().await;
    let mut client = coordinator.client().await;
    client.workers(1).await;
    for step in ["b", "d"] {
        world.release(step);
    }
    client.until("m1", WorkflowState::Completed).await;
    until_copied(&mut client, folder.path(), "m1").await;
}

#[tokio::test]
async fn a_target_that_fails_is_loud_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("backup");
    fs::write(&target, "not a folder").unwrap();
    let (coordinator, _worker, world, mut client) = set_up(&target).await;
    world.release("b");
    world.release("d");
    client.start("m1").await;
    client.until("m1", WorkflowState::Completed).await;
    let failure = eventually("the failure is said", async || {
        client.backup_status().await.failure
    })
    .await;
    assert_eq!(failure.code, "backup-failed", "{failure:?}");
    assert!(failure.message.contains("--backup-dir"), "{failure:?}");
    let (metrics, health) = (
        probe(&coordinator, "metrics").await,
        probe(&coordinator, "healthz").await,
    );
    assert!(metrics.contains("backup_failing{folder="), "{metrics}");
    let failing = metrics
        .lines()
        .find(|line| line.starts_with("drover_coordinator_backup_failing{"));
    assert!(failing.unwrap().ends_with(" 1"), "{failing:?}");
    assert!(
        health.starts_with("ok") && health.contains("backup-failed"),
        "{health}"
    );
    // It is mended, and nobody has to say so.
    fs::remove_file(&target).unwrap();
    client.copied().await;
    assert_eq!(copied_history(&target, "m1"), client.history("m1").await);
    // Somebody cleans up too much.
    fs::remove_dir_all(&target).unwrap();
    client.start("m2").await;
    client.until("m2", WorkflowState::Completed).await;
    eventually("everything is copied again", async || {
        client.copied().await;
        target.exists().then_some(())
    })
    .await;
    client.copied().await;
    for id in ["m1", "m2"] {
        assert_eq!(
            copied_history(&target, id),
            client.history(id).await,
            "{id}"
        );
    }
}

async fn probe(coordinator: &Coordinator, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(coordinator.http())
        .await
        .unwrap();
    let request = format!("GET /{path} HTTP/1.0\r\nhost: drover\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// The drill: the coordinator's machine burns down in the middle of a migration, and another one begins from the copy.
#[tokio::test]
async fn a_drill_nothing_runs_before_it_was_observed_and_nothing_runs_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (mut coordinator, _worker, world, mut client) = set_up(folder.path()).await;
    client.start("m1").await;
    client.until_step("m1", "b", StepState::Running).await;
    client.copied().await;
    let before = copied_history(folder.path(), "m1");
    let backup = as_backup(folder.path());
    // The future that is lost: b ends, c runs for the first time, d begins. The worker has their results acknowledged.
    world.release("b");
    client.until_step("m1", "d", StepState::Running).await;
    assert_eq!(world.things(), ["a", "b", "c"]);
    coordinator.stop().await;

    coordinator.choose(into(folder.path()));
    coordinator.begin_empty().await;
    let mut client = coordinator.client().await;
    // The folder may be the last copy: an empty store does not touch it.
    let failure = eventually("the other history is said", async || {
        client.backup_status().await.failure
    })
    .await;
    assert_eq!(failure.code, "backup-other-history", "{failure:?}");
    let report = client.restore(&backup).await.unwrap();
    assert_eq!(report.paused, 1);
    client.workers(1).await;
    let history = client.history("m1").await;
    assert!(
        history.starts_with(&before) && history.contains("Restored"),
        "{history}"
    );
    let paused = client.describe("m1").await;
    assert_eq!(paused.holds[0].code, "restored");
    assert_eq!(paused.not_looked, "b");
    client.audit_is_sound().await;
    let act = Client::act("m1");
    client.workflows.resume_workflow(act).await.unwrap();
    eventually("b and c are found done, and d is not", async || {
        let found = client.describe("m1").await;
        (found.not_looked.is_empty() && found.steps[3].state() == StepState::Running).then_some(())
    })
    .await;
    world.release("d");
    client.until("m1", WorkflowState::Completed).await;

    // Every step was leased with a look first, and what the lost future had done was seen, not done again.
    let history = client.history("m1").await;
    let events: Vec<serde_json::Value> = history[before.len()..]
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let leased: Vec<(&str, bool)> = events
        .iter()
        .filter(|event| event["type"] == "AttemptLeased")
        .map(|event| {
            let step = event["step"].as_str().unwrap();
            (step, event["data"]["observe_first"] == json!(true))
        })
        .collect();
    for step in ["b", "c", "d"] {
        assert!(leased.contains(&(step, true)), "{step}: {leased:?}");
    }
    assert!(leased.iter().all(|(_, observed)| *observed), "{leased:?}");
    let mut made: Vec<String> = world.ledger().into_iter().map(|(what, _)| what).collect();
    made.sort();
    assert_eq!(made, ["make a", "make b", "make c", "make d"]);
}

/// The backup knows of neither `c` nor `d`.
#[tokio::test]
async fn a_cancel_after_a_restore_takes_back_what_only_the_lost_future_began() {
    let folder = tempfile::tempdir().unwrap();
    let (mut coordinator, _worker, world, mut client) = set_up(folder.path()).await;
    client.start("m1").await;
    client.until_step("m1", "b", StepState::Running).await;
    client.copied().await;
    let backup = as_backup(folder.path());
    world.release("b");
    client.until_step("m1", "d", StepState::Running).await;
    coordinator.stop().await;

    coordinator.choose(Choices::default());
    coordinator.begin_empty().await;
    let mut client = coordinator.client().await;
    client.restore(&backup).await.unwrap();
    let act = Client::act("m1");
    client.workflows.resume_workflow(act.clone()).await.unwrap();
    let refused = client.workflows.cancel_workflow(act.clone()).await;
    assert_eq!(code(&refused.unwrap_err()), "not-looked");
    eventually("every step has looked", async || {
        client.workflows.cancel_workflow(act.clone()).await.ok()
    })
    .await;
    client.until("m1", WorkflowState::RolledBack).await;
    assert_eq!(world.things(), Vec::<String>::new());
}

#[tokio::test]
async fn large_outputs_come_back_with_either_backup() {
    let folder = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::choosing(into(folder.path())).await;
    let world = World::default();
    let _worker = ToyWorker::start("w1", coordinator.address, &world).await;
    let mut client = coordinator.client().await;
    client.workers(1).await;
    client.register(1, GATED).await;
    client.start("m1").await;
    let waiting = client.until("m1", WorkflowState::Waiting).await;
    assert!(waiting.steps[0].output_object.is_some());
    client.copied().await;
    let backups = [as_backup(folder.path()), client.backup().await];
    coordinator.stop().await;
    coordinator.choose(Choices::default());
    for backup in backups {
        coordinator.begin_empty().await;
        let mut client = coordinator.client().await;
        client.restore(&backup).await.unwrap();
        client.workers(1).await;
        let act = Client::act("m1");
        client.workflows.resume_workflow(act).await.unwrap();
        client.until("m1", WorkflowState::Waiting).await;
        approve(&mut client).await;
        // The step that reads it has what it reads.
        client.until("m1", WorkflowState::Completed).await;
        coordinator.stop().await;
    }
}

#[tokio::test]
async fn the_same_backup_twice_gives_two_epochs_and_a_worker_does_not_go_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut coordinator, worker, _world, mut client) = set_up(folder.path()).await;
    client.start("m1").await;
    client.copied().await;
    let backup = as_backup(folder.path());
    coordinator.stop().await;
    coordinator.choose(Choices::default());
    let mut epochs = Vec::new();
    for _ in 0..2 {
        coordinator.begin_empty().await;
        let mut client = coordinator.client().await;
        epochs.push(client.restore(&backup).await.unwrap().epoch);
        client.workers(1).await;
        coordinator.stop().await;
    }
    assert!(epochs[0] < epochs[1], "{epochs:?}");
    // Somebody starts an old one, or a new one, at the address that the worker knows.
    coordinator.begin_empty().await;
    let mut client = coordinator.client().await;
    let refused = eventually("a worker of the newest epoch is refused", async || {
        hello(&coordinator, &worker.config().id, epochs[1])
            .await
            .err()
    })
    .await;
    assert_eq!(code(&refused), "epoch-behind", "{refused:?}");
    let workers = client.fleet.list_workers(v1::ListWorkersRequest::default());
    let workers = workers.await.unwrap().into_inner().workers;
    assert!(workers.is_empty(), "the worker stays away: {workers:?}");
}

/// Says hello as a worker does that has seen this epoch.
async fn hello(coordinator: &Coordinator, worker: &str, epoch: u64) -> Result<(), tonic::Status> {
    let hello = v1::Hello {
        installation: "golem".into(),
        pool: "default".into(),
        worker: worker.into(),
        incarnation: "4d0f9f57-4f7c-4e36-9d4c-5a1d7d2a7f01".into(),
        spool: "4d0f9f57-4f7c-4e36-9d4c-5a1d7d2a7f02".into(),
        spool_counter: 1,
        protocol_min: 1,
        protocol_max: 1,
        last_epoch: epoch,
        ..v1::Hello::default()
    };
    let frame = v1::WorkerFrame {
        hello: Some(hello),
        ..v1::WorkerFrame::default()
    };
    let address = format!("http://{}", coordinator.address);
    let client = WorkerServiceClient::connect(address).await;
    let session = client.unwrap().session(tokio_stream::iter([frame])).await;
    session.map(drop)
}
