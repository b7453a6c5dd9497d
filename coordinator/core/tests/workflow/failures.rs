//! What an attempt that does not succeed leads to.

use std::time::Duration;

use drover_core::{
    view::WorkflowState,
    workflow::{Phase, Reply, event::Certainty},
};

use crate::{
    LINE,
    common::{Bench, retry},
};

#[test]
fn transient_failures_are_tried_again_and_then_wait_for_an_operator() {
    let mut bench = Bench::start(LINE);
    for expected in [1, 2, 3] {
        bench.begin("a");
        assert_eq!(bench.view().steps[0].attempt, expected);
        assert_eq!(bench.view().steps[0].attempts_allowed, 3);
        bench.fail("a", Certainty::Transient);
        if expected < 3 {
            assert!(bench.wanted().is_empty(), "it waits first");
            assert_eq!(bench.view().holds[0].code, "backoff");
            bench.after(Duration::from_secs(60));
        }
    }
    assert_eq!(bench.state(), WorkflowState::Paused);
    assert!(
        bench.view().holds[0]
            .unblock
            .contains("drover workflow retry m1 a"),
        "{:?}",
        bench.view().holds
    );
    bench.act(retry("a"));
    bench.run("a");
    assert_eq!(bench.wanted(), ["b"]);
    bench.run("b");
    let counts = |step: &drover_core::view::Step| (step.attempt, step.attempts_allowed);
    let view = bench.view();
    assert_eq!(counts(&view.steps[0]), (4, 6), "the second round's first");
    assert_eq!(counts(&view.steps[1]), (1, 3));
}

#[test]
fn refused_and_failed_wait_for_an_operator_at_once_and_never_unwind() {
    for certainty in [Certainty::Refused, Certainty::Failed] {
        let mut bench = Bench::start(LINE);
        bench.run("a");
        bench.begin("b");
        bench.fail("b", certainty);
        assert_eq!(bench.state(), WorkflowState::Paused);
        assert_eq!(bench.count("UnwindingStarted"), 0);
        assert!(bench.wanted().is_empty());
    }
}

#[test]
fn a_paused_step_holds_its_neighbours_back() {
    let mut bench = Bench::start(
        "
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1 }
",
    );
    bench.begin("a");
    bench.fail("a", Certainty::Refused);
    assert!(
        bench.wanted().is_empty(),
        "b is not begun while somebody has to look at a"
    );
    bench.act(retry("a"));
    assert_eq!(bench.wanted(), ["a", "b"]);
}

#[test]
fn on_failure_unwind_takes_back_what_may_have_started() {
    let mut bench = Bench::start(
        "
  pivot: c
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1, needs: [a], onFailure: unwind }
    - { id: c, uses: t.work/1, needs: [b] }
",
    );
    bench.run("a");
    bench.begin("b");
    bench.fail("b", Certainty::Failed);
    assert_eq!(bench.state(), WorkflowState::Unwinding);
    bench.undo("b");
    bench.undo("a");
    assert_eq!(bench.state(), WorkflowState::RolledBack);
}

#[test]
fn a_step_that_unwinds_on_failure_does_so_however_it_failed() {
    for lost in [false, true] {
        let mut bench = Bench::start(
            "
  pivot: b
  steps:
    - { id: a, uses: t.work/1, onFailure: unwind }
    - { id: b, uses: t.work/1, needs: [a] }
",
        );
        for _ in 0..3 {
            bench.begin("a");
            if lost {
                bench.lose("a");
            } else {
                bench.after(Duration::from_secs(600));
                bench.fail("a", Certainty::Cancelled);
                bench.after(Duration::from_secs(60));
            }
        }
        assert_eq!(bench.state(), WorkflowState::Unwinding, "lost: {lost}");
        bench.undo("a");
        assert_eq!(bench.state(), WorkflowState::RolledBack);
    }
}

#[test]
fn a_lost_attempt_is_observed_first_and_counts_by_itself() {
    let mut bench = Bench::start(LINE);
    bench.begin("a");
    bench.lose("a");
    let Reply::Leased(offer) = bench.lease("a") else {
        panic!()
    };
    assert!(offer.observe_first);
    assert_eq!(offer.number, 2);
    bench.ack("a");
    bench.lose("a");
    bench.begin("a");
    bench.lose("a");
    assert_eq!(
        bench.phase("a"),
        Phase::Paused,
        "two losses are allowed, the third waits for an operator"
    );
    assert_eq!(bench.workflow.steps[0].failures, 0);
    let hold = &bench.view().holds[0];
    assert_eq!(hold.code, "step-paused");
    assert_eq!(
        hold.message,
        "a waits for an operator: 3 workers in a row were lost soon after they took it, the last one: lease-expired \
         [worker-lost]"
    );
}

#[test]
fn losses_count_in_a_row_and_an_attempt_that_ran_long_begins_the_row_anew() {
    let mut bench = Bench::start(LINE);
    for ran in [1, 1, 11, 1, 11] {
        bench.begin("a");
        bench.after(Duration::from_secs(ran * 60));
        bench.lose("a");
    }
    assert_eq!(bench.workflow.steps[0].losses, 1);
    assert_eq!(
        bench.wanted(),
        ["a"],
        "no three were lost soon after they began"
    );
    bench.begin("a");
    bench.lose("a");
    bench.begin("a");
    bench.lose("a");
    assert_eq!(bench.phase("a"), Phase::Paused);
}

#[test]
fn a_lost_offer_that_was_never_acked_is_no_loss() {
    let mut bench = Bench::start(LINE);
    bench.lease("a");
    bench.lose("a");
    assert_eq!(bench.workflow.steps[0].losses, 0);
    assert_eq!(bench.wanted(), ["a"]);
}
