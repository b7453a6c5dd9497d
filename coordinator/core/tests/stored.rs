//! Streams as earlier builds wrote them: what is on somebody's disk must fold to the same state for ever.
//!
//! A file of `golden/` is never changed. When a new build writes something else, the new form gets a scenario and a file of its
//! own, and the old file goes on to be read.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{path::Path, time::Duration};

use common::{Bench, retry, skip, step_id};
use drover_core::workflow::{
    Act, Workflow,
    event::{Certainty, Event},
};
use serde_json::json;

const SHAPE: &str = "
  pivot: e
  critical: { from: e, until: f }
  guards:
    - { id: g, uses: t.guard/1, from: b, until: f, autonomy: PT2H, onViolation: pause }
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1, needs: [a] }
    - { id: c, needs: [b], gate: { approvers: [operator], expires: PT1H, evidence: [a] } }
    - { id: d, timer: PT5M, needs: [c] }
    - { id: e, uses: t.work/1, needs: [d] }
    - { id: f, uses: t.work/1, needs: [e] }
";

/// To the end, through retries, a loss, a pause, a gate that expires once, and a timer.
fn forward() -> Bench {
    let mut bench = Bench::start(SHAPE);
    bench.begin("a");
    bench.fail("a", Certainty::Transient);
    bench.after(Duration::from_secs(600));
    bench.begin("a");
    bench.lose("a");
    bench.run("a");
    bench.begin("g");
    bench.begin("b");
    bench.fail("b", Certainty::Refused);
    bench.act(retry("b"));
    bench.run("b");
    bench.act(Act::Pause);
    bench.act(Act::Resume);
    bench.after(Duration::from_secs(2 * 3600));
    bench.act(Act::Approve {
        step: step_id("c"),
        evidence: None,
    });
    bench.after(Duration::from_secs(301));
    bench.run("e");
    bench.run("f");
    bench.succeed("g", json!({ "rounds": 3 }));
    bench
}

/// Cancelled with one step skipped and one running, and all the way back.
fn backward() -> Bench {
    let mut bench = Bench::start(SHAPE);
    bench.run("a");
    bench.begin("g");
    bench.begin("b");
    bench.fail("b", Certainty::Failed);
    bench.act(skip("b"));
    bench.act(Act::Reject {
        step: step_id("c"),
        evidence: None,
    });
    bench.act(Act::Cancel);
    bench.undo("b");
    bench.fail("g", Certainty::Cancelled);
    bench.undo("g");
    bench.undo("a");
    bench
}

fn text(events: &[Event]) -> String {
    let mut lines = Vec::new();
    for event in events {
        event.write_line(&mut lines);
    }
    String::from_utf8(lines).unwrap()
}

fn holds(name: &str, bench: &Bench) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if !path.exists() {
        std::fs::write(&path, text(&bench.events)).unwrap();
        panic!("{name} is new: look at it, and commit it");
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        text(&bench.events),
        stored,
        "the same acts write the same stream"
    );

    let mut events = stored
        .lines()
        .map(|line| Event::read_line(line.as_bytes()).unwrap());
    let plan = bench.workflow.plan.clone();
    let mut folded = Workflow::begin(&events.next().unwrap(), plan);
    for event in events {
        folded.apply(&event);
    }
    assert_eq!(format!("{folded:?}"), format!("{:?}", bench.workflow));
    assert!(folded.is_ended(), "{:?}", bench.view().steps);
}

#[test]
fn a_stream_that_went_to_the_end() {
    holds("forward.jsonl", &forward());
}

#[test]
fn a_stream_that_was_taken_back() {
    holds("backward.jsonl", &backward());
}
