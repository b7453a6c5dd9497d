//! What operators do to workflows.

use drover_proto::v1::{self, StepState, WorkflowState};
use system_tests::{
    client::{Client, code},
    eventually,
};

use crate::lifecycle::{LINE, set_up};

#[tokio::test]
async fn cancel_before_the_pivot_takes_everything_back() {
    let spec = "
  pivot: c
  guards:
    - { id: g, uses: toy.keep/1, from: b, until: c, autonomy: PT1H }
  steps:
    - { id: a, uses: toy.make/1 }
    - { id: b, uses: toy.block/1, needs: [a] }
    - { id: c, uses: toy.make/1, needs: [b] }
";
    let (_coordinator, _worker, world, mut client) = set_up(spec).await;
    client.start("m1").await;
    client.until_step("m1", "b", StepState::Running).await;
    eventually("the guard works", async || {
        (world.things() == ["a", "g"]).then_some(())
    })
    .await;
    client
        .workflows
        .cancel_workflow(Client::act("m1"))
        .await
        .unwrap();
    let ended = client.until("m1", WorkflowState::RolledBack).await;
    assert!(world.things().is_empty());
    assert_eq!(ended.steps[0].state(), StepState::Compensated);
    let undone: Vec<_> = world
        .ledger()
        .iter()
        .filter(|(what, _)| what.starts_with("remove"))
        .map(|(what, _)| what.clone())
        .collect();
    assert_eq!(undone, ["remove g", "remove a"]);
    assert!(
        world
            .ledger()
            .iter()
            .all(|(what, stamp)| what.starts_with("remove") == stamp.compensating)
    );
}

#[tokio::test]
async fn cancel_after_the_pivot_is_refused_with_a_reason() {
    let spec = "
  pivot: a
  steps:
    - { id: a, uses: toy.make/1 }
    - { id: b, uses: toy.block/1, needs: [a] }
";
    let (_coordinator, _worker, world, mut client) = set_up(spec).await;
    client.start("m1").await;
    client.until_step("m1", "b", StepState::Running).await;
    let refused = client
        .workflows
        .cancel_workflow(Client::act("m1"))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused).as_str()),
        (tonic::Code::FailedPrecondition, "past-pivot")
    );
    world.release("b");
    client.until("m1", WorkflowState::Completed).await;
}

#[tokio::test]
async fn pause_reaches_the_running_step_at_its_next_safe_point() {
    let spec = "  steps:\n    - { id: a, uses: toy.block/1 }\n";
    let (_coordinator, _worker, world, mut client) = set_up(spec).await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    client
        .workflows
        .pause_workflow(Client::act("m1"))
        .await
        .unwrap();
    client.until_step("m1", "a", StepState::Ready).await;
    world.release("a");
    client.until("m1", WorkflowState::Paused).await;
    assert!(
        world.things().is_empty(),
        "nothing happens while it is paused"
    );
    client
        .workflows
        .resume_workflow(Client::act("m1"))
        .await
        .unwrap();
    let ended = client.until("m1", WorkflowState::Completed).await;
    assert_eq!(ended.steps[0].attempt, 2);
    assert!(
        ended.steps[0].last_error.is_none(),
        "yielding is no failure"
    );
}

#[tokio::test]
async fn the_brake_stops_the_fleet_and_lets_it_go() {
    let spec = "  steps:\n    - { id: a, uses: toy.block/1 }\n    - { id: b, uses: toy.make/1, needs: [a] }\n";
    let (_coordinator, _worker, world, mut client) = set_up(spec).await;
    for n in 0..5 {
        client.start(&format!("m{n}")).await;
        client
            .until_step(&format!("m{n}"), "a", StepState::Running)
            .await;
    }
    let on = v1::SetBrakeRequest {
        on: true,
        reason: "something is wrong".into(),
        dry_run: false,
    };
    client.fleet.set_brake(on).await.unwrap();
    eventually("nothing runs", async || {
        let brake = client
            .fleet
            .get_brake(v1::GetBrakeRequest {})
            .await
            .unwrap()
            .into_inner();
        (brake.on && brake.running == 0).then_some(())
    })
    .await;
    assert_eq!(client.describe("m0").await.holds[0].code, "brake");
    world.release("a");
    let off = v1::SetBrakeRequest {
        on: false,
        reason: String::new(),
        dry_run: false,
    };
    client.fleet.set_brake(off).await.unwrap();
    for n in 0..5 {
        client
            .until(&format!("m{n}"), WorkflowState::Completed)
            .await;
    }
}

#[tokio::test]
async fn a_gate_opens_for_whoever_saw_the_evidence() {
    let spec = "
  steps:
    - { id: a, uses: toy.echo/1, with: { text: proof } }
    - { id: ok, needs: [a], gate: { approvers: [operator], expires: PT4H, evidence: [a] } }
    - { id: b, uses: toy.make/1, needs: [ok] }
";
    let (_coordinator, _worker, world, mut client) = set_up(spec).await;
    client.start("m1").await;
    let waiting = client.until("m1", WorkflowState::Waiting).await;
    assert_eq!(waiting.holds[0].code, "gate-waiting");
    let gate = |evidence: &str| v1::GateRequest {
        id: "m1".into(),
        step: "ok".into(),
        evidence: evidence.into(),
        ..Default::default()
    };
    let refused = client
        .workflows
        .approve_gate(gate(&"0".repeat(64)))
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "evidence-changed");
    client
        .workflows
        .approve_gate(gate(&waiting.steps[1].evidence))
        .await
        .unwrap();
    client.until("m1", WorkflowState::Completed).await;
    assert_eq!(world.things(), ["b"]);
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let (_coordinator, _worker, _world, mut client) =
        set_up("  steps:\n    - { id: a, uses: toy.block/1 }\n").await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    let head = client.describe("m1").await.head;
    let request = v1::ActRequest {
        dry_run: true,
        ..Client::act("m1")
    };
    let said = client
        .workflows
        .cancel_workflow(request)
        .await
        .unwrap()
        .into_inner();
    assert!(said.message.contains("taken back"), "{}", said.message);
    assert_eq!(client.describe("m1").await.head, head);
    let request = v1::StartWorkflowRequest {
        id: "m2".into(),
        definition: "toy".into(),
        dry_run: true,
        ..Default::default()
    };
    client.workflows.start_workflow(request).await.unwrap();
    let missing = client
        .workflows
        .describe_workflow(v1::DescribeWorkflowRequest { id: "m2".into() })
        .await;
    assert_eq!(missing.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn every_act_is_an_event_with_its_actor_and_stands_in_the_audit_log() {
    let (_coordinator, _worker, _world, mut client) = set_up(LINE).await;
    let mut request = tonic::Request::new(v1::StartWorkflowRequest {
        id: "m1".into(),
        definition: "toy".into(),
        ..Default::default()
    });
    request
        .metadata_mut()
        .insert("drover-actor", "night-shift".parse().unwrap());
    client.workflows.start_workflow(request).await.unwrap();
    client.until("m1", WorkflowState::Completed).await;
    let history = client.history("m1").await;
    assert!(
        history
            .lines()
            .next()
            .unwrap()
            .contains(r#""actor":"unverified:night-shift""#),
        "{history}"
    );
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
    assert!(
        audit.contains(r#""act":"workflow.start","target":"m1""#),
        "{audit}"
    );
    let report = client
        .admin
        .verify_audit(v1::VerifyAuditRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(
        report.faults.is_empty() && report.streams >= 4,
        "{report:?}"
    );
}
