//! Outputs that are too large for an event: uploaded beside the beats, kept in files, read by later steps and by people.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use drover_coordinator::{engine::FreeSpace, store::memory::Disk};
use drover_core::{ids::Digest, object::ObjectRef};
use drover_proto::v1::{self, StepState, WorkflowState};
use system_tests::{
    client::{Client, code},
    coordinator::{Coordinator, FULL_SPACE},
    eventually,
    proxy::Proxy,
    session::{self, Session},
    toy::World,
    worker::ToyWorker,
};

use crate::lifecycle::set_up;

const READ: &str = "
  steps:
    - { id: a, uses: toy.large/1, with: { bytes: 700000 } }
    - { id: b, uses: toy.echo/1, needs: [a], with: { text: \"${string(size(steps.a.output.text))}\" } }
";

pub(crate) const GATED: &str = "
  steps:
    - { id: a, uses: toy.large/1, with: { bytes: 700000 } }
    - { id: ok, needs: [a], gate: { approvers: [operator], expires: PT4H } }
    - { id: b, uses: toy.echo/1, needs: [ok], with: { text: \"${string(size(steps.a.output.text))}\" } }
";

pub(crate) async fn approve(client: &mut Client) {
    let gate = v1::GateRequest {
        id: "m1".into(),
        step: "ok".into(),
        ..v1::GateRequest::default()
    };
    client.workflows.approve_gate(gate).await.unwrap();
}

#[tokio::test]
async fn a_later_step_and_a_person_read_a_large_output_and_the_history_has_the_reference() {
    let (mut coordinator, _worker, _world, mut client) = set_up(READ).await;
    client.start("m1").await;
    let ended = client.until("m1", WorkflowState::Completed).await;
    assert_eq!(
        ended.steps[1].output.as_ref().unwrap().text,
        br#"{"text":"700000"}"#
    );
    assert!(ended.steps[0].output.is_none());
    let object = ended.steps[0].output_object.clone().unwrap();
    assert_eq!(object.size, 700_011);
    let file = coordinator.data().join("objects").join(&object.digest);
    assert_eq!(std::fs::metadata(&file).unwrap().len(), object.size);
    let history = client.history("m1").await;
    let reference = format!(r#""object":{{"digest":"{}","size":700011}}"#, object.digest);
    assert!(history.contains(&reference), "{history}");
    assert!(history.len() < 10_000, "the text is not in it");
    let output = client.output("m1", "a").await.unwrap();
    assert_eq!(output["text"].as_str().unwrap().len(), 700_000);
    assert_eq!(client.output("m1", "b").await.unwrap()["text"], "700000");
    let refused = client.output("m1", "zzz").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);

    // What no event names is gone after a start, and what one names is there.
    let orphan = coordinator.data().join("objects").join("0".repeat(64));
    coordinator.stop().await;
    std::fs::write(&orphan, "[]").unwrap();
    coordinator.begin().await;
    assert!(!orphan.exists() && file.exists());
    let mut client = coordinator.client().await;
    let output = client.output("m1", "a").await.unwrap();
    assert_eq!(output["text"].as_str().unwrap().len(), 700_000);
}

#[tokio::test]
async fn after_a_restart_a_step_whose_turn_has_come_still_reads_it() {
    let (mut coordinator, _worker, _world, mut client) = set_up(GATED).await;
    client.start("m1").await;
    client.until("m1", WorkflowState::Waiting).await;
    coordinator.stop().await;
    coordinator.begin().await;
    let mut client = coordinator.client().await;
    client.workers(1).await;
    approve(&mut client).await;
    let ended = client.until("m1", WorkflowState::Completed).await;
    assert_eq!(
        ended.steps[2].output.as_ref().unwrap().text,
        br#"{"text":"700000"}"#
    );
}

#[tokio::test]
async fn a_compensation_gets_the_large_output_of_its_step() {
    let (_coordinator, _worker, world, mut client) = set_up(GATED).await;
    client.start("m1").await;
    client.until("m1", WorkflowState::Waiting).await;
    client
        .workflows
        .cancel_workflow(Client::act("m1"))
        .await
        .unwrap();
    client.until("m1", WorkflowState::RolledBack).await;
    let removed: Vec<String> = world.ledger().into_iter().map(|(what, _)| what).collect();
    assert_eq!(removed, ["remove 700000 bytes"]);
}

#[tokio::test]
async fn a_build_that_cannot_fetch_a_large_output_is_not_asked_to_take_its_step_back() {
    let (coordinator, mut worker, world, mut client) = set_up(GATED).await;
    client.start("m1").await;
    client.until("m1", WorkflowState::Waiting).await;
    worker.stop().await;
    let old = Session::open(coordinator.address, session::hello("old"))
        .await
        .unwrap();
    assert_eq!(old.welcome.protocol, 1);
    client
        .workflows
        .cancel_workflow(Client::act("m1"))
        .await
        .unwrap();
    let held = eventually("it is held", async || {
        let workflow = client.describe("m1").await;
        workflow
            .holds
            .into_iter()
            .find(|hold| hold.code == "build-too-old")
    })
    .await;
    assert!(
        held.message.contains("toy.large/1") && held.message.contains("golem"),
        "{held:?}"
    );
    worker.begin().await;
    client.until("m1", WorkflowState::RolledBack).await;
    assert_eq!(world.ledger().len(), 1);
}

#[tokio::test]
async fn an_upload_that_is_cut_off_goes_on_where_it_was() {
    const BYTES: u64 = 3 << 20;
    let coordinator = Coordinator::start().await;
    let proxy = Proxy::before(coordinator.address).await;
    let world = World::default();
    let _worker = ToyWorker::start("w1", proxy.address, &world).await;
    let mut client = coordinator.client().await;
    client.workers(1).await;
    let spec =
        format!("  steps:\n    - {{ id: a, uses: toy.large/1, with: {{ bytes: {BYTES} }} }}\n");
    client.register(1, &spec).await;
    proxy.cut_at(proxy.bytes_up() + (2 << 20));
    client.start("m1").await;
    let ended = client.until("m1", WorkflowState::Completed).await;
    assert!(proxy.was_cut());
    assert_eq!((ended.steps[0].attempt, world.runs("a")), (1, 1));
    let sent = proxy.bytes_up();
    // Four parts at most were on the way; two MiB were not sent twice.
    assert!(sent < BYTES + (5 << 18), "{sent} bytes were sent");
    let output = client.output("m1", "a").await.unwrap();
    assert_eq!(output["text"].as_str().unwrap().len() as u64, BYTES);
}

#[tokio::test]
async fn on_a_full_disk_a_large_output_waits_at_its_worker() {
    let space = Arc::new(AtomicU64::new(u64::MAX));
    let free_space: FreeSpace = {
        let space = Arc::clone(&space);
        Arc::new(move || Some(space.load(Ordering::SeqCst)))
    };
    let coordinator = Coordinator::in_memory(&Disk::default(), free_space).await;
    let world = World::default();
    let _worker = ToyWorker::start("w1", coordinator.address, &world).await;
    let mut client = coordinator.client().await;
    client.workers(1).await;
    let spec = "
  steps:
    - { id: a, uses: toy.block/1 }
    - { id: b, uses: toy.large/1, needs: [a], with: { bytes: 700000 } }
";
    client.register(1, spec).await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    // Events find room, the output does not.
    space.store(FULL_SPACE + 500_000, Ordering::SeqCst);
    world.release("a");
    eventually("the result waits in the spool", async || {
        let dump = client.dump("w1").await.ok()?;
        (world.runs("b") == 1
            && dump["unacked_results"] == 1
            && dump["attempts"] == serde_json::json!([]))
        .then_some(())
    })
    .await;
    assert_eq!(
        client.describe("m1").await.steps[1].state(),
        StepState::Running
    );
    let objects = coordinator.data().join("objects");
    assert!(!objects.exists(), "nothing was written");
    space.store(u64::MAX, Ordering::SeqCst);
    let ended = client.until("m1", WorkflowState::Completed).await;
    assert_eq!((ended.steps[1].attempt, world.runs("b")), (1, 1));
}

#[tokio::test]
async fn a_large_output_that_is_gone_pauses_its_reader_until_it_is_back() {
    let (coordinator, _worker, _world, mut client) = set_up(GATED).await;
    client.start("m1").await;
    let waiting = client.until("m1", WorkflowState::Waiting).await;
    let object = waiting.steps[0].output_object.clone().unwrap();
    let file = coordinator.data().join("objects").join(&object.digest);
    let text = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    approve(&mut client).await;
    let paused = client.until_step("m1", "b", StepState::Paused).await;
    let error = paused.last_error.unwrap();
    assert_eq!(error.code, "output-unreadable");
    assert!(error.message.contains(&object.digest), "{}", error.message);
    let refused = client.output("m1", "a").await.unwrap_err();
    assert_eq!(code(&refused), "output-unreadable");
    std::fs::write(&file, text).unwrap();
    let retry = v1::RetryStepRequest {
        id: "m1".into(),
        step: "b".into(),
        ..v1::RetryStepRequest::default()
    };
    client.workflows.retry_step(retry).await.unwrap();
    client.until("m1", WorkflowState::Completed).await;
}

fn part(object: &ObjectRef, offset: u64, data: &[u8]) -> v1::UploadPart {
    v1::UploadPart {
        object: Some(v1::ObjectRef {
            digest: object.digest.to_string(),
            size: object.size,
        }),
        offset,
        data: data.to_vec(),
    }
}

#[tokio::test]
async fn parts_are_checked_and_a_new_session_is_told_how_far_an_object_is() {
    let coordinator = Coordinator::start().await;
    let hello = v1::Hello {
        protocol_max: 2,
        ..session::hello("w1")
    };
    let mut session = Session::open(coordinator.address, hello.clone())
        .await
        .unwrap();
    assert_eq!(session.welcome.protocol, 2);
    let text = br#"["12345678"]"#;
    let whole = ObjectRef {
        digest: Digest::of(text),
        size: text.len() as u64,
    };
    assert_eq!(session.upload(part(&whole, 0, b"")).await.stored, 0);
    assert_eq!(session.upload(part(&whole, 0, &text[..4])).await.stored, 4);
    drop(session);
    let mut session = Session::open(coordinator.address, hello).await.unwrap();
    assert_eq!(session.upload(part(&whole, 0, b"")).await.stored, 4);
    assert_eq!(
        session.upload(part(&whole, 4, &text[4..])).await.stored,
        whole.size
    );
    // Bytes that are not what their digest says, and more than anybody may have.
    let wrong = ObjectRef {
        digest: Digest::of(b"something else"),
        size: 3,
    };
    let refused = session.upload(part(&wrong, 0, b"[1]")).await;
    let failure = refused.failure.unwrap();
    assert_eq!(
        (failure.code.as_str(), refused.stored),
        ("output-damaged", 0)
    );
    let huge = ObjectRef {
        size: (64 << 20) + 1,
        ..wrong
    };
    let failure = session.upload(part(&huge, 0, b"")).await.failure.unwrap();
    assert_eq!(failure.code, "output-too-large");
}
