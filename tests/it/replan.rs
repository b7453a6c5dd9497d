//! A running workflow goes on by another version of its definition.

use drover_proto::v1::{self, StepState, WorkflowState};
use system_tests::client::code;

use crate::lifecycle::set_up;

const OLD: &str = "
  guards:
    - { id: g, uses: toy.keep/1, from: b, until: c, autonomy: PT1H }
  steps:
    - { id: a, uses: toy.make/1 }
    - { id: b, uses: toy.block/1, needs: [a] }
    - { id: c, uses: toy.make/1, needs: [b] }
";

fn request(version: u32, dry_run: bool) -> v1::ReplanRequest {
    v1::ReplanRequest {
        id: "m1".into(),
        definition: String::new(),
        version,
        reason: "today's surprise".into(),
        dry_run,
    }
}

#[tokio::test]
async fn what_is_under_way_goes_on_and_the_rest_is_new() {
    let (mut coordinator, _worker, world, mut client) = set_up(OLD).await;
    client.start("m1").await;
    client.until_step("m1", "b", StepState::Running).await;
    client.until_step("m1", "g", StepState::Running).await;
    // New steps before and behind: the ones under way get other places in the plan.
    let new = OLD
        .replace(
            "  steps:\n",
            "  steps:\n    - { id: first, uses: toy.make/1, needs: [b] }\n",
        )
        .replace("needs: [b] }\n\"", "\"")
        .replace(
            "{ id: c, uses: toy.make/1, needs: [b] }",
            "{ id: c, uses: toy.make/1, needs: [b, first], with: { text: new } }",
        );
    client.register(2, &new).await;
    let diff = client
        .workflows
        .replan_workflow(request(0, true))
        .await
        .unwrap()
        .into_inner();
    let changes: Vec<String> = diff
        .changes
        .iter()
        .map(|change| format!("{} {}", change.change, change.step))
        .collect();
    assert_eq!(changes, ["added first", "changed c"]);
    assert_eq!(client.describe("m1").await.definition.unwrap().version, 1);

    client
        .workflows
        .replan_workflow(request(2, false))
        .await
        .unwrap();
    let running = client.describe("m1").await;
    assert_eq!(running.definition.unwrap().version, 2);
    world.release("b");
    let ended = client.until("m1", WorkflowState::Completed).await;
    assert_eq!(
        world.runs("b"),
        1,
        "the attempt under way was not disturbed"
    );
    assert_eq!(world.runs("g"), 1);
    assert!(world.things().contains(&"first".to_owned()));
    assert_eq!(
        ended.steps[3].output.as_ref().unwrap().text,
        br#"{"text":"new"}"#
    );

    // The stream folds to the same, although it names two plans.
    let history = client.history("m1").await;
    assert!(history.contains(r#""type":"Replanned""#));
    coordinator.stop().await;
    coordinator.begin().await;
    let mut client = coordinator.client().await;
    let again = client.describe("m1").await;
    assert_eq!(again.state(), WorkflowState::Completed);
    assert_eq!(again.definition.unwrap().version, 2);
    let list = client
        .workflows
        .list_workflows(v1::ListWorkflowsRequest::default())
        .await
        .unwrap()
        .into_inner();
    let listed = list.workflows[0].definition.clone();
    assert_eq!(listed.unwrap().version, 2, "lists say it as well");
    assert_eq!(client.history("m1").await, history);
}

#[tokio::test]
async fn an_open_workflow_recovers_by_its_newest_plan() {
    let (mut coordinator, _worker, world, mut client) = set_up(OLD).await;
    client.start("m1").await;
    client.until_step("m1", "b", StepState::Running).await;
    let new = OLD.replace(
        "    - { id: c,",
        "    - { id: between, uses: toy.make/1, needs: [b] }\n    - { id: c,",
    );
    client.register(2, &new).await;
    client
        .workflows
        .replan_workflow(request(0, false))
        .await
        .unwrap();
    coordinator.stop().await;
    coordinator.begin().await;
    let mut client = coordinator.client().await;
    world.release("b");
    client.until("m1", WorkflowState::Completed).await;
    assert_eq!(world.runs("b"), 1);
    assert!(world.things().contains(&"between".to_owned()));
}

#[tokio::test]
async fn a_plan_that_does_not_fit_changes_nothing() {
    let (_coordinator, _worker, _world, mut client) = set_up(OLD).await;
    client.start("m1").await;
    client.until_step("m1", "b", StepState::Running).await;
    let new = OLD
        .replace("    - { id: a, uses: toy.make/1 }\n", "")
        .replace(", needs: [a]", "");
    client.register(2, &new).await;
    let diff = client
        .workflows
        .replan_workflow(request(2, true))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        diff.problems,
        ["a may have started, and the new plan lacks it"]
    );
    let refused = client
        .workflows
        .replan_workflow(request(2, false))
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "plan-does-not-fit");
    let nowhere = client
        .workflows
        .replan_workflow(request(7, false))
        .await
        .unwrap_err();
    assert_eq!(nowhere.code(), tonic::Code::NotFound);
    assert_eq!(client.describe("m1").await.definition.unwrap().version, 1);
}
