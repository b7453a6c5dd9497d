//! Two builds of the worker side by side, and a kind of which only the newer one serves the newer version.

use std::collections::BTreeMap;

use drover_proto::v1::{self, StepState, WorkflowState};
use drover_step_api::Registry;
use serde_json::json;
use system_tests::{
    coordinator::Coordinator,
    toy::{self, StepErrorKind, World},
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

const INSTALLATIONS: [&str; 6] = ["golem", "lotus", "heron", "ibis", "jackal", "kudu"];

/// Migrations that run when the surprise comes.
const RUNNING: usize = 40;

/// Half of them have met it in `b`, the other half is before it.
fn surprised(version: u32, of_kind: u32) -> String {
    format!(
        "apiVersion: drover/v1
kind: WorkflowDefinition
metadata: {{ name: toy, version: {version} }}
spec:
  input: {{ type: object }}
  placement: {{ installation: \"${{input.installation}}\" }}
  steps:
    - {{ id: a, uses: toy.make/1, with: {{ text: \"${{input.cluster}}\" }} }}
    - {{ id: late, uses: toy.block/1, needs: [a], when: \"input.late\", with: {{ text: \"${{input.cluster}}-late\" }} }}
    - {{ id: b, uses: toy.echo/{of_kind}, needs: [late], with: {{ text: \"${{input.cluster}}\" }} }}
    - {{ id: c, uses: toy.make/1, needs: [b], with: {{ text: \"${{steps.b.output.text}}\" }} }}
"
    )
}

fn kinds_of(echo_two: bool) -> Registry<World> {
    let mut registry = toy::registry();
    if echo_two {
        registry.register(toy::EchoTwo).unwrap();
    }
    registry
}

#[tokio::test]
async fn tonights_surprise_a_new_version_reaches_every_migration_that_runs() {
    let coordinator = Coordinator::start().await;
    let world = World::default();
    let at = coordinator.address;
    let mut client = coordinator.client().await;
    let mut workers = Vec::new();
    for installation in INSTALLATIONS {
        let id = format!("{installation}-old");
        workers.push(
            ToyWorker::in_installation(&id, installation, at, &world, "0.1.0", kinds_of(false))
                .await,
        );
    }
    client.workers(INSTALLATIONS.len()).await;
    client.register_text(&surprised(1, 1)).await.unwrap();
    world.fail("b", Some(StepErrorKind::Refused));
    let ids: Vec<String> = (0..RUNNING).map(|n| format!("m{n:02}")).collect();
    for (n, id) in ids.iter().enumerate() {
        let input = json!({
            "installation": INSTALLATIONS[n % INSTALLATIONS.len()], "cluster": id, "late": n % 2 == 1,
        });
        client.try_start(id, &input).await.unwrap();
    }
    let is_late = |n: usize| n % 2 == 1;
    for (n, id) in ids.iter().enumerate() {
        if is_late(n) {
            client.until_step(id, "late", StepState::Running).await;
        } else {
            client.until_step(id, "b", StepState::Paused).await;
        }
    }

    // The builds that have the answer come beside the old ones, which go on with what they hold.
    world.fail("b", None);
    for installation in INSTALLATIONS {
        let id = format!("{installation}-new");
        workers.push(
            ToyWorker::in_installation(&id, installation, at, &world, "0.2.0", kinds_of(true))
                .await,
        );
    }
    client.workers(2 * INSTALLATIONS.len()).await;
    client.register_text(&surprised(2, 2)).await.unwrap();
    for id in &ids {
        // A step that was refused has not acted: by the new plan its turn comes anew, and nobody has to retry it.
        let request = v1::ReplanRequest {
            id: id.clone(),
            definition: String::new(),
            version: 2,
            reason: "tonight's surprise".into(),
            dry_run: false,
        };
        client.workflows.replan_workflow(request).await.unwrap();
    }
    world.release("late");
    for (n, id) in ids.iter().enumerate() {
        let ended = client.until(id, WorkflowState::Completed).await;
        let by: BTreeMap<&str, &str> = ended
            .steps
            .iter()
            .map(|step| (step.id.as_str(), step.worker.as_str()))
            .collect();
        let installation = INSTALLATIONS[n % INSTALLATIONS.len()];
        assert_eq!(by["a"], format!("{installation}-old"), "{id}");
        assert_eq!(by["b"], format!("{installation}-new"), "{id}");
        if is_late(n) {
            assert_eq!(by["late"], format!("{installation}-old"), "{id}");
        }
        assert_eq!(
            ended.steps[2].output.as_ref().unwrap().text,
            format!(r#"{{"text":"{}"}}"#, id.to_uppercase()).into_bytes()
        );
    }
    let mut made = BTreeMap::new();
    for (what, _) in world.ledger() {
        *made.entry(what).or_insert(0) += 1;
    }
    let once_each = [
        ("make a", RUNNING),
        ("make c", RUNNING),
        ("make late", RUNNING / 2),
    ];
    assert_eq!(made, once_each.map(|(what, n)| (what.to_owned(), n)).into());
}
