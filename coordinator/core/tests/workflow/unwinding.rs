//! Cancelling, and the way back.

use std::time::Duration;

use drover_core::{
    view::WorkflowState,
    workflow::{Act, Phase, Rejection, event::Certainty},
};

use crate::{
    LINE, PIVOTED,
    common::{Bench, retry, skip},
};

#[test]
fn cancel_before_anything_started_ends_at_once() {
    let mut bench = Bench::start(LINE);
    bench.lease("a");
    bench.act(Act::Cancel);
    assert_eq!(bench.state(), WorkflowState::Cancelled);
    assert_eq!(bench.count("OfferReverted"), 1);
}

#[test]
fn cancel_takes_back_in_reverse_order_of_the_starts() {
    let mut bench = Bench::start(LINE);
    bench.run("a");
    bench.run("b");
    bench.begin("c");
    bench.act(Act::Cancel);
    assert_eq!(
        bench.count("AttemptStopping"),
        1,
        "the running attempt is asked to stop"
    );
    assert!(
        bench.wanted().is_empty(),
        "nothing is taken back while an attempt runs"
    );
    bench.fail("c", Certainty::Cancelled);
    for step in ["c", "b", "a"] {
        assert_eq!(bench.wanted(), [step]);
        bench.undo(step);
    }
    assert_eq!(bench.state(), WorkflowState::RolledBack);
}

#[test]
fn a_step_that_was_only_ever_refused_is_not_taken_back() {
    let mut bench = Bench::start(LINE);
    bench.run("a");
    bench.begin("b");
    bench.fail("b", Certainty::Refused);
    bench.act(Act::Cancel);
    assert_eq!(bench.wanted(), ["a"]);
    bench.undo("a");
    assert_eq!(bench.state(), WorkflowState::RolledBack);

    // One lost attempt is enough to lose the exemption.
    let mut bench = Bench::start(LINE);
    bench.begin("a");
    bench.lose("a");
    bench.begin("a");
    bench.fail("a", Certainty::Refused);
    bench.act(Act::Cancel);
    assert_eq!(bench.wanted(), ["a"]);
}

#[test]
fn kept_steps_are_recorded_and_manual_ones_wait_for_a_person() {
    let mut bench = Bench::start(
        "
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.hand/1, needs: [a] }
    - { id: c, uses: t.keep/1, needs: [b] }
    - { id: d, uses: t.work/1, needs: [c] }
",
    );
    for step in ["a", "b", "c"] {
        bench.run(step);
    }
    bench.act(Act::Cancel);
    assert_eq!(bench.phase("c"), Phase::Kept);
    assert_eq!(bench.phase("b"), Phase::Stuck);
    assert_eq!(bench.state(), WorkflowState::Stuck);
    assert!(
        bench.view().holds[0].message.contains("unplug it"),
        "{:?}",
        bench.view().holds
    );
    assert!(matches!(
        bench.try_act(retry("b")),
        Err(Rejection::NotRetryable { .. })
    ));
    bench.act(skip("b"));
    bench.undo("a");
    assert_eq!(bench.state(), WorkflowState::RolledBack);
}

#[test]
fn a_compensation_that_fails_for_good_is_stuck_and_can_be_retried() {
    let mut bench = Bench::start(LINE);
    bench.run("a");
    bench.act(Act::Cancel);
    for _ in 0..3 {
        bench.begin("a");
        bench.fail("a", Certainty::Transient);
        bench.after(Duration::from_secs(60));
    }
    assert_eq!(bench.state(), WorkflowState::Stuck);
    bench.act(retry("a"));
    bench.undo("a");
    assert_eq!(bench.state(), WorkflowState::RolledBack);
}

#[test]
fn cancel_after_the_pivot_is_refused() {
    let mut bench = Bench::start(PIVOTED);
    bench.run("a");
    bench.begin("b");
    let rejection = bench.try_act(Act::Cancel).unwrap_err();
    assert_eq!(rejection.code(), "past-pivot");
    assert!(bench.view().pivot_passed);
}

#[test]
fn a_pivot_that_was_only_refused_has_not_been_passed() {
    let mut bench = Bench::start(PIVOTED);
    bench.run("a");
    bench.begin("b");
    bench.fail("b", Certainty::Refused);
    assert!(!bench.view().pivot_passed);
    bench.act(Act::Cancel);
    bench.undo("a");
    assert_eq!(bench.state(), WorkflowState::RolledBack);
}

#[test]
fn gone_before_any_mutation_removes_and_later_pauses() {
    let spec = "
  steps:
    - { id: look, uses: t.read/1 }
    - { id: again, uses: t.read/1, needs: [look] }
    - { id: act, uses: t.work/1, needs: [again] }
    - { id: last, uses: t.read/1, needs: [act] }
";
    let mut bench = Bench::start(spec);
    bench.run("look");
    bench.begin("again");
    bench.fail("again", Certainty::Gone);
    assert_eq!(bench.state(), WorkflowState::Removed);

    let mut bench = Bench::start(spec);
    for step in ["look", "again", "act"] {
        bench.run(step);
    }
    bench.begin("last");
    bench.fail("last", Certainty::Gone);
    assert_eq!(bench.state(), WorkflowState::Paused);
}
