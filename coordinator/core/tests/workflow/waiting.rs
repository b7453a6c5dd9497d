//! Gates, timers and timeouts.

use std::{sync::Arc, time::Duration};

use drover_core::{
    declaration::Timeouts,
    ids::Actor,
    view::WorkflowState,
    workflow::{Act, Outcome, Phase, event::Certainty},
};
use serde_json::json;

use crate::{
    LINE,
    common::{Bench, definition, kind, kinds, plan, step_id},
};

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
        evidence: Some(crate::common::digest("else")),
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
fn a_gate_with_a_quorum_counts_people() {
    let mut bench = Bench::start(
        "
  steps:
    - { id: look, uses: t.read/1 }
    - { id: ok, needs: [look], gate: { approvers: [operator], quorum: 2, expires: PT4H, evidence: [look] } }
",
    );
    bench.run("look");
    let approve = || Act::Approve {
        step: step_id("ok"),
        evidence: None,
    };
    let by = |name: &str| Actor(Arc::from(name));
    let said = bench.try_act_by(by("ann"), approve()).unwrap();
    assert!(said.contains("1 more of 2 needed"), "{said}");
    assert!(matches!(bench.phase("ok"), Phase::Waiting { .. }));
    let asks = &bench.view().holds[0].message;
    assert!(asks.contains("approved by ann"), "{asks}");
    let again = bench.try_act_by(by("ann"), approve()).unwrap_err();
    assert_eq!(again.code(), "already-approved");
    // Nobody else came in time: it asks everybody again.
    bench.after(Duration::from_secs(4 * 3600));
    bench.try_act_by(by("ann"), approve()).unwrap();
    bench.try_act_by(by("ben"), approve()).unwrap();
    assert_eq!(bench.phase("ok"), Phase::Succeeded);
    assert_eq!(bench.count("GateVoted"), 2);
}
