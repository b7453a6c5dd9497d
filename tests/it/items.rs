//! Steps for each item of a list.

use drover_proto::v1::{StepState, WorkflowState};
use serde_json::json;

use crate::lifecycle::set_up;

#[tokio::test]
async fn the_steps_of_every_item_run_and_survive_a_restart() {
    let spec = "
  steps:
    - { id: a, uses: toy.make/1 }
    - id: each
      needs: [a]
      forEach: { in: \"${input.pools}\", as: pool, key: \"${pool}\" }
      maxParallel: 2
      steps:
        - { id: make, uses: toy.make/1, with: { text: \"${pool}\" } }
        - { id: hold, uses: toy.block/1, needs: [make], with: { text: \"${steps.make.output.text}\" } }
    - { id: z, uses: toy.make/1, needs: [each] }
";
    let (mut coordinator, _worker, world, mut client) = set_up(spec).await;
    let input = json!({"pools": ["p1", "p2", "p3"]});
    client.try_start("m1", &input).await.unwrap();
    for step in ["each[p1]/hold", "each[p2]/hold"] {
        client.until_step("m1", step, StepState::Running).await;
    }
    // Two at once, and no third one.
    assert_eq!(
        client
            .until_step("m1", "each[p3]/make", StepState::Blocked)
            .await
            .attempt,
        0
    );
    coordinator.stop().await;
    coordinator.begin().await;
    let mut client = coordinator.client().await;
    for step in ["each[p1]/hold", "each[p2]/hold", "each[p3]/hold"] {
        world.release(step);
    }
    let ended = client.until("m1", WorkflowState::Completed).await;
    let ids: Vec<&str> = ended.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids[1..4], ["each", "each[p1]/make", "each[p1]/hold"]);
    assert_eq!(world.runs("each[p1]/make"), 1);
    assert_eq!(world.things().len(), 8);
    // Every step of every item has keys of its own.
    let mut keys: Vec<String> = world
        .ledger()
        .iter()
        .map(|(_, stamp)| stamp.idempotency_key.to_string())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 8);
}
