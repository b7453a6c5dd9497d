//! A night on call.

use drover_proto::v1::{StepState, WorkflowState};
use serde_json::Value;
use system_tests::coordinator::Coordinator;

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
