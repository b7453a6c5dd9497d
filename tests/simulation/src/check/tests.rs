//! Every rule sees what it is there for: bad histories, made by hand, and a good one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use drover_core::{
    ids::{Digest, Fence, InstallationName, PoolName, StepId, WorkerId, WorkflowId},
    lease::Profile,
    stream::{Head, Record, StreamId},
    time::Timestamp,
    workflow::event::{Body, Certainty, Created, Event, Next, StepFailure, StopReason},
};
use serde_json::Value;

use super::*;
use crate::{
    evidence::{Promise, Span, Story, Streams},
    history::{Attempt, Entry, Holder, Seen, What},
    scenario::Scenario,
};

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn history(entries: impl IntoIterator<Item = (u64, What)>) -> Vec<Entry> {
    entries
        .into_iter()
        .map(|(seconds, what)| Entry {
            at: at(seconds),
            what,
        })
        .collect()
}

fn rules(violations: &[Violation]) -> Vec<&'static str> {
    violations.iter().map(|violation| violation.rule).collect()
}

fn holder(worker: &str) -> Holder {
    Holder {
        worker: worker.to_owned(),
        process: 1,
    }
}

fn attempt(counter: u64, race_ok: bool) -> Attempt {
    Attempt {
        workflow: "m1".to_owned(),
        step: "a".to_owned(),
        fence: drover_step_api::Fence { epoch: 1, counter },
        race_ok,
    }
}

fn taken(call: u64, worker: &str, counter: u64, race_ok: bool) -> What {
    What::PermitTaken {
        call,
        holder: holder(worker),
        attempt: attempt(counter, race_ok),
    }
}

fn effect(worker: &str, counter: u64, race_ok: bool) -> What {
    What::Effect {
        call: 1,
        resource: "m1/a".to_owned(),
        holder: holder(worker),
        attempt: attempt(counter, race_ok),
    }
}

/// A workflow's stream, written by hand.
struct Stream(Vec<Event>);

impl Stream {
    fn begin() -> Self {
        let created = Created {
            id: WorkflowId::new("m1").unwrap(),
            definition: Arc::from("simulated"),
            version: 1,
            definition_digest: Digest::of(b""),
            plan: Digest::of(b""),
            input: Arc::new(Value::Null),
            exclusive: None,
            installation: InstallationName::new("golem").unwrap(),
            reason: String::new(),
        };
        Self(vec![]).and(0, None, None, Body::Created(Box::new(created)))
    }

    fn and(mut self, seconds: i64, step: Option<&str>, number: Option<u32>, body: Body) -> Self {
        self.0.push(Event {
            seq: self.0.len() as u64 + 1,
            at: Timestamp(seconds * 1_000_000),
            step: step.map(|step| StepId::new(step).unwrap()),
            attempt: number,
            actor: None,
            body,
        });
        self
    }

    fn step(self, seconds: i64, body: Body) -> Self {
        self.and(seconds, Some("a"), None, body)
    }

    fn leased(self, seconds: i64, counter: u64, number: u32) -> Self {
        self.and(seconds, Some("a"), Some(number), leased(counter))
    }

    /// The guard `g` runs.
    fn guarded(self) -> Self {
        self.and(1, Some("g"), Some(1), leased(1)).and(
            2,
            Some("g"),
            None,
            Body::AttemptAcked { fence: fence(1) },
        )
    }

    fn acked(self, seconds: i64, counter: u64) -> Self {
        self.step(
            seconds,
            Body::AttemptAcked {
                fence: fence(counter),
            },
        )
    }

    fn succeeded(self, seconds: i64, counter: u64) -> Self {
        self.step(
            seconds,
            Body::AttemptSucceeded {
                fence: fence(counter),
                output: Arc::new(Value::Null),
                object: None,
                observed: false,
            },
        )
    }

    fn failed(self, seconds: i64, counter: u64, then: Next) -> Self {
        self.step(
            seconds,
            Body::AttemptFailed {
                fence: fence(counter),
                failure: StepFailure::new("throttled", Certainty::Transient, "slow down"),
                then,
            },
        )
    }

