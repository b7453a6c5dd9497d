//! What operators see and ask for beside workflows.

use drover_proto::v1::{self, StepState, WorkflowState};
use system_tests::{client::code, coordinator::Coordinator, worker::ToyWorker};

use crate::lifecycle::{LINE, set_up};

#[tokio::test]
async fn a_worker_answers_what_it_is_asked() {
    let (_coordinator, _worker, world, mut client) =
        set_up("  steps:\n    - { id: a, uses: toy.block/1 }\n").await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    let ask = |command: v1::WorkerCommand, argument: &str| v1::CommandWorkerRequest {
        id: "w1".into(),
        command: command.into(),
        argument: argument.into(),
        reason: String::new(),
    };
    let dump = client
        .fleet
        .command_worker(ask(v1::WorkerCommand::DumpState, ""))
        .await
        .unwrap()
        .into_inner();
    let dump: serde_json::Value = serde_json::from_slice(&dump.answer.unwrap().text).unwrap();
    assert_eq!(dump["attempts"][0]["step"], "a");
    client
        .fleet
        .command_worker(ask(v1::WorkerCommand::RefreshCredentials, ""))
        .await
        .unwrap();
    assert_eq!(world.runs("refresh-credentials"), 1);
    client
        .fleet
        .command_worker(ask(v1::WorkerCommand::SetLogLevel, "debug"))
        .await
        .unwrap();
    let refused = client
        .fleet
        .command_worker(ask(v1::WorkerCommand::SetLogLevel, "loud"))
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "command-failed");
}

#[tokio::test]
async fn a_backup_restores_into_an_empty_coordinator_with_everything_paused() {
    let spec = "  steps:\n    - { id: a, uses: toy.make/1 }\n    - { id: b, uses: toy.block/1, needs: [a] }\n    - { id: c, uses: toy.make/1, needs: [b] }\n";
    let (mut coordinator, mut worker, world, mut client) = set_up(spec).await;
    client.start("done").await;
    world.release("b");
    client.until("done", WorkflowState::Completed).await;
    let backup = client.backup().await;
    // What happens after the backup is not in it.
    client.start("later").await;
    let done = client.history("done").await;
    coordinator.stop().await;
    worker.kill().await;

    let mut other = Coordinator::start().await;
    let mut client = other.client().await;
    let report = client.restore(&backup).await.unwrap();
    assert!(report.epoch > 1_000_000, "{report:?}");
    assert_eq!(client.history("done").await, done);
    let gone = client
        .workflows
        .describe_workflow(v1::DescribeWorkflowRequest { id: "later".into() })
        .await;
    assert_eq!(gone.unwrap_err().code(), tonic::Code::NotFound);
    let audit = client
        .admin
        .verify_audit(v1::VerifyAuditRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(audit.faults.is_empty(), "{audit:?}");
    let again = client.restore(&backup).await.unwrap_err();
    assert_eq!(code(&again), "store-not-empty");
    other.stop().await;
    other.begin().await;
    assert_eq!(other.client().await.history("done").await, done);
}

#[tokio::test]
async fn open_workflows_are_paused_after_a_restore_and_observed_first() {
    let spec = "  steps:\n    - { id: a, uses: toy.block/1 }\n    - { id: b, uses: toy.make/1, needs: [a] }\n";
    let (mut coordinator, mut worker, world, mut client) = set_up(spec).await;
    client.start("m1").await;
    client.until_step("m1", "a", StepState::Running).await;
    let backup = client.backup().await;
    // The world goes on after the backup: b is done there, and the restored coordinator does not know.
    world.release("a");
    client.until("m1", WorkflowState::Completed).await;
    coordinator.stop().await;
    worker.kill().await;
    let before = world.ledger().len();

    let other = Coordinator::start().await;
    let mut client = other.client().await;
    let report = client.restore(&backup).await.unwrap();
    assert_eq!(report.paused, 1);
    let _worker = ToyWorker::start("w2", other.address, &world).await;
    client.workers(1).await;
    let paused = client.describe("m1").await;
    assert_eq!(
        (paused.state(), paused.holds[0].code.as_str()),
        (WorkflowState::Paused, "restored")
    );
    client
        .workflows
        .resume_workflow(system_tests::client::Client::act("m1"))
        .await
        .unwrap();
    client.until("m1", WorkflowState::Completed).await;
    assert_eq!(
        world.ledger().len(),
        before,
        "everything was observed, nothing done again"
    );
    let history = client.history("m1").await;
    assert!(history.contains(r#""observed":true"#), "{history}");
}

#[tokio::test]
async fn a_damaged_backup_is_refused_before_anything_changes() {
    let (_coordinator, _worker, _world, mut client) = set_up(LINE).await;
    client.start("m1").await;
    client.until("m1", WorkflowState::Completed).await;
    let mut backup = client.backup().await;
    let place = backup.len() / 2;
    backup[place] ^= 1;
    let other = Coordinator::start().await;
    let mut client = other.client().await;
    let refused = client.restore(&backup).await.unwrap_err();
    assert_eq!(code(&refused), "backup-invalid");
    let list = client
        .definitions
        .list_definitions(v1::ListDefinitionsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(list.definitions.is_empty());
}

#[tokio::test]
async fn health_reflection_metrics_and_probes_answer() {
    let (coordinator, _worker, _world, mut client) = set_up(LINE).await;
    client.start("m1").await;
    client.until("m1", WorkflowState::Completed).await;
    let get = async |path: &str| {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(coordinator.http())
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert!(get("/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get("/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(
        get("/metrics")
            .await
            .contains("drover_coordinator_workflows_started_total 1")
    );
    let version = client
        .admin
        .get_version(v1::GetVersionRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(version.epoch, 1);
}
