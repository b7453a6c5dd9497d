//! A running workflow goes on by another plan.

use std::sync::Arc;

use drover_core::workflow::{Act, Phase, event::Certainty};
use serde_json::json;

use crate::common::{Bench, definition, kinds, plan, retry};

const OLD: &str = "
  pivot: c
  guards: [{ id: g, uses: t.guard/1, from: a, until: d, autonomy: PT1M }]
  steps:
  - { id: a, uses: t.work/1 }
  - { id: b, uses: t.work/1, needs: [a] }
  - { id: c, uses: t.work/1, needs: [b] }
  - { id: d, uses: t.work/1, needs: [c] }
";

fn at_b() -> Bench {
    let mut bench = Bench::start(OLD);
    bench.begin("g");
    bench.run("a");
    bench
}

#[test]
fn what_has_not_started_is_as_the_new_plan_says() {
    let mut bench = at_b();
    let new = OLD
        .replace(
            "{ id: c, uses: t.work/1, needs: [b] }",
            "{ id: c, uses: t.work/1, needs: [b, extra] }\n  - { id: extra, uses: t.keep/1, needs: [b], with: { n: 7 } }",
        )
        .replace("{ id: b, uses: t.work/1", "{ id: b, uses: t.keep/1");
    let said = bench.try_replan(&new).unwrap();
    assert!(
        said.ends_with("1 steps added, 2 changed, 0 removed"),
        "{said}"
    );
    // The guard and the step that has ended are as they were.
    assert_eq!(bench.phase("g"), Phase::Running);
    assert_eq!(bench.phase("a"), Phase::Succeeded);
    let b = bench.index("b");
    assert_eq!(
        bench.workflow.plan.kind_of(b).unwrap().to_string(),
        "t.keep/1"
    );
    for step in ["b", "extra", "c"] {
        assert_eq!(bench.wanted(), [step]);
        bench.run(step);
    }
    assert!(bench.workflow.pivot_passed());
}

#[test]
fn the_step_under_way_goes_on_as_it_began() {
    let mut bench = at_b();
    let fence = bench.begin("b");
    let new = OLD.replace(
        "{ id: b, uses: t.work/1,",
        "{ id: b, uses: t.work/1, with: { n: 1 },",
    );
    bench.try_replan(&new).unwrap();
    assert_eq!(bench.fence("b"), fence);
    bench.succeed("b", json!({}));
    assert_eq!(bench.wanted(), ["c"]);
}

#[test]
fn an_offer_that_nobody_has_acked_is_taken_back() {
    let mut bench = at_b();
    bench.lease("b");
    let new = OLD.replace("{ id: b, uses: t.work/1", "{ id: b, uses: t.keep/1");
    bench.try_replan(&new).unwrap();
    assert_eq!(bench.count("OfferReverted"), 1);
    assert_eq!(bench.wanted(), ["b"]);
}

#[test]
fn a_step_that_was_refused_may_become_another() {
    let mut bench = at_b();
    bench.begin("b");
    bench.fail("b", Certainty::Refused);
    let new = OLD.replace("{ id: b, uses: t.work/1", "{ id: b, uses: t.keep/1");
    bench.try_replan(&new).unwrap();
    // It is tried again by itself, with keys of its own.
    assert_eq!(bench.wanted(), ["b"]);
    let index = bench.index("b");
    assert_eq!(bench.workflow.steps[index].generation, 1);
    bench.run("b");
}

#[test]
fn a_step_that_may_have_acted_keeps_its_kind() {
    let mut bench = at_b();
    bench.begin("b");
    bench.fail("b", Certainty::Failed);
    let new = OLD.replace("{ id: b, uses: t.work/1", "{ id: b, uses: t.keep/1");
    let refused = bench.try_replan(&new).unwrap_err();
    assert_eq!(refused.code(), "plan-does-not-fit");
    assert!(
        refused
            .to_string()
            .contains("b may have started as t.work/1 and cannot become t.keep/1"),
        "{refused}"
    );
    // Other parameters are fine: the attempt that failed had the old ones, and so has its retry.
    let new = OLD.replace("needs: [c] }", "needs: [c], with: { n: 1 } }");
    bench.try_replan(&new).unwrap();
    bench.act(retry("b"));
    assert_eq!(bench.wanted(), ["b"]);
}

