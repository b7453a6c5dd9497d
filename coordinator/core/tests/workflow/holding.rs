//! Pause, brake, guards and the critical span.

use std::time::Duration;

use drover_core::{
    view::WorkflowState,
    workflow::{Act, Input, Outcome, Phase, Reply, event::Certainty},
};
use serde_json::json;

use crate::{
    CRITICAL, LINE,
    common::{Bench, retry},
};

#[test]
fn pause_starts_nothing_new_and_resume_goes_on() {
    let mut bench = Bench::start(LINE);
    bench.begin("a");
    bench.act(Act::Pause);
    bench.succeed("a", json!({}));
    assert!(bench.wanted().is_empty());
    assert_eq!(bench.state(), WorkflowState::Paused);
    bench.act(Act::Resume);
    assert_eq!(bench.wanted(), ["b"]);
}

#[test]
fn a_step_that_yields_to_a_pause_costs_no_attempt() {
    let mut bench = Bench::start(LINE);
    let fence = bench.begin("a");
    let step = bench.index("a");
    bench.react(Input::Checkpoint {
        step,
        fence,
        number: 1,
        data: json!({"at": 3}),
    });
    bench.act(Act::Pause);
    bench.result("a", fence, Outcome::Yielded);
    assert_eq!(bench.phase("a"), Phase::Ready);
    bench.act(Act::Resume);
    let Reply::Leased(offer) = bench.lease("a") else {
        panic!()
    };
    assert_eq!(offer.checkpoint.as_deref(), Some(&json!({"at": 3})));
    assert!(offer.observe_first);
    assert_eq!(bench.workflow.steps[0].failures, 0);
}

#[test]
fn the_brake_holds_new_steps_and_lets_compensations_and_guards_go_on() {
    let mut bench = Bench::start(CRITICAL);
    bench.facts.brake = true;
    assert!(bench.wanted().is_empty());
    bench.facts.brake = false;
    bench.run("a");
    bench.facts.brake = true;
    assert_eq!(bench.wanted(), ["g"], "guards live through the brake");

    let mut bench = Bench::start(LINE);
    bench.run("a");
    bench.act(Act::Cancel);
    bench.facts.brake = true;
    assert_eq!(bench.wanted(), ["a"], "so do compensations");
}

#[test]
fn a_step_waits_until_its_guards_run_and_the_guard_ends_after_its_span() {
    let mut bench = Bench::start(CRITICAL);
    bench.run("a");
    assert_eq!(bench.wanted(), ["g"]);
    bench.begin("g");
    assert_eq!(bench.wanted(), ["b"]);
    for step in ["b", "c", "d"] {
        bench.run(step);
    }
    assert_eq!(bench.count("AttemptStopping"), 1);
    assert_eq!(
        bench.state(),
        WorkflowState::Waiting,
        "the guard has not reported its end"
    );
    bench.fail("g", Certainty::Cancelled);
    assert_eq!(bench.phase("g"), Phase::Succeeded);
    assert_eq!(bench.state(), WorkflowState::Completed);
}

#[test]
fn what_follows_a_span_waits_until_its_guard_has_ended() {
    let mut bench = Bench::start(
        "
  guards:
    - { id: g, uses: t.guard/1, from: a, until: b, autonomy: PT2H }
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1, needs: [a] }
    - { id: c, uses: t.read/1, needs: [b] }
",
    );
    for lost in [false, true] {
        bench.begin("g");
        bench.run("a");
        bench.run("b");
        assert!(bench.wanted().is_empty());
        let view = bench.view();
        assert_eq!(view.holds[0].code, "guard-not-ended", "{:?}", view.holds);
        if lost {
            bench.lose("g");
        } else {
            bench.fail("g", Certainty::Cancelled);
        }
        assert_eq!(bench.phase("g"), Phase::Succeeded);
        assert_eq!(bench.wanted(), ["c"]);
        bench = Bench::with(bench.workflow.plan.clone(), json!({}));
    }
}

#[test]
fn a_guard_outlives_any_number_of_workers() {
    let mut bench = Bench::start(CRITICAL);
    bench.run("a");
    // A step may be lost twice.
    for _ in 0..5 {
        bench.begin("g");
        bench.lose("g");
    }
    assert_eq!(bench.wanted(), ["g"]);
}

