//! `forEach`: steps for each item of a list.

use drover_core::{
    definition::OnItemFailure,
    view::{StepState, WorkflowState},
    workflow::{Act, Phase, event::Certainty},
};
use serde_json::{Value, json};

use crate::common::{Bench, retry, skip, step_id};

const POOLS: &str = "
  steps:
  - { id: inventory, uses: t.read/1 }
  - id: workers
    needs: [inventory]
    forEach: { in: \"${steps.inventory.output.pools}\", as: pool, key: \"${pool.name}\" }
    steps:
    - { id: apply, uses: t.work/1, with: { pool: \"${pool}\" } }
    - id: replace
      uses: t.work/1
      needs: [apply]
      when: \"pool.size > 0\"
      with: { from: \"${steps.apply.output.from}\", first: \"${steps.inventory.output.pools[0].name}\", name: \"${pool.name}\" }
  - { id: finish, uses: t.work/1, needs: [workers] }
";

fn with(spec: &str, pools: Value) -> Bench {
    let mut bench = Bench::start(spec);
    bench.begin("inventory");
    bench.succeed("inventory", json!({ "pools": pools }));
    bench
}

fn two() -> Value {
    json!([{"name": "np1", "size": 3}, {"name": "np2", "size": 0}])
}

#[test]
fn each_item_gets_its_steps_one_item_after_the_other() {
    let mut bench = with(POOLS, two());
    assert_eq!(bench.wanted(), ["workers[np1]/apply"]);
    bench.run("workers[np1]/apply");
    assert_eq!(bench.wanted(), ["workers[np1]/replace"]);
    let replace = bench.index("workers[np1]/replace");
    assert_eq!(
        **bench.workflow.steps[replace].params.as_ref().unwrap(),
        json!({"from": "workers[np1]/apply", "first": "np1", "name": "np1"})
    );
    bench.run("workers[np1]/replace");
    bench.run("workers[np2]/apply");
    assert_eq!(bench.phase("workers[np2]/replace"), Phase::Skipped);
    assert_eq!(bench.phase("workers"), Phase::Succeeded);
    bench.run("finish");
    assert_eq!(bench.state(), WorkflowState::Completed);
    assert_eq!(bench.count("ItemsKnown"), 1);
    assert_eq!(bench.count("ItemsEnded"), 1);
}

#[test]
fn people_read_the_steps_of_items_behind_their_for_each_and_how_many_have_ended() {
    let mut bench = with(POOLS, two());
    bench.run("workers[np1]/apply");
    bench.run("workers[np1]/replace");
    let view = bench.view();
    let ids: Vec<&str> = view.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "inventory",
            "workers",
            "workers[np1]/apply",
            "workers[np1]/replace",
            "workers[np2]/apply",
            "workers[np2]/replace",
            "finish"
        ]
    );
    let workers = &view.steps[1];
    assert_eq!(
        (workers.kind.as_str(), workers.state),
        ("forEach", StepState::Running)
    );
    let progress = workers.progress.as_ref().unwrap();
    assert_eq!((progress.done, progress.total), (1, 2));
    assert_eq!(view.current, ["workers[np2]/apply"]);
}

#[test]
fn nothing_to_do_ends_at_once() {
    let mut bench = with(POOLS, json!([]));
    assert_eq!(bench.phase("workers"), Phase::Succeeded);
    bench.run("finish");
    assert_eq!(bench.state(), WorkflowState::Completed);
}

#[test]
fn as_many_items_are_under_way_as_may_be() {
    let three =
        json!([{"name": "a", "size": 1}, {"name": "b", "size": 1}, {"name": "c", "size": 1}]);
    let spec = POOLS.replace("    forEach:", "    maxParallel: 2\n    forEach:");
    let mut bench = with(&spec, three);
    assert_eq!(bench.wanted(), ["workers[a]/apply", "workers[b]/apply"]);
    bench.run("workers[b]/apply");
    assert_eq!(bench.wanted(), ["workers[a]/apply", "workers[b]/replace"]);
    bench.run("workers[b]/replace");
    assert_eq!(bench.wanted(), ["workers[a]/apply", "workers[c]/apply"]);
}

#[test]
fn an_item_that_waits_for_an_operator_holds_everything_back() {
    let mut bench = with(POOLS, two());
    bench.begin("workers[np1]/apply");
    bench.fail("workers[np1]/apply", Certainty::Refused);
    assert_eq!(bench.state(), WorkflowState::Paused);
    assert_eq!(bench.wanted(), [""; 0]);
    let unblock = &bench.view().holds[0].unblock;
    assert!(
        unblock.contains("retry m1 'workers[np1]/apply'"),
        "{unblock}"
    );
    bench.act(retry("workers[np1]/apply"));
    assert_eq!(bench.wanted(), ["workers[np1]/apply"]);
}

#[test]
fn or_the_other_items_go_on() {
    let spec = POOLS.replace("    forEach:", "    onItemFailure: continue\n    forEach:");
    let mut bench = with(&spec, two());
    let index = bench.index("workers");
    let for_each = bench.workflow.plan.definition.nodes[index]
        .for_each()
        .cloned()
        .unwrap();
    assert_eq!(for_each.on_item_failure, OnItemFailure::Continue);
    bench.begin("workers[np1]/apply");
    bench.fail("workers[np1]/apply", Certainty::Refused);
    assert_eq!(bench.wanted(), ["workers[np2]/apply"]);
    assert_eq!(bench.state(), WorkflowState::Running);
    bench.run("workers[np2]/apply");
    // Nothing else can go on without the one that waits.
    assert_eq!(bench.state(), WorkflowState::Paused);
    let view = bench.view();
    let holds: Vec<(&str, &str)> = view
        .holds
        .iter()
        .map(|hold| (hold.code.as_str(), hold.step.as_str()))
        .collect();
    assert_eq!(holds, [("step-paused", "workers[np1]/apply")]);
    bench.act(Act::Skip {
        step: step_id("workers[np1]/apply"),
        output: Some(json!({"from": "by hand"})),
    });
    bench.run("workers[np1]/replace");
    bench.run("finish");
    assert_eq!(bench.state(), WorkflowState::Completed);
}

#[test]
fn an_output_that_a_sibling_reads_is_asked_for() {
    let mut bench = with(POOLS, two());
    let refused = bench.try_act(skip("workers[np1]/apply")).unwrap_err();
    assert_eq!(refused.code(), "output-needed");
    assert!(
        refused.to_string().starts_with("workers[np1]/replace read"),
        "{refused}"
    );
    let refused = bench.try_act(skip("workers")).unwrap_err();
    assert!(refused.to_string().ends_with("skip the steps of its items"));
}

#[test]
fn a_list_that_cannot_become_steps_waits_for_an_operator() {
    for (pools, code, words) in [
        (json!("none"), "expression-failed", "must be a list"),
        (json!([{"name": "A B"}]), "items-invalid", "names no item"),
        (
            json!([{"name": "a"}, {"name": "a"}]),
            "items-invalid",
            "names two items",
        ),
        (json!([{"nome": "a"}]), "expression-failed", "pool.name"),
        (
            (0..1000).map(|n| json!({"name": n.to_string()})).collect(),
            "items-invalid",
            "more than 1000",
        ),
        (
            json!([{"name": "a", "text": "x".repeat(300 << 10)}]),
            "items-too-large",
            "at most 262144",
        ),
    ] {
        let bench = with(POOLS, pools);
        let view = bench.view();
        let error = view.steps[1].last_error.as_ref().unwrap();
        assert_eq!(error.code, code, "{}", error.message);
        assert!(error.message.contains(words), "{}", error.message);
        assert_eq!(view.state, WorkflowState::Paused);
    }
}

#[test]
fn unwinding_takes_the_steps_of_items_back_in_reverse() {
    let mut bench = with(POOLS, two());
    bench.run("workers[np1]/apply");
    bench.run("workers[np1]/replace");
    bench.run("workers[np2]/apply");
    bench.act(Act::Cancel);
    assert_eq!(bench.phase("workers"), Phase::Succeeded);
    for step in [
        "workers[np2]/apply",
        "workers[np1]/replace",
        "workers[np1]/apply",
    ] {
        assert_eq!(bench.wanted(), [step]);
        bench.undo(step);
    }
    assert_eq!(bench.state(), WorkflowState::RolledBack);
}

#[test]
fn a_guard_around_the_items_runs_until_the_last_has_ended() {
    let spec = format!(
        "  guards: [{{ id: g, uses: t.guard/1, from: workers, until: workers, autonomy: PT1M }}]{POOLS}"
    );
    let mut bench = with(&spec, two());
    // The steps of items stand in the guard's span and wait for it.
    assert_eq!(bench.wanted(), ["g"]);
    bench.begin("g");
    bench.run("workers[np1]/apply");
    bench.run("workers[np1]/replace");
    assert_eq!(bench.phase("g"), Phase::Running);
    bench.run("workers[np2]/apply");
    assert_eq!(bench.count("AttemptStopping"), 1);
}
