//! The rules of a workflow, one sentence each.

mod common;

use std::time::Duration;

use common::{Bench, definition, kind, kinds, plan, retry, skip, step_id};
use drover_core::{
    declaration::Timeouts,
    view::{StepState, WorkflowState},
    workflow::{
        Act, Input, Outcome, Phase, Rejection, Reply, Verdict,
        event::{Body, Certainty},
    },
};
use serde_json::json;

const LINE: &str = "
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1, needs: [a] }
    - { id: c, uses: t.work/1, needs: [b] }
";

const PIVOTED: &str = "
  pivot: b
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1, needs: [a] }
    - { id: c, uses: t.work/1, needs: [b] }
";

const CRITICAL: &str = "
  pivot: b
  critical: { from: b, until: c }
  guards:
    - { id: g, uses: t.guard/1, from: b, until: d, autonomy: PT2H }
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1, needs: [a] }
    - { id: c, uses: t.work/1, needs: [b] }
    - { id: d, uses: t.work/1, needs: [c] }
";

#[test]
fn steps_run_in_the_order_of_their_needs() {
    let mut bench = Bench::start(LINE);
    assert_eq!(bench.state(), WorkflowState::Pending);
    assert_eq!(bench.wanted(), ["a"]);
    bench.run("a");
    assert_eq!(bench.wanted(), ["b"]);
    bench.run("b");
    bench.run("c");
    assert_eq!(bench.state(), WorkflowState::Completed);
}

#[test]
fn independent_steps_are_wanted_together() {
    let bench = Bench::start(
        "
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1 }
",
    );
    assert_eq!(bench.wanted(), ["a", "b"]);
}