#[test]
fn a_guard_that_hangs_when_its_span_ends_is_not_waited_for() {
    let mut bench = Bench::start(CRITICAL);
    bench.run("a");
    let fence = bench.begin("g");
    for step in ["b", "c", "d"] {
        bench.run(step);
    }
    let step = bench.index("g");
    bench.react(Input::HeartbeatTimedOut { step, fence });
    assert_eq!(bench.count("AttemptStopping"), 2, "asked kindly, then not");
    bench.react(Input::HeartbeatTimedOut { step, fence });
    assert_eq!(bench.count("AttemptStopping"), 2);
    bench.fail("g", Certainty::Cancelled);
    assert_eq!(bench.state(), WorkflowState::Completed);
}

#[test]
fn a_guard_that_ends_before_its_span_is_begun_again() {
    let mut bench = Bench::start(CRITICAL);
    bench.run("a");
    // It hung, was asked to stop, and says that it is done.
    let fence = bench.begin("g");
    let step = bench.index("g");
    bench.react(Input::HeartbeatTimedOut { step, fence });
    bench.succeed("g", json!({}));
    bench.after(Duration::from_secs(60));
    assert_eq!(bench.wanted(), ["g"]);
}

#[test]
fn a_guard_that_waits_for_an_operator_says_so_inside_the_critical_span() {
    let mut bench = Bench::start(CRITICAL);
    bench.run("a");
    bench.begin("g");
    bench.begin("b");
    bench.fail("g", Certainty::Refused);
    let view = bench.view();
    assert_eq!(view.state, WorkflowState::Paused);
    let hold = (view.holds[0].code.as_str(), view.holds[0].step.as_str());
    assert_eq!(hold, ("step-paused", "g"));
    bench.succeed("b", json!({}));
    assert_eq!(bench.wanted(), ["c"], "the span goes on");
}

#[test]
fn inside_the_critical_span_pause_brake_and_guard_loss_wait_for_its_end() {
    let mut bench = Bench::start(CRITICAL);
    bench.run("a");
    bench.begin("g");
    bench.begin("b");
    let said = bench.act(Act::Pause);
    assert!(said.contains("critical span"), "{said}");
    bench.facts.brake = true;
    bench.lose("g");
    bench.succeed("b", json!({}));
    assert_eq!(bench.wanted(), ["g", "c"], "the span goes on");
    bench.run("c");
    assert_eq!(bench.wanted(), ["g"], "after the span everything waits");
    assert_eq!(bench.state(), WorkflowState::Paused);
    bench.facts.brake = false;
    bench.act(Act::Resume);
    bench.begin("g");
    assert_eq!(bench.wanted(), ["d"]);
}

#[test]
fn a_refused_step_inside_the_critical_span_stops_only_itself() {
    let mut bench = Bench::start(CRITICAL);
    bench.run("a");
    bench.begin("g");
    bench.run("b");
    bench.begin("c");
    bench.fail("c", Certainty::Refused);
    assert_eq!(bench.state(), WorkflowState::Paused);
    assert_eq!(bench.phase("g"), Phase::Running, "the guard stays");
    bench.act(retry("c"));
    assert_eq!(bench.wanted(), ["c"]);
}

#[test]
fn guards_go_on_while_unwinding_until_their_turn_comes() {
    let mut bench = Bench::start(
        "
  guards:
    - { id: g, uses: t.guard/1, from: b, until: c, autonomy: PT2H }
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1, needs: [a] }
    - { id: c, uses: t.work/1, needs: [b] }
",
    );
    bench.run("a");
    bench.begin("g");
    bench.run("b");
    bench.act(Act::Cancel);
    assert_eq!(bench.phase("g"), Phase::Running);
    bench.undo("b");
    assert_eq!(
        bench.count("AttemptStopping"),
        1,
        "now the guard is asked to end"
    );
    bench.fail("g", Certainty::Cancelled);
    bench.undo("g");
    bench.undo("a");
    assert_eq!(bench.state(), WorkflowState::RolledBack);
}

#[test]
fn a_violation_pauses_when_the_definition_says_so_and_is_recorded_once() {
    let mut bench = Bench::start(
        "
  guards:
    - { id: g, uses: t.guard/1, from: a, until: b, autonomy: PT2H, onViolation: pause }
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1, needs: [a] }
",
    );
    let fence = bench.begin("g");
    let step = bench.index("g");
    for _ in 0..3 {
        bench.react(Input::Violation {
            step,
            fence,
            code: "no-backend".into(),
            message: "nobody answers".into(),
        });
    }
    assert_eq!(bench.count("ViolationSeen"), 1);
    assert_eq!(bench.state(), WorkflowState::Paused);
    assert_eq!(bench.view().holds[0].code, "violation");
}
