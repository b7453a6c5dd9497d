//! Ended workflows: how long they are kept, and what stays of them.

use drover_proto::v1::{self, WorkflowState};
use serde_json::json;
use system_tests::{
    client::{Client, code},
    coordinator::{Choices, Coordinator},
    copied::read_folder,
    eventually,
    toy::World,
    worker::ToyWorker,
};

const ONE: &str = "  steps:\n    - { id: x, uses: toy.make/1 }\n";

async fn is_retired(client: &mut Client, id: &str) -> tonic::Status {
    let mut asking = client.clone();
    eventually(&format!("{id} is retired"), async || {
        let request = v1::DescribeWorkflowRequest { id: id.into() };
        asking.workflows.describe_workflow(request).await.err()
    })
    .await
}

#[tokio::test]
async fn a_tombstone_stays_of_an_ended_workflow_in_store_and_backup() {
    let folder = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::choosing(Choices {
        backup: Some(folder.path().to_path_buf()),
        ended_max: 2,
    })
    .await;
    let _worker = ToyWorker::start("w1", coordinator.address, &World::default()).await;
    let mut client = coordinator.client().await;
    client.workers(1).await;
    client.register(1, ONE).await;
    for id in ["m1", "m2", "m3"] {
        client.start(id).await;
        client.until(id, WorkflowState::Completed).await;
    }
    let status = is_retired(&mut client, "m1").await;
    assert_eq!(
        (status.code(), code(&status).as_str()),
        (tonic::Code::NotFound, "retired")
    );
    for part in [
        "m1 (toy@1) ended Completed at ",
        "events are no longer kept",
        "of the audit log",
    ] {
        assert!(
            status.message().contains(part),
            "{part:?} is not in {status:?}"
        );
    }
    let request = v1::ReadHistoryRequest {
        id: "m1".into(),
        from_seq: 0,
        follow: false,
    };
    let history = client.workflows.read_history(request).await;
    assert_eq!(code(&history.unwrap_err()), "retired");
    let again = client.try_start("m1", &json!({})).await.unwrap_err();
    assert_eq!(code(&again), "id-used");
    assert!(again.message().contains("choose another id"), "{again:?}");
    for id in ["m2", "m3"] {
        assert_eq!(
            client.describe(id).await.steps.len(),
            1,
            "{id} is folded again"
        );
    }
    client.audit_is_sound().await;
    client.copied().await;
    let (_, streams) = read_folder(folder.path());
    let copied: Vec<String> = streams.keys().map(ToString::to_string).collect();
    assert!(
        !copied.contains(&"workflow/m1".to_owned()) && copied.contains(&"workflow/m2".to_owned()),
        "{copied:?}"
    );

    // All of it is still so after a restart.
    coordinator.stop().await;
    coordinator.begin().await;
    let mut client = coordinator.client().await;
    assert_eq!(code(&is_retired(&mut client, "m1").await), "retired");
    let again = client.try_start("m1", &json!({})).await.unwrap_err();
    assert_eq!(code(&again), "id-used");
    client.audit_is_sound().await;
}
