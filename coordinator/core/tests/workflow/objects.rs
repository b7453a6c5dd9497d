//! Outputs that are too large for an event.

use std::sync::Arc;

use drover_core::{
    ids::{Digest, StepId},
    object::ObjectRef,
    workflow::{
        Act, Input, Outcome, Phase, Reply,
        event::{Body, Certainty},
    },
};
use serde_json::json;

use crate::common::{Bench, actor};

const READER: &str = "
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1, needs: [a], with: { n: \"${steps.a.output.n}\" } }
    - { id: c, uses: t.work/1, needs: [a] }
";

fn object() -> ObjectRef {
    ObjectRef {
        digest: Digest::of(br#"{"n":7}"#),
        size: 7,
    }
}

/// `a` has ended with its output in an object.
fn ended() -> Bench {
    let mut bench = Bench::start(READER);
    let fence = bench.begin("a");
    let outcome = Outcome::Object {
        object: object(),
        observed: false,
    };
    bench.result("a", fence, outcome);
    bench
}

#[test]
fn a_step_that_reads_a_large_output_begins_once_its_value_is_at_hand() {
    let mut bench = ended();
    assert_eq!(bench.wanted(), ["c"], "others do not wait for it");
    assert_eq!(bench.workflow.wanted_objects(), [object()].into());
    bench
        .workflow
        .put_at_hand(object(), Arc::new(json!({"n": 7})));
    bench.react(Input::Tick);
    assert_eq!(bench.wanted(), ["b", "c"]);
    let params = bench.workflow.step("b").unwrap().1.params.clone();
    assert_eq!(params.as_deref(), Some(&json!({"n": 7})));
    assert!(bench.workflow.wanted_objects().is_empty());
}

#[test]
fn an_event_of_a_large_output_holds_the_reference_and_one_of_a_small_output_is_as_it_was() {
    let bench = ended();
    let line = |bench: &Bench| {
        let event = bench
            .events
            .iter()
            .find(|event| matches!(event.body, Body::AttemptSucceeded { .. }))
            .unwrap();
        let mut line = Vec::new();
        event.write_line(&mut line);
        String::from_utf8(line).unwrap()
    };
    let reference = format!(
        r#""output":null,"object":{{"digest":"{}","size":7}}"#,
        object().digest
    );
    assert!(line(&bench).contains(&reference), "{}", line(&bench));
    let mut small = Bench::start(READER);
    small.begin("a");
    small.succeed("a", json!({"n": 7}));
    assert!(!line(&small).contains("object"), "{}", line(&small));
}

#[test]
fn the_compensation_is_offered_the_reference() {
    let mut bench = ended();
    bench.begin("c");
    bench.fail("c", Certainty::Refused);
    let cancel = Input::Act {
        actor: actor(),
        reason: String::new(),
        act: Act::Cancel,
    };
    bench.react(cancel);
    let Reply::Leased(offer) = bench.lease("a") else {
        panic!("a is not wanted: {:?}", bench.wanted());
    };
    assert!(offer.compensate && offer.output.is_none());
    assert_eq!(offer.object, Some(object()));
}

#[test]
fn an_object_that_cannot_be_read_makes_its_readers_wait_for_an_operator() {
    let mut bench = ended();
    let unreadable = Input::ObjectUnreadable {
        object: object(),
        message: "the file is gone".to_owned(),
    };
    bench.react(unreadable);
    assert_eq!(bench.phase("b"), Phase::Paused);
    assert_eq!(bench.phase("c"), Phase::Ready);
    assert!(
        bench.workflow.wanted_objects().is_empty(),
        "nobody asks again"
    );
    let (_, step) = bench.workflow.step("b").unwrap();
    assert_eq!(step.failure.as_ref().unwrap().1.code, "output-unreadable");
    let retry = Act::Retry {
        step: StepId::new("b").unwrap(),
        params: None,
    };
    let reply = bench.react(Input::Act {
        actor: actor(),
        reason: String::new(),
        act: retry,
    });
    assert!(matches!(reply, Reply::Done(_)), "{reply:?}");
    assert_eq!(bench.workflow.wanted_objects(), [object()].into());
}
