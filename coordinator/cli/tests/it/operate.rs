//! A night on call.

use drover_proto::v1::{StepState, WorkflowState};
use serde_json::Value;
use system_tests::{
    coordinator::{Choices, Coordinator},
    toy::World,
    worker::ToyWorker,
};

use crate::command::{Stage, drover};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pause_brake_and_resume() {
    let mut stage = Stage::set().await;
    stage.start("m1").exits(0);
    stage.client.until_step("m1", "a", StepState::Running).await;
    stage
        .drover(&["workflow", "pause", "m1", "--reason", "lunch"])
        .exits(0);
    stage.world.release("a");
    stage.client.until("m1", WorkflowState::Paused).await;
    let out = stage.drover(&["workflow", "describe", "m1"]).exits(0).out;
    assert!(
        out.contains("lunch") && out.contains("drover workflow resume m1"),
        "{out}"
    );

    let out = stage
        .drover(&["brake", "on", "--reason", "storm"])
        .exits(0)
        .out;
    assert!(!out.is_empty());
    let out = stage.drover(&["brake", "status"]).exits(0).out;
    assert!(out.contains("storm"), "{out}");
    stage.drover(&["workflow", "resume", "m1"]).exits(0);
    stage.drover(&["brake", "off"]).exits(0);
    stage.client.until("m1", WorkflowState::Waiting).await;
    stage
        .drover(&["workflow", "reject", "m1", "ask", "--reason", "not tonight"])
        .exits(0);
    stage.client.until("m1", WorkflowState::Paused).await;
    stage.drover(&["workflow", "cancel", "m1"]).exits(0);
    stage.client.until("m1", WorkflowState::RolledBack).await;

    let out = stage.drover(&["audit", "list", "-o", "jsonl"]).exits(0).out;
    for word in ["lunch", "storm", "not tonight"] {
        assert!(out.contains(word), "{word} is not in {out}");
    }
    stage.drover(&["audit", "verify"]).exits(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_verified_and_restored() {
    let stage = Stage::set().await;
    stage.start("m1").exits(0);
    let file = stage.folder.path().join("backup").display().to_string();
    stage.drover(&["backup", &file]).exits(0);
    let again = stage.drover(&["backup", &file]).exits(2);
    assert!(
        again.err.contains(&file),
        "a backup is never overwritten: {}",
        again.err
    );
    drover(&["audit", "verify", &file]).exits(0);

    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = stage.folder.path().join("damaged").display().to_string();
    std::fs::write(&damaged, bytes).unwrap();
    drover(&["audit", "verify", &damaged]).exits(1);

    let refused = stage.drover(&["restore", &file, "--yes"]).exits(4);
    assert!(refused.err.contains("empty"), "{}", refused.err);
    let empty = Coordinator::start().await;
    let address = empty.address.to_string();
    drover(&["--address", &address, "restore", &file]).exits(2);
    drover(&["--address", &address, "restore", &file, "--yes"]).exits(0);
    let out = drover(&[
        "--address",
        &address,
        "workflow",
        "describe",
        "m1",
        "-o",
        "json",
    ])
    .exits(0)
    .out;
    let workflow: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(workflow["state"], "Paused", "{workflow}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_continuous_backup_is_told_verified_and_restored() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().display().to_string();
    let coordinator = Coordinator::choosing(Choices {
        backup: Some(folder.path().to_path_buf()),
        ..Choices::default()
    })
    .await;
    let address = coordinator.address.to_string();
    let _worker = ToyWorker::start("w1", coordinator.address, &World::default()).await;
    let mut client = coordinator.client().await;
    client.workers(1).await;
    client
        .register(1, "  steps:\n    - { id: a, uses: toy.block/1 }\n")
        .await;
    client.start("m1").await;
    client.copied().await;
    let at = |address: &str, args: &[&str]| drover(&[&["--address", address], args].concat());
    let told = at(&address, &["backup", "status"]).exits(0).out;
    assert!(told.contains(&copy) && told.contains("behind"), "{told}");
    let verified = drover(&["audit", "verify", &copy]).exits(0).out;
    assert!(verified.contains("4 streams"), "{verified}");

    let empty = Coordinator::start().await;
    let address = empty.address.to_string();
    let none = at(&address, &["backup", "status"]).exits(1);
    assert!(none.err.contains("--backup-dir"), "{}", none.err);
    let restored = at(&address, &["restore", &copy, "--yes"]).exits(0).out;
    assert!(
        restored.contains("1 open workflows are paused"),
        "{restored}"
    );
    at(&address, &["audit", "verify"]).exits(0);
    // A restore is the one fork that is accepted; a store that knows nothing of it is another one.
    at(&address, &["audit", "verify", "--against", &copy]).exits(0);
    let other = Coordinator::start().await;
    let other = other.address.to_string();
    let departed = at(&other, &["audit", "verify", "--against", &copy]).exits(1);
    assert!(
        departed.out.contains("the copy goes on from here"),
        "{}",
        departed.out
    );
    let nothing = tempfile::tempdir().unwrap();
    let shown = nothing.path().display().to_string();
    at(&address, &["restore", &shown, "--yes"]).exits(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_and_installations() {
    let stage = Stage::set().await;
    let out = stage.drover(&["worker", "list", "-o", "json"]).exits(0).out;
    let workers: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(workers[0]["id"], "w1");
    let out = stage.drover(&["installation", "list"]).exits(0).out;
    assert!(out.contains("golem"), "{out}");
    stage
        .drover(&["worker", "drain", "w1", "--dry-run"])
        .exits(0);
    stage.drover(&["worker", "drain", "w1"]).exits(0);
    stage.start("m1").exits(0);
    let out = stage.drover(&["workflow", "describe", "m1"]).exits(0).out;
    assert!(out.contains("being drained"), "{out}");
    let out = stage
        .drover(&["definition", "kinds", "-o", "name"])
        .exits(0)
        .out;
    assert!(out.contains("toy.block/1"), "{out}");
}
