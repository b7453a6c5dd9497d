//! Acts on confirmed lists, and a new version of a definition for migrations that run.

use drover_proto::v1::{StepState, WorkflowState};

use crate::command::{Stage, TOY};

const RUNNING: &str = "state == 'Running'";

async fn three() -> Stage {
    let mut stage = Stage::set().await;
    for id in ["m1", "m2", "m3"] {
        stage.start(id).exits(0);
        stage.client.until_step(id, "a", StepState::Running).await;
    }
    stage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_matches_is_shown_counted_and_confirmed() {
    let mut stage = three().await;
    // Nobody can answer here.
    let run = stage
        .drover(&["workflow", "pause", "--query", RUNNING])
        .exits(2);
    assert!(
        run.err.contains("m1") && run.err.contains("pause these 3 workflows?"),
        "{}",
        run.err
    );
    assert_eq!(
        stage.client.describe("m1").await.state(),
        WorkflowState::Running
    );
    let run = stage
        .drover(&[
            "workflow",
            "pause",
            "-q",
            "id != 'm2'",
            "--yes",
            "--reason",
            "storm",
        ])
        .exits(0);
    assert!(
        run.out.contains("m1: ") && run.out.contains("m3: "),
        "{}",
        run.out
    );
    assert!(!run.out.contains("m2"), "{}", run.out);
    // One that cannot be resumed does not keep the others from it.
    let run = stage
        .drover(&["workflow", "resume", "-q", "true", "-y", "-o", "name"])
        .exits(4);
    assert_eq!(run.out, "m1\nm3\n");
    assert!(
        run.err.contains("1 of 3 were not carried out"),
        "{}",
        run.err
    );
    stage
        .drover(&["workflow", "pause", "-q", "id == 'nobody'", "-y"])
        .exits(3);
    stage
        .drover(&["workflow", "pause", "m1", "-q", "true"])
        .exits(2);
    stage.drover(&["workflow", "retry", "m1"]).exits(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_was_fixed_reaches_what_runs() {
    let mut stage = three().await;
    let fixed = TOY
        .replace("version: 1", "version: 2")
        .replace(
            "{ id: c, uses: toy.make/1, needs: [ask] }",
            "{ id: c, uses: toy.make/1, needs: [ask], with: { text: fixed } }\n    - { id: check, uses: toy.echo/1, needs: [c] }",
        );
    let file = stage.file("fixed.yaml", &fixed);
    stage.drover(&["definition", "register", &file]).exits(0);
    let run = stage
        .drover(&["workflow", "replan", "m1", "--dry-run"])
        .exits(0);
    assert!(
        run.err.contains("~ c  with {} → {\"text\":\"fixed\"}")
            && run.err.contains("+ check  toy.echo/1"),
        "{}",
        run.err
    );
    assert!(
        run.out.starts_with("m1: would go on by toy@2"),
        "{}",
        run.out
    );
    let run = stage
        .drover(&[
            "workflow", "replan", "-q", RUNNING, "--yes", "--reason", "surprise",
        ])
        .exits(0);
    // The same for all three, so it is said once.
    assert_eq!(run.err.matches("+ check").count(), 1, "{}", run.err);
    assert!(run.err.contains("3 workflows (m1, m2, m3)"), "{}", run.err);
    stage.world.release("a");
    stage
        .drover(&["workflow", "wait", "m3", "--for", "Waiting"])
        .exits(0);
    stage.client.until("m1", WorkflowState::Waiting).await;
    stage.client.until("m2", WorkflowState::Waiting).await;
    stage
        .drover(&["workflow", "approve", "-q", "state == 'Waiting'", "-y"])
        .exits(0);
    for id in ["m1", "m2", "m3"] {
        let ended = stage.client.until(id, WorkflowState::Completed).await;
        assert_eq!(
            ended.steps[2].output.as_ref().unwrap().text,
            br#"{"text":"fixed"}"#
        );
    }
    let unfit = fixed
        .replace("version: 2", "version: 3")
        .replace("pivot: c", "pivot: a");
    let file = stage.file("unfit.yaml", &unfit);
    stage.drover(&["definition", "register", &file]).exits(0);
    let run = stage.drover(&["workflow", "replan", "m1"]).exits(4);
    assert!(run.err.contains("has ended"), "{}", run.err);
}
