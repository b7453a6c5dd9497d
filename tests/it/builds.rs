//! Two builds of the worker side by side, and a kind of which only the newer one serves the newer version.

use drover_proto::v1::{self, StepState, WorkflowState};
use drover_step_api::Registry;
use system_tests::{
    coordinator::Coordinator,
    toy::{self, World},
    worker::ToyWorker,
};

fn old_kinds() -> Registry<World> {
    let mut registry = Registry::default();
    registry.register(toy::Echo).unwrap();
    registry
}

fn new_kinds() -> Registry<World> {
    let mut registry = old_kinds();
    registry.register(toy::EchoTwo).unwrap();
    registry
}

#[tokio::test]
async fn each_workflow_keeps_the_version_it_was_started_with_wherever_that_is_served() {
    let coordinator = Coordinator::start().await;
    let world = World::default();
    let at = coordinator.address;
    let mut old = ToyWorker::of_build("w1", at, &world, "0.1.0", old_kinds()).await;
    let mut client = coordinator.client().await;
    client.workers(1).await;
    let step = |version| {
        format!("  steps:\n    - {{ id: a, uses: toy.echo/{version}, with: {{ text: hello }} }}\n")
    };
    client.register(1, &step(1)).await;
    assert!(
        client.try_register(2, &step(2)).await.is_err(),
        "nobody has ever served it"
    );
    let mut new = ToyWorker::of_build("w2", at, &world, "0.2.0", new_kinds()).await;
    client.workers(2).await;
    client.register(2, &step(2)).await;

    // The old build has nothing that the newer definition asks for, and its turn does not come, however free it is.
    for n in 0..10 {
        client.start(&format!("newer-{n}")).await;
    }
    for n in 0..10 {
        let ended = client
            .until(&format!("newer-{n}"), WorkflowState::Completed)
            .await;
        assert_eq!(ended.steps[0].worker, "w2");
        assert_eq!(
            ended.steps[0].output.as_ref().unwrap().text,
            br#"{"text":"HELLO"}"#
        );
    }
    // Either takes the older version.
    let older = |id: &str| v1::StartWorkflowRequest {
        id: id.to_owned(),
        definition: "toy".to_owned(),
        version: 1,
        ..v1::StartWorkflowRequest::default()
    };
    new.stop().await;
    client
        .workflows
        .start_workflow(older("older-1"))
        .await
        .unwrap();
    let ended = client.until("older-1", WorkflowState::Completed).await;
    assert_eq!(ended.steps[0].worker, "w1");
    assert_eq!(
        ended.steps[0].output.as_ref().unwrap().text,
        br#"{"text":"hello"}"#
    );

    // A version that nobody serves is a hold that says what is missing and where, until somebody does.
    client.start("held").await;
    let held = client.describe("held").await.holds.remove(0);
    assert_eq!(held.code, "kind-unserved");
    for word in ["toy.echo/2", "golem"] {
        assert!(
            held.message.contains(word) && held.unblock.contains(word),
            "{held:?}"
        );
    }
    old.stop().await;
    new.begin_with(new_kinds()).await;
    client
        .workflows
        .start_workflow(older("older-2"))
        .await
        .unwrap();
    for id in ["held", "older-2"] {
        let ended = client.until(id, WorkflowState::Completed).await;
        assert_eq!(
            (ended.steps[0].worker.as_str(), ended.steps[0].state()),
            ("w2", StepState::Succeeded)
        );
    }
    let list = client
        .fleet
        .list_workers(v1::ListWorkersRequest::default())
        .await;
    let seen: Vec<(String, Vec<String>)> = list
        .unwrap()
        .into_inner()
        .workers
        .into_iter()
        .map(|worker| (worker.build, worker.kinds))
        .collect();
    let kinds = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect();
    assert_eq!(
        seen,
        [
            ("0.1.0".to_owned(), kinds(&["toy.echo/1"])),
            ("0.2.0".to_owned(), kinds(&["toy.echo/1", "toy.echo/2"])),
        ]
    );
}
