//! Formats for people and for programs.

use drover_proto::v1::WorkflowState;
use serde_json::Value;

use crate::command::{Stage, drover};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_answer_in_every_format() {
    let mut stage = Stage::set().await;
    for id in ["m1", "m2"] {
        stage.start(id).exits(0);
    }
    stage.world.release("a");
    for id in ["m1", "m2"] {
        stage.client.until(id, WorkflowState::Waiting).await;
    }
    let list = |format: &[&str]| {
        let mut args = vec!["workflow", "list"];
        args.extend(format);
        stage.drover(&args).exits(0).out
    };
    assert_eq!(list(&["-o", "name"]), "m1\nm2\n");
    let json: Value = serde_json::from_str(&list(&["-o", "json"])).unwrap();
    assert_eq!(
        (json[0]["id"].as_str(), json[1]["state"].as_str()),
        (Some("m1"), Some("Waiting"))
    );
    let lines: Vec<Value> = list(&["-o", "jsonl"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(Value::Array(lines), json);
    assert!(list(&["-o", "yaml"]).contains("state: Waiting"));
    let table = list(&[]);
    assert!(table.starts_with("ID "), "{table}");
    assert_eq!(table.lines().count(), 3);
    assert_eq!(list(&["--no-headers"]).lines().count(), 2);
    assert!(!table.contains('\u{1b}'), "no colours into a pipe");
    assert_eq!(list(&["-o", "name", "--query", "id == \"m2\""]), "m2\n");
    let run = stage
        .drover(&["workflow", "list", "--query", "id =="])
        .exits(2);
    assert!(run.err.contains("query"), "{}", run.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn describe_says_what_unblocks_each_waiting_step() {
    let mut stage = Stage::set().await;
    stage.start("m1").exits(0);
    stage.world.release("a");
    stage.client.until("m1", WorkflowState::Waiting).await;
    let out = stage.drover(&["workflow", "describe", "m1"]).exits(0).out;
    assert!(
        out.contains("drover workflow approve m1 ask (or reject)"),
        "{out}"
    );
    // What it says to do works as it stands.
    stage.drover(&["workflow", "approve", "m1", "ask"]).exits(0);
    stage.client.until("m1", WorkflowState::Completed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_is_printed_as_it_is_stored() {
    let mut stage = Stage::set().await;
    stage.start("m1").exits(0);
    stage.world.release("a");
    stage.client.until("m1", WorkflowState::Waiting).await;
    let stored = stage.client.history("m1").await;
    let printed = stage
        .drover(&["workflow", "history", "m1", "-o", "jsonl"])
        .exits(0)
        .out;
    assert_eq!(printed, stored);
}

#[test]
fn completions_and_version_need_nobody() {
    let run = drover(&["completion", "bash"]).exits(0);
    assert!(run.out.contains("_drover()"));
    let run = drover(&["version", "-o", "json"]);
    let version: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(version["command"], env!("CARGO_PKG_VERSION"), "{version}");
}