    fn lost(self, seconds: i64, counter: u64, reason: &str, then: Next) -> Self {
        self.step(
            seconds,
            Body::AttemptLost {
                fence: fence(counter),
                reason: Arc::from(reason),
                then,
            },
        )
    }

    /// Events are durable at once, and the two clocks agree.
    fn story(self) -> Story {
        let promise = Promise {
            attempts: 2,
            losses: 1,
            start_to_close: Some(at(300)),
            ..Promise::default()
        };
        let seconds = |event: &Event| u64::try_from(event.at.0 / 1_000_000).unwrap();
        Story {
            id: WorkflowId::new("m1").unwrap(),
            durable: self
                .0
                .iter()
                .map(|event| (event.seq, at(seconds(event))))
                .collect(),
            events: self.0,
            promises: BTreeMap::from([("a".to_owned(), promise)]),
            plan: None,
            spans: Vec::new(),
            critical: Vec::new(),
        }
    }
}

fn leased(counter: u64) -> Body {
    Body::AttemptLeased {
        fence: fence(counter),
        worker: WorkerId::new("golem-0").unwrap(),
        incarnation: Arc::from("x"),
        pool: PoolName::new("default").unwrap(),
        observe_first: false,
    }
}

fn fence(counter: u64) -> Fence {
    Fence { epoch: 1, counter }
}

fn retry(seconds: i64) -> Next {
    Next::Retry {
        at: Timestamp(seconds * 1_000_000),
    }
}

/// A step that failed once and then went well.
fn good() -> Stream {
    Stream::begin()
        .leased(1, 1, 1)
        .acked(2, 1)
        .failed(3, 1, retry(5))
        .leased(5, 2, 2)
        .acked(6, 2)
        .succeeded(7, 2)
        .and(7, None, None, Body::Completed {})
}

#[test]
fn a_good_history_violates_nothing() {
    let story = good().story();
    let found = [
        results::check(&story),
        attempts::check(&story),
        timers::check(&story, &Profile::LAN),
    ];
    assert_eq!(found.concat(), []);
    let history = history([
        (1, taken(1, "golem-0", 1, false)),
        (2, effect("golem-0", 1, false)),
        (2, What::PermitLeft { call: 1 }),
        (3, taken(2, "golem-1", 2, false)),
        (4, effect("golem-1", 2, false)),
    ]);
    assert_eq!(fences::check(&history), []);
    assert_eq!(permits::check(&history), []);
}

#[test]
fn a_step_without_its_guard_and_one_beside_the_guard_before_it_are_found() {
    // `a` is offered while the guard `g` was acked, or was not.
    let offered = |guarded: bool| {
        let begun = Stream::begin();
        let begun = if guarded { begun.guarded() } else { begun };
        begun.leased(3, 2, 1).acked(3, 2).succeeded(4, 2)
    };
    let judged = |stream: Stream, inside: &str, after: &str, critical: &[&str]| {
        let set = |step: &str| BTreeSet::from([step.to_owned()]);
        let span = Span {
            guard: "g".to_owned(),
            inside: set(inside),
            after: set(after),
        };
        let story = Story {
            spans: vec![span],
            critical: critical.iter().map(|&step| step.to_owned()).collect(),
            ..stream.story()
        };
        rules(&guards::check(&story))
    };
    assert_eq!(judged(offered(true), "a", "z", &[]), [""; 0]);
    assert_eq!(judged(offered(false), "a", "z", &[]), ["guards-gate"]);
    assert_eq!(judged(offered(false), "y", "a", &[]), [""; 0]);
    assert_eq!(judged(offered(true), "y", "a", &[]), ["guards-gate"]);
    assert_eq!(judged(offered(false), "a", "z", &["a"]), [""; 0]);
}

