//! Which step runs when, and what its reports count.

use drover_core::{
    view::WorkflowState,
    workflow::{Input, Outcome, Phase, Reply, Verdict},
};
use serde_json::json;

use crate::{
    LINE,
    common::{Bench, skip},
};

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