#[test]
fn an_output_is_what_later_steps_read() {
    let mut bench = Bench::start(
        "
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1, needs: [a], with: { x: \"${steps.a.output.n}\" } }
",
    );
    bench.begin("a");
    bench.succeed("a", json!({"n": 42}));
    let Reply::Leased(offer) = bench.lease("b") else {
        panic!()
    };
    assert_eq!(*offer.params, json!({"x": 42}));
    assert_eq!(offer.idempotency_prefix, "m1/b/0");
}

#[test]
fn when_false_passes_over_and_what_follows_goes_on() {
    let mut bench = Bench::start(
        "
  steps:
    - { id: a, uses: t.work/1, when: \"input.x == 1\" }
    - { id: b, uses: t.work/1, needs: [a] }
",
    );
    // `input.x` is missing: that is an error and not false.
    assert_eq!(bench.phase("a"), Phase::Paused);
    assert_eq!(bench.state(), WorkflowState::Paused);
    bench.act(skip("a"));
    assert_eq!(bench.wanted(), ["b"]);

    let bench = Bench::start(
        "
  steps:
    - { id: a, uses: t.work/1, when: \"has(input.x) && input.x == 1\" }
    - { id: b, uses: t.work/1, needs: [a] }
",
    );
    assert_eq!(bench.phase("a"), Phase::Skipped);
    assert_eq!(bench.wanted(), ["b"]);
}

#[test]
fn an_offer_that_is_never_acked_costs_no_attempt() {
    let mut bench = Bench::start(LINE);
    for _ in 0..10 {
        assert!(matches!(bench.lease("a"), Reply::Leased(_)));
        let (step, fence) = (bench.index("a"), bench.fence("a"));
        bench.react(Input::Unacked {
            step,
            fence,
            reason: "not-acked".into(),
        });
    }
    let Reply::Leased(offer) = bench.lease("a") else {
        panic!()
    };
    assert_eq!(offer.number, 1);
    assert!(bench.workflow.starts.is_empty(), "nothing may have started");
}

#[test]
fn a_report_with_an_old_fence_changes_nothing() {
    let mut bench = Bench::start(LINE);
    let old = bench.begin("a");
    bench.lose("a");
    let new = bench.begin("a");
    assert!(new > old);
    let before = bench.events.len();
    let reply = bench.result(
        "a",
        old,
        Outcome::Output {
            output: json!(1),
            observed: false,
        },
    );
    assert!(matches!(reply, Reply::Verdict(Verdict::Superseded)));
    assert_eq!(bench.events.len(), before);
    bench.succeed("a", json!(2));
    let again = bench.result(
        "a",
        new,
        Outcome::Output {
            output: json!(2),
            observed: false,
        },
    );
    assert!(matches!(again, Reply::Verdict(Verdict::Completed)));
}

#[test]
fn a_result_counts_even_when_its_ack_was_lost() {
    let mut bench = Bench::start(LINE);
    bench.lease("a");
    bench.succeed("a", json!({}));
    assert_eq!(bench.phase("a"), Phase::Succeeded);
    assert_eq!(bench.workflow.starts.len(), 1, "it had started");
}

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
}

#[test]
fn a_lost_offer_that_was_never_acked_is_no_loss() {
    let mut bench = Bench::start(LINE);
    bench.lease("a");
    bench.lose("a");
    assert_eq!(bench.workflow.steps[0].losses, 0);
    assert_eq!(bench.wanted(), ["a"]);
}

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

#[test]
fn a_gate_waits_for_a_person_who_saw_what_is_there() {
    let spec = "
  steps:
    - { id: look, uses: t.read/1 }
    - { id: ok, needs: [look], gate: { approvers: [operator], expires: PT4H, evidence: [look] } }
    - { id: act, uses: t.work/1, needs: [ok] }
";
    let mut bench = Bench::start(spec);
    bench.run("look");
    assert_eq!(bench.state(), WorkflowState::Waiting);
    let view = bench.view();
    assert_eq!(view.holds[0].code, "gate-waiting");
    let seen = view.steps[1].evidence.clone();
    bench.after(Duration::from_secs(4 * 3600));
    assert_eq!(bench.count("GateExpired"), 1);
    assert_eq!(
        bench.state(),
        WorkflowState::Waiting,
        "expired asks again and never unwinds"
    );
    let wrong = Act::Approve {
        step: step_id("ok"),
        evidence: Some(common::digest("else")),
    };
    assert_eq!(bench.try_act(wrong).unwrap_err().code(), "evidence-changed");
    let digest = drover_core::ids::Digest::parse(&seen);
    bench.act(Act::Approve {
        step: step_id("ok"),
        evidence: digest,
    });
    assert_eq!(bench.wanted(), ["act"]);

    let mut bench = Bench::start(spec);
    bench.run("look");
    bench.act(Act::Reject {
        step: step_id("ok"),
        evidence: None,
    });
    assert_eq!(bench.state(), WorkflowState::Paused);
    bench.act(Act::Approve {
        step: step_id("ok"),
        evidence: None,
    });
    assert_eq!(bench.wanted(), ["act"]);
}

#[test]
fn a_timer_fires_when_its_time_has_come_and_not_while_paused() {
    let mut bench = Bench::start(
        "
  steps:
    - { id: soak, timer: PT10M }
    - { id: b, uses: t.work/1, needs: [soak] }
",
    );
    bench.after(Duration::from_secs(599));
    assert!(bench.wanted().is_empty());
    bench.act(Act::Pause);
    bench.after(Duration::from_secs(2));
    assert_eq!(bench.count("TimerFired"), 0);
    bench.act(Act::Resume);
    assert_eq!(bench.count("TimerFired"), 1);
    assert_eq!(bench.wanted(), ["b"]);
}

#[test]
fn start_to_close_stops_the_attempt_and_the_next_waits_for_its_end() {
    let mut bench = Bench::start(LINE);
    let fence = bench.begin("a");
    bench.after(Duration::from_secs(601));
    assert_eq!(bench.count("AttemptStopping"), 1);
    assert!(
        bench.wanted().is_empty(),
        "no second attempt beside the first"
    );
    let failure = drover_core::workflow::event::StepFailure::new(
        "cancelled",
        Certainty::Cancelled,
        "stopped",
    );
    bench.result(
        "a",
        fence,
        Outcome::Failure {
            failure,
            retry_after: None,
        },
    );
    assert!(matches!(bench.phase("a"), Phase::Backoff { .. }));
    assert_eq!(
        bench.view().steps[0].last_error.as_ref().unwrap().code,
        "start-to-close"
    );
}

#[test]
fn a_result_that_beats_the_stop_counts() {
    let mut bench = Bench::start(LINE);
    bench.begin("a");
    bench.after(Duration::from_secs(601));
    bench.succeed("a", json!({}));
    assert_eq!(bench.phase("a"), Phase::Succeeded);
}

#[test]
fn time_that_is_charged_to_nobody_moves_the_timeouts() {
    let mut bench = Bench::start(LINE);
    bench.begin("a");
    bench.facts.uncharged = Duration::from_secs(3600);
    bench.after(Duration::from_secs(3600));
    assert_eq!(bench.count("AttemptStopping"), 0);
    bench.after(Duration::from_secs(601));
    assert_eq!(bench.count("AttemptStopping"), 1);
}

#[test]
fn schedule_to_start_and_schedule_to_close_wait_for_an_operator() {
    let mut kinds = kinds();
    let mut timed = kind("t.timed/1");
    timed.timeouts = Timeouts {
        schedule_to_start: Some(Duration::from_secs(60)),
        start_to_close: Some(Duration::from_secs(600)),
        schedule_to_close: Some(Duration::from_secs(300)),
        heartbeat: None,
    };
    kinds.insert(timed.kind.clone(), timed.into());
    let plan = plan(
        &definition("\n  steps:\n    - { id: a, uses: t.timed/1 }\n"),
        &kinds,
    );
    let mut bench = Bench::with(plan.clone(), json!({}));
    bench.act(Act::Pause);
    bench.after(Duration::from_secs(100));
    assert_eq!(
        bench.count("StepTimedOut"),
        0,
        "a paused step does not wait for a worker"
    );
    bench.act(Act::Resume);
    bench.after(Duration::from_secs(59));
    assert_eq!(bench.count("StepTimedOut"), 0);
    bench.after(Duration::from_secs(1));
    assert_eq!(bench.state(), WorkflowState::Paused);
    assert_eq!(
        bench.view().steps[0].last_error.as_ref().unwrap().code,
        "schedule-to-start"
    );

    let mut bench = Bench::with(plan, json!({}));
    let fence = bench.begin("a");
    bench.after(Duration::from_secs(300));
    let failure = drover_core::workflow::event::StepFailure::new(
        "cancelled",
        Certainty::Cancelled,
        "stopped",
    );
    bench.result(
        "a",
        fence,
        Outcome::Failure {
            failure,
            retry_after: None,
        },
    );
    assert_eq!(
        bench.phase("a"),
        Phase::Paused,
        "schedule-to-close leaves no further attempt"
    );
}

#[test]
fn new_parameters_are_new_requests_and_a_plain_retry_is_the_same_one() {
    let mut bench = Bench::start(LINE);
    bench.begin("a");
    bench.fail("a", Certainty::Refused);
    bench.act(retry("a"));
    let Reply::Leased(offer) = bench.lease("a") else {
        panic!()
    };
    assert_eq!(offer.idempotency_prefix, "m1/a/0");
    bench.ack("a");
    bench.fail("a", Certainty::Refused);
    bench.act(Act::Retry {
        step: step_id("a"),
        params: Some(json!({"n": 2})),
    });
    let Reply::Leased(offer) = bench.lease("a") else {
        panic!()
    };
    assert_eq!(offer.idempotency_prefix, "m1/a/1");
    assert_eq!(*offer.params, json!({"n": 2}));
}

#[test]
fn skip_wants_an_output_when_later_steps_read_it_and_never_skips_the_pivot() {
    let mut bench = Bench::start(
        "
  pivot: b
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1, needs: [a], with: { x: \"${steps.a.output.n}\" } }
",
    );
    bench.begin("a");
    assert_eq!(
        bench.try_act(skip("a")).unwrap_err().code(),
        "not-skippable"
    );
    bench.fail("a", Certainty::Refused);
    assert_eq!(
        bench.try_act(skip("a")).unwrap_err().code(),
        "output-needed"
    );
    bench.act(Act::Skip {
        step: step_id("a"),
        output: Some(json!({"n": 7})),
    });
    let Reply::Leased(offer) = bench.lease("b") else {
        panic!()
    };
    assert_eq!(*offer.params, json!({"x": 7}));
    bench.ack("b");
    bench.fail("b", Certainty::Refused);
    assert_eq!(
        bench.try_act(skip("b")).unwrap_err().code(),
        "not-skippable"
    );
}

#[test]
fn terminate_ends_as_it_stands_and_says_what_is_no_longer_guarded() {
    let mut bench = Bench::start(CRITICAL);
    bench.run("a");
    bench.begin("g");
    let fence = bench.begin("b");
    let said = bench.act(Act::Terminate);
    assert!(said.contains("NO LONGER GUARDED: g"), "{said}");
    assert_eq!(bench.state(), WorkflowState::Terminated);
    let reply = bench.result(
        "b",
        fence,
        Outcome::Output {
            output: json!(1),
            observed: false,
        },
    );
    assert!(matches!(
        reply,
        Reply::Verdict(Verdict::Completed | Verdict::Superseded)
    ));
    assert_eq!(bench.try_act(Act::Pause).unwrap_err().code(), "ended");
}

#[test]
fn after_a_restore_everything_is_paused_and_observed_first() {
    let mut bench = Bench::start(LINE);
    let old = bench.begin("a");
    bench.epoch = 1_000_001;
    bench.react(Input::Restored {
        head: common::digest("head"),
    });
    assert_eq!(bench.state(), WorkflowState::Paused);
    assert_eq!(bench.view().holds[0].code, "restored");
    bench.act(Act::Resume);
    let Reply::Leased(offer) = bench.lease("a") else {
        panic!()
    };
    assert!(offer.observe_first && offer.fence > old);
    bench.ack("a");
    bench.succeed("a", json!({}));
    let Reply::Leased(offer) = bench.lease("b") else {
        panic!()
    };
    assert!(offer.observe_first, "first-time steps, too");
}

#[test]
fn parameters_that_do_not_fit_wait_for_an_operator() {
    let mut kinds = kinds();
    let mut strict = kind("t.strict/1");
    strict.params_schema =
        json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    kinds.insert(strict.kind.clone(), strict.into());
    let plan = plan(
        &definition(
            "\n  steps:\n    - { id: a, uses: t.work/1 }\n    - { id: b, uses: t.strict/1, needs: [a], with: { n: \"${steps.a.output.n}\" } }\n",
        ),
        &kinds,
    );
    let mut bench = Bench::with(plan, json!({}));
    bench.begin("a");
    bench.succeed("a", json!({"n": "three"}));
    assert_eq!(bench.state(), WorkflowState::Paused);
    assert_eq!(
        bench.view().steps[1].last_error.as_ref().unwrap().code,
        "params-invalid"
    );
    let bad = Act::Retry {
        step: step_id("b"),
        params: Some(json!({"n": "x"})),
    };
    assert_eq!(bench.try_act(bad).unwrap_err().code(), "params-invalid");
    bench.act(Act::Retry {
        step: step_id("b"),
        params: Some(json!({"n": 3})),
    });
    bench.run("b");
    assert_eq!(bench.state(), WorkflowState::Completed);
}

#[test]
fn the_history_says_what_happened_in_words() {
    let mut bench = Bench::start("\n  steps:\n    - { id: a, uses: t.work/1 }\n");
    bench.run("a");
    assert_eq!(
        bench.types(),
        [
            "Created",
            "StepScheduled",
            "AttemptLeased",
            "AttemptAcked",
            "AttemptSucceeded",
            "Completed"
        ]
    );
    assert!(matches!(bench.events[2].body, Body::AttemptLeased { .. }));
    assert_eq!(bench.events[2].attempt, Some(1));
    assert_eq!(bench.view().steps[0].state, StepState::Succeeded);
}
