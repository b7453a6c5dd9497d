//! Workflows from start to end.

use drover_proto::v1::{self, StepState, WorkflowState};
use serde_json::json;
use system_tests::{
    client::{Client, code},
    coordinator::Coordinator,
    eventually,
    toy::{StepErrorKind, World},
    worker::ToyWorker,
};

pub(crate) const LINE: &str = "
  pivot: c
  steps:
    - { id: a, uses: toy.echo/1, with: { text: hello } }
    - { id: b, uses: toy.make/1, needs: [a], with: { text: \"${steps.a.output.text}\" } }
    - { id: c, uses: toy.make/1, needs: [b] }
";

pub(crate) async fn set_up(spec: &str) -> (Coordinator, ToyWorker, World, Client) {
    let coordinator = Coordinator::start().await;
    let world = World::default();
    let worker = ToyWorker::start("w1", coordinator.address, &world).await;
    let mut client = coordinator.client().await;
    client.workers(1).await;
    client.register(1, spec).await;
    (coordinator, worker, world, client)
}

#[tokio::test]
async fn a_workflow_runs_to_its_end_and_every_effect_has_its_stamp() {
    let (_coordinator, _worker, world, mut client) = set_up(LINE).await;
    let started = client.start("m1").await;
    assert_eq!(started.id, "m1");
    let ended = client.until("m1", WorkflowState::Completed).await;
    assert!(
        ended
            .steps
            .iter()
            .all(|step| step.state() == StepState::Succeeded)
    );
    assert_eq!(
        ended.steps[1].output.as_ref().unwrap().text,
        br#"{"text":"hello"}"#
    );
    assert_eq!(world.things(), ["b", "c"]);
    let ledger = world.ledger();
    assert!(
        ledger
            .windows(2)
            .all(|pair| pair[0].1.fence < pair[1].1.fence)
    );
    assert_ne!(ledger[0].1.idempotency_key, ledger[1].1.idempotency_key);
    assert_eq!(ended.trace_id.len(), 32);
}

#[tokio::test]
async fn the_same_start_again_is_the_same_workflow_and_another_input_is_refused() {
    let (_coordinator, _worker, _world, mut client) = set_up(LINE).await;
    assert!(
        client
            .try_start("m1", &json!({"x": 1}))
            .await
            .unwrap()
            .created
    );
    assert!(
        !client
            .try_start("m1", &json!({"x": 1}))
            .await
            .unwrap()
            .created
    );
    let refused = client.try_start("m1", &json!({"x": 2})).await.unwrap_err();
    assert_eq!(code(&refused), "id-taken");
    client.until("m1", WorkflowState::Completed).await;
    assert!(
        !client
            .try_start("m1", &json!({"x": 1}))
            .await
            .unwrap()
            .created,
        "also after its end"
    );
    assert_eq!(
        code(&client.try_start("m1", &json!({"x": 2})).await.unwrap_err()),
        "id-taken"
    );
}

#[tokio::test]
async fn one_workflow_at_a_time_works_on_one_target() {
    let spec = "
  exclusive: \"${input.cluster}\"
  steps:
    - { id: a, uses: toy.block/1 }
";
    let (_coordinator, _worker, world, mut client) = set_up(spec).await;
    client
        .try_start("m1", &json!({"cluster": "c1"}))
        .await
        .unwrap();
    let refused = client
        .try_start("m2", &json!({"cluster": "c1"}))
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "exclusive-held");
    assert!(refused.message().contains("m1"), "{refused}");
    client
        .try_start("m3", &json!({"cluster": "c2"}))
        .await
        .unwrap();
    world.release("a");
    client.until("m1", WorkflowState::Completed).await;
    client
        .try_start("m2", &json!({"cluster": "c1"}))
        .await
        .unwrap();
}

#[tokio::test]
async fn wrong_input_is_one_sentence_and_starts_nothing() {
    let (_coordinator, _worker, _world, mut client) = set_up(LINE).await;
    let cases = [
        (
            "cycle",
            "  steps:\n    - { id: a, uses: toy.echo/1, needs: [b] }\n    - { id: b, uses: toy.echo/1, needs: [a] }\n",
        ),
        (
            "unknown-kind",
            "  steps:\n    - { id: a, uses: toy.ecko/1 }\n",
        ),
        (
            "output-too-early",
            "  steps:\n    - { id: a, uses: toy.echo/1, with: { text: \"${steps.b.output.text}\" } }\n    - { id: b, uses: toy.echo/1 }\n",
        ),
        ("yaml-syntax", "  steps: [\n"),
    ];
    for (what, spec) in cases {
        let refused = client.try_register(9, spec).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{what}");
        let problem = refused
            .metadata()
            .get("drover-problem")
            .unwrap()
            .to_str()
            .unwrap();
        assert!(problem.contains(what), "{what}: {problem}");
    }
    let missing = v1::StartWorkflowRequest {
        id: "m1".into(),
        definition: "nope".into(),
        ..Default::default()
    };
    let refused = client.workflows.start_workflow(missing).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    let bad_id = client.try_start("Not An Id", &json!({})).await.unwrap_err();
    assert_eq!(code(&bad_id), "bad-id");
    let list = client
        .workflows
        .list_workflows(v1::ListWorkflowsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(list.workflows.is_empty());
}

#[tokio::test]
async fn a_refused_step_waits_for_an_operator_and_goes_on_after_a_retry() {
    let (_coordinator, _worker, world, mut client) = set_up(LINE).await;
    world.fail("b", Some(StepErrorKind::Refused));
    client.start("m1").await;
    let paused = client.until("m1", WorkflowState::Paused).await;
    assert_eq!(paused.holds[0].code, "step-paused");
    assert!(
        paused.holds[0]
            .unblock
            .contains("drover workflow retry m1 b"),
        "{:?}",
        paused.holds
    );
    assert_eq!(
        paused.steps[1].last_error.as_ref().unwrap().code,
        "toy-refused"
    );
    assert!(world.things().is_empty(), "nothing unwinds by itself");
    world.fail("b", None);
    let retry = v1::RetryStepRequest {
        id: "m1".into(),
        step: "b".into(),
        ..Default::default()
    };
    client.workflows.retry_step(retry).await.unwrap();
    client.until("m1", WorkflowState::Completed).await;
}

#[tokio::test]
async fn a_transient_failure_is_tried_again_by_itself() {
    let (_coordinator, _worker, world, mut client) = set_up(LINE).await;
    world.fail("b", Some(StepErrorKind::Transient));
    client.start("m1").await;
    client.until_step("m1", "b", StepState::Backoff).await;
    world.fail("b", None);
    let ended = client.until("m1", WorkflowState::Completed).await;
    assert!(ended.steps[1].attempt > 1);
}

#[tokio::test]
async fn a_step_that_leaks_or_panics_fails_and_the_worker_lives_on() {
    let spec = "
  steps:
    - { id: leak, uses: toy.leak/1 }
    - { id: bug, uses: toy.panic/1 }
";
    let (_coordinator, _worker, _world, mut client) = set_up(spec).await;
    client.start("m1").await;
    let leak = client.until_step("m1", "leak", StepState::Paused).await;
    assert_eq!(leak.last_error.unwrap().code, "secret-in-output");
    let bug = client.until_step("m1", "bug", StepState::Paused).await;
    assert_eq!(bug.last_error.unwrap().code, "panicked");
    let history = client.history("m1").await;
    assert!(!history.contains("PRIVATE"), "{history}");
    client.workers(1).await;
}

#[tokio::test]
async fn what_history_printed_once_is_a_prefix_of_what_it_prints_later() {
    let spec = "
  steps:
    - { id: a, uses: toy.block/1 }
    - { id: b, uses: toy.make/1, needs: [a] }
";
    let (mut coordinator, _worker, world, mut client) = set_up(spec).await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    let first = client.history("m1").await;
    coordinator.stop().await;
    coordinator.begin().await;
    let mut client = coordinator.client().await;
    let second = client.history("m1").await;
    assert!(second.starts_with(&first));
    world.release("a");
    client.until("m1", WorkflowState::Completed).await;
    let third = client.history("m1").await;
    assert!(third.starts_with(&*second) && third.len() > second.len());
    let seqs: Vec<u64> = third
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn following_a_history_gives_every_line_once_and_ends_with_the_workflow() {
    let spec = "  steps:\n    - { id: a, uses: toy.block/1 }\n    - { id: b, uses: toy.make/1, needs: [a] }\n";
    let (_coordinator, _worker, world, mut client) = set_up(spec).await;
    client.start("m1").await;
    let request = v1::ReadHistoryRequest {
        id: "m1".into(),
        from_seq: 0,
        follow: true,
    };
    let mut stream = client
        .workflows
        .read_history(request)
        .await
        .unwrap()
        .into_inner();
    let mut lines = stream.message().await.unwrap().unwrap().lines;
    world.release("a");
    while let Some(more) = stream.message().await.unwrap() {
        lines.extend(more.lines);
    }
    let lines = String::from_utf8(lines).unwrap();
    assert_eq!(lines, client.history("m1").await);
    assert!(
        lines
            .trim_end()
            .ends_with(r#""type":"Completed","data":{}}"#)
    );
}

#[tokio::test]
async fn watching_shows_the_last_state_always() {
    let (_coordinator, _worker, world, mut client) =
        set_up("  steps:\n    - { id: a, uses: toy.block/1 }\n").await;
    client.start("m1").await;
    let mut stream = client
        .workflows
        .watch_workflow(v1::WatchWorkflowRequest { id: "m1".into() })
        .await
        .unwrap()
        .into_inner();
    world.release("a");
    let mut last = None;
    while let Some(workflow) = stream.message().await.unwrap() {
        last = Some(workflow);
    }
    let last = last.unwrap();
    assert_eq!(last.state(), WorkflowState::Completed);
    assert_eq!(last.steps[0].output, None, "nobody watches outputs");
    assert!(client.describe("m1").await.steps[0].output.is_some());
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let (_coordinator, _worker, _world, mut client) =
        set_up("  steps:\n    - { id: a, uses: toy.echo/1 }\n").await;
    for n in 0..5 {
        client
            .try_start(&format!("m{n}"), &json!({"cluster": format!("c{}", n % 2)}))
            .await
            .unwrap();
    }
    eventually("all have ended", async || {
        let request = v1::ListWorkflowsRequest {
            query: "state != 'Completed'".into(),
            ..Default::default()
        };
        let list = client
            .workflows
            .list_workflows(request)
            .await
            .unwrap()
            .into_inner();
        list.workflows.is_empty().then_some(())
    })
    .await;
    let request = v1::ListWorkflowsRequest {
        query: "cluster == 'c0'".into(),
        limit: 2,
        page_token: String::new(),
    };
    let first = client
        .workflows
        .list_workflows(request.clone())
        .await
        .unwrap()
        .into_inner();
    let ids = |list: &v1::ListWorkflowsResponse| {
        list.workflows
            .iter()
            .map(|w| w.id.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&first), ["m0", "m2"]);
    let request = v1::ListWorkflowsRequest {
        page_token: first.next_page_token,
        ..request
    };
    let second = client
        .workflows
        .list_workflows(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(ids(&second), ["m4"]);
    assert!(second.next_page_token.is_empty());
    let bad = v1::ListWorkflowsRequest {
        query: "state ==".into(),
        ..Default::default()
    };
    assert_eq!(
        code(&client.workflows.list_workflows(bad).await.unwrap_err()),
        "query-invalid"
    );
}
