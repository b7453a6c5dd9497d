//! Data folders and backups that earlier builds wrote: they open, every chain holds, and their workflows go on.
//!
//! `tests/fixtures/VERSION/` is never changed once VERSION is released. Every run makes a fixture of this version in a
//! temporary folder and opens it; at a release `MAKE_FIXTURE=1 cargo test -p system-tests --test it earlier` keeps it.

use std::{fs, path::Path};

use drover_proto::v1::{self, StepState, WorkflowState};
use system_tests::{
    client::Client, coordinator::Coordinator, fixture, toy::World, worker::ToyWorker,
};

/// Every workflow of a fixture, and how it stands in it.
const WORKFLOWS: [(&str, WorkflowState); 6] = [
    ("completed", WorkflowState::Completed),
    ("gated", WorkflowState::Waiting),
    ("paused", WorkflowState::Paused),
    ("rolled-back", WorkflowState::RolledBack),
    ("running", WorkflowState::Running),
    ("unwinding", WorkflowState::Unwinding),
];

const ONE: &str = "  steps:\n    - { id: x, uses: toy.make/1 }\n";

const GATED: &str = "
  steps:
    - { id: a, uses: toy.make/1 }
    - { id: g, needs: [a], gate: { approvers: [operator], expires: P3650D } }
    - { id: c, uses: toy.make/1, needs: [g] }
";

const BLOCKED: &str = "
  guards:
    - { id: k, uses: toy.keep/1, from: b, until: c, autonomy: PT2H, onViolation: pause }
  steps:
    - { id: a, uses: toy.make/1 }
    - { id: b, uses: toy.block/1, needs: [a] }
    - { id: c, uses: toy.make/1, needs: [b] }
";

async fn approve(client: &mut Client, id: &str) {
    let request = v1::GateRequest {
        id: id.into(),
        step: "g".into(),
        reason: "the test wants it".into(),
        ..v1::GateRequest::default()
    };
    client.workflows.approve_gate(request).await.unwrap();
}

#[tokio::test]
async fn the_fixture_of_this_version_opens_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join(env!("CARGO_PKG_VERSION"));
    make(&made).await;
    opens_and_goes_on(&made).await;
    if std::env::var_os("MAKE_FIXTURE").is_some() {
        let to = fixture::root().join(env!("CARGO_PKG_VERSION"));
        if to.exists() {
            fs::remove_dir_all(&to).unwrap();
        }
        fixture::copy(&made, &to);
    }
}

/// A data folder, a backup, and the histories that were printed of it.
async fn make(to: &Path) {
    let mut coordinator = Coordinator::start().await;
    let world = World::default();
    let mut worker = ToyWorker::start("w1", coordinator.address, &world).await;
    let mut client = coordinator.client().await;
    client.workers(1).await;
    client.register(1, ONE).await;
    client.start("completed").await;
    client.until("completed", WorkflowState::Completed).await;
    client.register(2, GATED).await;
    for id in ["gated", "paused", "rolled-back", "unwinding"] {
        client.start(id).await;
        client.until_step(id, "a", StepState::Succeeded).await;
    }
    let act = Client::act("paused");
    client.workflows.pause_workflow(act).await.unwrap();
    let act = Client::act("rolled-back");
    client.workflows.cancel_workflow(act).await.unwrap();
    client.until("rolled-back", WorkflowState::RolledBack).await;
    client.register(3, BLOCKED).await;
    client.start("running").await;
    client.until_step("running", "b", StepState::Running).await;
    // What is taken back now waits for a worker; what ran was cut off.
    worker.kill().await;
    let act = Client::act("unwinding");
    client.workflows.cancel_workflow(act).await.unwrap();

    fs::create_dir_all(to.join("histories")).unwrap();
    for (id, _) in WORKFLOWS {
        let history = client.history(id).await;
        fs::write(to.join("histories").join(id), history).unwrap();
    }
    fs::write(to.join("backup"), client.backup().await).unwrap();
    coordinator.stop().await;
    fixture::copy(&coordinator.data(), &to.join("data"));
}

/// What was printed once is how it begins now, and every workflow stands as it did.
async fn stands_as_it_did(client: &mut Client, folder: &Path, paused: bool) {
    client.audit_is_sound().await;
    for (id, state) in WORKFLOWS {
        let before = fs::read_to_string(folder.join("histories").join(id)).unwrap();
        let now = client.history(id).await;
        assert!(now.starts_with(&before), "{id}: {now}");
        let is_open = !matches!(state, WorkflowState::Completed | WorkflowState::RolledBack);
        let expected = if paused && is_open {
            WorkflowState::Paused
        } else {
            state
        };
        assert_eq!(client.describe(id).await.state(), expected, "{id}");
    }
}

/// Lets every open workflow end.
async fn goes_on(coordinator: &Coordinator, client: &mut Client, resume: &[&str]) {
    let world = World::default();
    // The worker of that time is gone, and so is its spool.
    let _worker = ToyWorker::start("w2", coordinator.address, &world).await;
    client.workers(1).await;
    for id in resume {
        let act = Client::act(id);
        client.workflows.resume_workflow(act).await.unwrap();
    }
    world.release("b");
    for id in ["gated", "paused"] {
        client.until_step(id, "g", StepState::Waiting).await;
        approve(client, id).await;
    }
    for id in ["gated", "paused", "running"] {
        client.until(id, WorkflowState::Completed).await;
    }
    client.until("unwinding", WorkflowState::RolledBack).await;
    client.audit_is_sound().await;
}

#[tokio::test]
async fn a_data_folder_of_every_earlier_version_opens_and_goes_on() {
    let fixtures = fixture::all();
    assert!(!fixtures.is_empty());
    for folder in fixtures {
        opens_and_goes_on(&folder).await;
    }
}

async fn opens_and_goes_on(folder: &Path) {
    let fill = |data: &Path| fixture::copy(&folder.join("data"), data);
    let coordinator = Coordinator::on_folder(fill).await;
    let mut client = coordinator.client().await;
    stands_as_it_did(&mut client, folder, false).await;
    goes_on(&coordinator, &mut client, &["paused"]).await;
    let again = client.try_start("completed", &serde_json::json!({})).await;
    assert!(!again.unwrap().created, "the id is known");
}

#[tokio::test]
async fn a_backup_of_every_earlier_version_restores_and_goes_on() {
    for folder in fixture::all() {
        let coordinator = Coordinator::start().await;
        let mut client = coordinator.client().await;
        let backup = fs::read(folder.join("backup")).unwrap();
        assert_eq!(client.restore(&backup).await.unwrap().paused, 4);
        stands_as_it_did(&mut client, &folder, true).await;
        let open = ["gated", "paused", "running", "unwinding"];
        goes_on(&coordinator, &mut client, &open).await;
    }
}