#[test]
fn every_reason_against_a_plan_is_named_at_once() {
    let bench = at_b();
    let against = |new: &str| {
        let diff = bench.workflow.compare(&plan(&definition(new), &kinds()));
        diff.problems.join("; ")
    };
    assert_eq!(against(OLD), "");
    let without_a = OLD
        .replace("  - { id: a, uses: t.work/1 }\n", "")
        .replace("needs: [a]", "needs: []")
        .replace("from: a", "from: b");
    assert_eq!(
        against(&without_a),
        "a may have started, and the new plan lacks it"
    );
    let without_g = OLD
        .lines()
        .filter(|line| !line.contains("guards"))
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(
        against(&without_g),
        "g may have started, and the new plan lacks it"
    );
    let earlier = OLD.replace(
        "{ id: a, uses: t.work/1 }",
        "{ id: a, uses: t.work/1, needs: [z] }\n  - { id: z, uses: t.work/1 }",
    );
    assert_eq!(
        against(&earlier),
        "z comes before a, which may have started"
    );
    let moved = OLD.replace("pivot: c", "pivot: a");
    assert_eq!(
        against(&moved),
        "a may have started and cannot change its side of the pivot"
    );
}

#[test]
fn after_the_pivot_it_stays_where_it_was() {
    let mut bench = at_b();
    bench.run("b");
    bench.run("c");
    let refused = bench
        .try_replan(&OLD.replace("pivot: c", "pivot: d"))
        .unwrap_err();
    assert!(
        refused.to_string().contains("the pivot has been passed"),
        "{refused}"
    );
}

#[test]
fn neither_unwinding_nor_a_critical_span_is_replanned() {
    let critical = OLD.replace("pivot: c", "pivot: c\n  critical: { from: b, until: c }");
    let mut bench = Bench::start(&critical);
    bench.begin("g");
    bench.run("a");
    bench.begin("b");
    assert_eq!(
        bench.try_replan(OLD).unwrap_err().code(),
        "in-critical-span"
    );
    let mut bench = at_b();
    bench.act(Act::Cancel);
    assert_eq!(bench.try_replan(OLD).unwrap_err().code(), "unwinding");
}

#[test]
fn known_items_stay_and_their_unstarted_steps_change() {
    let spec = "
  steps:
  - { id: inventory, uses: t.read/1 }
  - id: workers
    needs: [inventory]
    forEach: { in: \"${steps.inventory.output.pools}\", as: pool, key: \"${pool.name}\" }
    steps:
    - { id: apply, uses: t.work/1 }
    - { id: replace, uses: t.work/1, needs: [apply] }
";
    let mut bench = Bench::start(spec);
    bench.begin("inventory");
    bench.succeed(
        "inventory",
        json!({"pools": [{"name": "a"}, {"name": "b"}]}),
    );
    bench.run("workers[a]/apply");
    let new = spec.replace(
        "{ id: replace, uses: t.work/1,",
        "{ id: replace, uses: t.keep/1, with: { pool: \"${pool.name}\" },",
    );
    bench.try_replan(&new).unwrap();
    bench.run("workers[a]/replace");
    bench.run("workers[b]/apply");
    let index = bench.index("workers[b]/replace");
    bench.run("workers[b]/replace");
    assert_eq!(
        **bench.workflow.steps[index].params.as_ref().unwrap(),
        json!({"pool": "b"})
    );
    assert!(bench.workflow.is_ended());
    assert_eq!(
        bench.view().definition.digest,
        Arc::clone(&bench.plans[1]).definition_digest.to_string()
    );
}
