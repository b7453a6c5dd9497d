//! 0 ok · 1 failed · 2 usage · 3 not found · 4 refused · 5 unreachable · 6 timed out while waiting.

use drover_proto::v1::WorkflowState;

use crate::command::{Stage, drover};

#[test]
fn without_a_coordinator_it_says_where_it_looked() {
    let run = drover(&["--address", "127.0.0.1:1", "workflow", "list"]).exits(5);
    assert!(
        run.err.contains("nobody answers at 127.0.0.1:1"),
        "{}",
        run.err
    );
    assert_eq!(run.out, "");
}

#[test]
fn a_word_that_is_wrong_is_a_usage_error() {
    let run = drover(&["workflow", "lsit"]).exits(2);
    assert!(
        run.err.contains("a similar subcommand exists: 'list'"),
        "{}",
        run.err
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_tell_scripts_what_happened() {
    let mut stage = Stage::set().await;
    for args in [
        ["workflow", "describe", "nobody"],
        ["workflow", "history", "nobody"],
        ["workflow", "cancel", "nobody"],
        ["worker", "describe", "nobody"],
        ["definition", "show", "nobody"],
    ] {
        let run = stage.drover(&args).exits(3);
        assert!(run.err.contains("nobody"), "{args:?}: {}", run.err);
    }
    stage.start("m1").exits(0);
    stage
        .drover(&["--timeout", "PT0.2S", "workflow", "wait", "m1"])
        .exits(6);
    // There is no gate that waits yet.
    stage.drover(&["workflow", "approve", "m1", "ask"]).exits(4);
    stage.drover(&["workflow", "terminate", "m1"]).exits(2);
    stage.world.release("a");
    stage.client.until("m1", WorkflowState::Waiting).await;
    stage
        .drover(&["workflow", "wait", "m1", "--for", "Waiting"])
        .exits(0);
    stage.drover(&["workflow", "approve", "m1"]).exits(0);
    stage.client.until("m1", WorkflowState::Completed).await;
    let run = stage.drover(&["workflow", "cancel", "m1"]).exits(4);
    assert!(
        run.err.starts_with("drover: ") && run.err.ends_with("]\n"),
        "{}",
        run.err
    );
}
