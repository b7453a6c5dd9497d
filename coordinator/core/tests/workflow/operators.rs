//! What people do to steps and workflows.

use drover_core::{
    view::{StepState, WorkflowState},
    workflow::{
        Act, Input, Outcome, Reply, Verdict,
        event::{Body, Certainty},
    },
};
use serde_json::json;

use crate::{
    CRITICAL, LINE,
    common::{Bench, definition, kind, kinds, plan, retry, skip, step_id},
};

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
    bench.after(std::time::Duration::from_secs(60));
    bench.epoch = 1_000_001;
    bench.react(Input::Restored {
        head: crate::common::digest("head"),
    });
    assert_eq!(bench.state(), WorkflowState::Paused);
    assert_eq!(bench.view().holds[0].code, "restored");
    let waits_since = bench.workflow.steps[bench.index("a")].phase_since;
    assert_eq!(
        waits_since,
        Some(bench.now),
        "of this history, not of the lost one"
    );
    let too_early = bench.try_act(Act::Cancel).unwrap_err();
    assert_eq!(too_early.code(), "not-resumed");
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