#[test]
fn a_lost_start_and_a_lost_event_are_found() {
    let seen = Seen {
        workflow: "m1".to_owned(),
        head: 3,
        times: [None; 3],
        pivot_passed: false,
        steps: Vec::new(),
    };
    let history = history([
        (
            1,
            What::Started {
                workflow: "m2".to_owned(),
            },
        ),
        (2, What::Seen(Box::new(seen))),
    ]);
    let stream = StreamId::Workflow(WorkflowId::new("m1").unwrap());
    let record = Record::chain(&Head::EMPTY, 2, b"a\nb\n".to_vec());
    let streams = Streams::from([(stream, vec![record])]);
    let found = acks::check(&history, &streams);
    assert_eq!(rules(&found), ["acked-is-durable", "acked-is-durable"]);
    assert!(found[0].what.contains("m2"), "{found:?}");
    assert!(found[1].what.contains("event 3"), "{found:?}");
}

#[test]
fn an_effect_behind_a_newer_fence_is_found_unless_races_are_fine() {
    let behind = |race_ok| {
        history([
            (1, effect("golem-1", 2, race_ok)),
            (2, effect("golem-0", 1, race_ok)),
        ])
    };
    assert_eq!(rules(&fences::check(&behind(false))), ["fences-grow"]);
    assert_eq!(fences::check(&behind(true)), []);
}

#[test]
fn two_holders_at_once_are_found_unless_races_are_fine() {
    let both = |race_ok| {
        history([
            (1, taken(1, "golem-0", 1, race_ok)),
            (2, taken(2, "golem-1", 2, race_ok)),
        ])
    };
    assert_eq!(rules(&permits::check(&both(false))), ["one-holder"]);
    assert_eq!(permits::check(&both(true)), []);
}

#[test]
fn a_second_result_and_a_second_end_of_a_lease_are_found() {
    let twice = Stream::begin()
        .leased(1, 1, 1)
        .acked(2, 1)
        .succeeded(3, 1)
        .leased(4, 2, 2)
        .acked(5, 2)
        .succeeded(6, 2)
        .story();
    assert_eq!(rules(&results::check(&twice)), ["one-result"]);
    let again = Stream::begin()
        .leased(1, 1, 1)
        .acked(2, 1)
        .failed(3, 1, retry(4))
        .lost(4, 1, "lease-expired", retry(4))
        .story();
    assert_eq!(rules(&results::check(&again)), ["one-result"]);
}

#[test]
fn a_completed_workflow_without_a_result_and_an_event_after_the_end_are_found() {
    let nothing = Stream::begin().and(1, None, None, Body::Completed {});
    let found = results::check(&nothing.leased(2, 1, 1).story());
    assert_eq!(rules(&found), ["one-result", "one-result"]);
}

#[test]
fn a_result_that_was_lost_with_its_process_is_found() {
    let finished = What::Finished {
        attempt: attempt(1, false),
    };
    let lost = |reason| {
        Stream::begin()
            .leased(1, 1, 1)
            .acked(2, 1)
            .lost(9, 1, reason, retry(9))
            .story()
    };
    let history = history([(5, finished)]);
    let found = results::kept(&lost("worker-restarted"), &history);
    assert_eq!(rules(&found), ["result-is-kept"]);
    // Whoever is silent for too long loses its lease, whatever it has.
    assert_eq!(results::kept(&lost("lease-expired"), &history), []);
    assert_eq!(results::kept(&lost("worker-restarted"), &[]), []);
}

#[test]
fn an_attempt_beyond_the_policy_is_found() {
    let failures = Stream::begin()
        .leased(1, 1, 1)
        .acked(1, 1)
        .failed(2, 1, retry(3))
        .leased(3, 2, 2)
        .acked(3, 2)
        .failed(4, 2, retry(5))
        .story();
    assert_eq!(
        rules(&attempts::check(&failures)),
        ["attempts-within-policy"]
    );
    let second_lost_at = |seconds| {
        let story = Stream::begin()
            .leased(1, 1, 1)
            .acked(1, 1)
            .lost(40, 1, "lease-expired", retry(40))
            .leased(41, 2, 2)
            .acked(41, 2)
            .lost(seconds, 2, "lease-expired", retry(seconds))
            .story();
        attempts::check(&story)
    };
    assert_eq!(rules(&second_lost_at(640)), ["attempts-within-policy"]);
    // After ten minutes it begins a row of its own.
    assert_eq!(second_lost_at(641), []);
}

