//! A cancel after a restore.

use drover_core::{
    view::WorkflowState,
    workflow::{Act, Phase, event::Certainty},
};

use crate::{
    CRITICAL, LINE,
    common::{Bench, definition, kinds, plan},
};

/// The step that a cancel waits for.
fn waits_for(bench: &mut Bench) -> String {
    let refused = bench
        .try_act(Act::Cancel)
        .expect_err("something is unknown");
    assert_eq!(refused.code(), "not-looked");
    let step = bench.view().not_looked;
    assert!(
        refused.to_string().contains(&format!("{step:?}")),
        "{refused}"
    );
    step
}

#[test]
fn there_is_no_way_back_before_the_steps_have_looked() {
    let mut bench = Bench::start(LINE);
    bench.run("a");
    bench.begin("b");
    bench.restore();
    assert_eq!(waits_for(&mut bench), "b");
    bench.begin("b");
    assert_eq!(waits_for(&mut bench), "b", "it still looks");
    bench.acts("b");
    bench.acts("b");
    assert_eq!(bench.count("LookEnded"), 1);
    assert_eq!(bench.view().not_looked, "");
    bench.act(Act::Cancel);
    assert_eq!(bench.state(), WorkflowState::Unwinding);
}

#[test]
fn what_was_found_done_may_have_been_followed() {
    let mut bench = Bench::start(LINE);
    bench.begin("a");
    bench.restore();
    bench.begin("a");
    bench.found_done("a");
    assert_eq!(waits_for(&mut bench), "b");
    bench.begin("b");
    bench.succeed("b", serde_json::json!({}));
    assert_eq!(bench.phase("c"), Phase::Ready);
    assert_eq!(
        bench.view().not_looked,
        "",
        "b was undone, so c had not begun"
    );
    bench.act(Act::Cancel);
}

#[test]
fn an_attempt_that_goes_on_where_another_ended_was_undone_all_the_same() {
    let mut bench = Bench::start(LINE);
    bench.begin("a");
    bench.restore();
    bench.begin("a");
    bench.acts("a");
    bench.lose("a");
    bench.begin("a");
    bench.found_done("a");
    assert_eq!(bench.view().not_looked, "");
}

#[test]
fn a_second_restore_asks_again() {
    let mut bench = Bench::start(LINE);
    bench.begin("a");
    bench.restore();
    bench.begin("a");
    bench.acts("a");
    bench.restore();
    assert_eq!(waits_for(&mut bench), "a");
}

#[test]
fn a_failed_look_says_nothing_and_a_failure_after_it_does() {
    let mut bench = Bench::start(LINE);
    bench.restore();
    bench.begin("a");
    bench.fail("a", Certainty::Failed);
    assert_eq!(waits_for(&mut bench), "a");
    bench.act(crate::common::retry("a"));
    bench.begin("a");
    bench.acts("a");
    bench.fail("a", Certainty::Failed);
    bench.act(Act::Cancel);
}

#[test]
fn a_gate_may_have_been_approved() {
    let mut bench = Bench::start(
        "
  steps:
    - { id: a, uses: t.work/1 }
    - { id: gate, needs: [a], gate: { approvers: [operator], expires: PT1H, evidence: [a] } }
    - { id: b, uses: t.work/1, needs: [gate] }
",
    );
    bench.run("a");
    bench.restore();
    assert_eq!(waits_for(&mut bench), "gate");
    let refused = bench.try_act(Act::Cancel).unwrap_err();
    assert!(refused.to_string().contains("approve it"), "{refused}");
}

#[test]
fn a_guard_may_have_acted_until_it_runs() {
    let mut bench = Bench::start(CRITICAL);
    bench.begin("a");
    bench.restore();
    bench.begin("a");
    bench.found_done("a");
    assert_eq!(waits_for(&mut bench), "b");
    assert_eq!(bench.wanted(), ["g"], "b looks when its guard runs");
    bench.begin("g");
    bench.begin("b");
    bench.acts("b");
    assert_eq!(bench.view().not_looked, "");
}

#[test]
fn an_item_that_others_keep_from_beginning_had_not_begun() {
    let mut bench = Bench::start(
        "
  steps:
    - id: each
      maxParallel: 1
      forEach: { in: [x, y], as: item, key: \"${item}\" }
      steps:
        - { id: s, uses: t.work/1 }
        - { id: t, uses: t.work/1, needs: [s] }
    - { id: after, uses: t.work/1, needs: [each] }
",
    );
    bench.begin("each[x]/s");
    bench.restore();
    assert_eq!(waits_for(&mut bench), "each[x]/s");
    bench.begin("each[x]/s");
    bench.acts("each[x]/s");
    assert_eq!(bench.view().not_looked, "");
    bench.succeed("each[x]/s", serde_json::json!({}));
    assert_eq!(
        bench.view().not_looked,
        "",
        "nor had what follows in its item"
    );
    bench.run("each[x]/t");
    assert_eq!(waits_for(&mut bench), "each[y]/s");
}

#[test]
fn no_failure_begins_a_way_back_that_may_leave_something_out() {
    let text = definition(
        "
  steps:
    - { id: a, uses: t.work/1, onFailure: unwind }
    - { id: b, uses: t.work/1 }
",
    );
    let mut bench = Bench::with(plan(&text, &kinds()), serde_json::json!({}));
    bench.restore();
    bench.begin("a");
    bench.acts("a");
    bench.fail("a", Certainty::Failed);
    assert_eq!(bench.phase("a"), Phase::Paused, "b has not looked");
    bench.act(crate::common::retry("a"));
    bench.begin("b");
    bench.acts("b");
    bench.begin("a");
    bench.fail("a", Certainty::Failed);
    assert_eq!(bench.state(), WorkflowState::Unwinding);
}