#[test]
fn an_attempt_that_an_undelivered_offer_cost_is_found() {
    let reverted = Body::OfferReverted {
        fence: fence(1),
        reason: Arc::from("not-acked"),
    };
    let counted = Stream::begin()
        .leased(1, 1, 1)
        .step(9, reverted)
        .leased(10, 2, 2)
        .story();
    assert_eq!(
        rules(&attempts::check(&counted)),
        ["attempts-within-policy"]
    );
}

#[test]
fn a_lease_that_silence_cost_is_found() {
    let scenario = Scenario {
        workers: vec!["golem-0".to_owned(), "golem-1".to_owned()],
        profile: Profile::LAN,
        ..Scenario::of(0)
    };
    let story = Stream::begin()
        .leased(1, 1, 1)
        .acked(2, 1)
        .lost(100, 1, "lease-expired", retry(100))
        .story();
    let cut = |host: &str| What::Cut {
        host: host.to_owned(),
    };
    let all = history([(10, cut("golem-0")), (12, cut("golem-1"))]);
    let found = attempts::none_in_silence(&story, &scenario, &all);
    assert_eq!(rules(&found), ["silence-costs-nothing"]);
    let one = history([(10, cut("golem-0"))]);
    assert_eq!(attempts::none_in_silence(&story, &scenario, &one), []);
    let back = What::Healed {
        host: "golem-1".to_owned(),
    };
    let healed = history([(10, cut("golem-0")), (12, cut("golem-1")), (60, back)]);
    assert_eq!(attempts::none_in_silence(&story, &scenario, &healed), []);
}

#[test]
fn whatever_comes_early_is_found() {
    let begun = || Stream::begin().leased(1, 1, 1);
    let timer = |fires_at: i64| Body::TimerStarted {
        fires_at: Timestamp(fires_at * 1_000_000),
    };
    let reverted = Body::OfferReverted {
        fence: fence(1),
        reason: Arc::from("not-acked"),
    };
    let stopping = Body::AttemptStopping {
        fence: fence(1),
        reason: StopReason::StartToClose,
    };
    let gate = |expires_at: i64| Body::GateExpired {
        expires_at: Timestamp(expires_at * 1_000_000),
    };
    let early = [
        begun().acked(2, 1).failed(3, 1, retry(9)).leased(8, 2, 2),
        Stream::begin()
            .step(1, timer(9))
            .step(8, Body::TimerFired {}),
        Stream::begin().step(1, gate(9)).step(8, gate(20)),
        begun().step(3, reverted),
        begun().acked(2, 1).step(200, stopping),
        begun().acked(2, 1).lost(20, 1, "lease-expired", retry(20)),
    ];
    for (n, stream) in early.into_iter().enumerate() {
        let found = timers::check(&stream.story(), &Profile::LAN);
        assert_eq!(rules(&found), ["never-early"], "{n}");
    }
}

#[test]
fn a_broken_chain_and_a_backup_that_lacks_something_are_found() {
    let stream = StreamId::Workflow(WorkflowId::new("m1").unwrap());
    let first = Record::chain(&Head::EMPTY, 1, b"a\n".to_vec());
    let second = Record::chain(&first.head(), 1, b"b\n".to_vec());
    let whole = Streams::from([(stream.clone(), vec![first.clone(), second.clone()])]);
    assert_eq!(folding::backup(&whole, &whole), []);
    let short = Streams::from([(stream.clone(), vec![first])]);
    assert_eq!(rules(&folding::backup(&whole, &short)), ["backup-is-store"]);
    let broken = Streams::from([(stream, vec![second])]);
    assert_eq!(
        rules(&folding::backup(&broken, &broken)),
        ["backup-is-store"]
    );
}

#[test]
fn a_view_that_the_events_do_not_fold_to_is_found() {
    // Without its plan a stream folds to nothing.
    let found = folding::check(&Stream::begin().story(), &[]);
    assert_eq!(rules(&found), ["fold-is-state"]);
}

#[test]
fn what_has_not_ended_is_found() {
    let found = stuck::check(&["m1 is Running".to_owned()]);
    assert_eq!(rules(&found), ["nothing-stuck"]);
}
