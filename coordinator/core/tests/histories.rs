//! Random histories against an independent model.
//!
//! The model keeps its own, much simpler books (who was acked, which lease was handed out last) and never asks the code
//! under test whether a report is stale or a step must be taken back. Each property was seen to fail with a fault
//! planted for it.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use common::{Bench, definition, event_name, kinds, plan, step_id};
use drover_core::{
    ids::Fence,
    view::WorkflowState,
    workflow::{
        Act, Env, Input, Outcome, Phase, Reply, Verdict,
        event::{Body, Certainty, Next, StepFailure},
    },
};
use proptest::prelude::*;
use serde_json::json;

const SHAPES: [&str; 5] = [
    "
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1, needs: [a] }
    - { id: c, uses: t.work/1, needs: [a] }
    - { id: d, uses: t.work/1, needs: [b, c] }
",
    "
  pivot: c
  steps:
    - { id: a, uses: t.read/1 }
    - { id: b, uses: t.work/1, needs: [a], onFailure: unwind }
    - { id: c, uses: t.keep/1, needs: [b] }
    - { id: d, uses: t.work/1, needs: [c] }
",
    "
  pivot: c
  critical: { from: c, until: d }
  guards:
    - { id: g, uses: t.guard/1, from: b, until: e, autonomy: PT2H, onViolation: pause }
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1, needs: [a] }
    - { id: c, uses: t.work/1, needs: [b] }
    - { id: d, uses: t.work/1, needs: [c] }
    - { id: e, uses: t.work/1, needs: [d] }
",
    "
  pivot: after-g
  guards:
    - { id: g, uses: t.guard/1, from: a, until: a, autonomy: PT2H }
  steps:
    - { id: a, uses: t.work/1, onFailure: unwind, retry: { maximumLosses: 1 } }
    - { id: after-g, uses: t.work/1, needs: [a] }
",
    "
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.hand/1, needs: [a] }
    - { id: c, needs: [b], gate: { approvers: [operator], expires: PT1H, evidence: [a] } }
    - { id: d, timer: PT5M, needs: [c] }
    - { id: e, uses: t.work/1, needs: [d], when: \"has(steps.a.output) && has(steps.a.output.from)\" }
",
];

/// What happens. Reports are of the n-th attempt under way, so that most of what is drawn happens and histories go deep.
#[derive(Clone, Debug)]
enum Op {
    /// The n-th step that waits for a worker.
    Take(usize),
    /// Any step, whether it may be leased or not.
    Lease(usize),
    Ack(usize),
    Unack(usize),
    Succeed(usize),
    Fail(usize, Certainty),
    Yield(usize),
    Lose(usize),
    /// The step's own code is silent.
    Hang(usize),
    /// A report of an earlier lease of the step.
    Stale(usize, u8),
    Violate(usize),
    Wait(u16),
    Brake(bool),
    Pause,
    Resume,
    Cancel,
    Terminate,
    Retry(usize),
    Skip(usize),
    Approve(usize),
    Reject(usize),
    Restore,
    /// The attempt looked first, and acts now.
    Act(usize),
    /// An operator who brings everything going again.
    Help,
}

fn op() -> impl Strategy<Value = Op> {
    let step = 0..6_usize;
    let certainty = prop_oneof![
        Just(Certainty::Transient),
        Just(Certainty::Refused),
        Just(Certainty::Failed),
        Just(Certainty::Cancelled),
        Just(Certainty::Gone)
    ];
    prop_oneof![
        30 => step.clone().prop_map(Op::Take),
        2 => step.clone().prop_map(Op::Lease),
        30 => step.clone().prop_map(Op::Ack),
        2 => step.clone().prop_map(Op::Unack),
        12 => step.clone().prop_map(Op::Succeed),
        5 => (step.clone(), certainty).prop_map(|(step, certainty)| Op::Fail(step, certainty)),
        1 => step.clone().prop_map(Op::Yield),
        12 => step.clone().prop_map(Op::Lose),
        1 => step.clone().prop_map(Op::Hang),
        3 => (step.clone(), any::<u8>()).prop_map(|(step, which)| Op::Stale(step, which)),
        1 => step.clone().prop_map(Op::Violate),
        4 => (0..4000_u16).prop_map(Op::Wait),
        1 => any::<bool>().prop_map(Op::Brake),
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
        1 => prop_oneof![2 => Just(Op::Help), 1 => Just(Op::Cancel)],
        1 => prop_oneof![9 => Just(Op::Resume), 1 => Just(Op::Terminate)],
        3 => step.clone().prop_map(Op::Retry),
        1 => step.clone().prop_map(Op::Skip),
        2 => step.clone().prop_map(Op::Approve),
        6 => step.clone().prop_map(Op::Act),
        1 => step.prop_map(Op::Reject),
        1 => prop_oneof![9 => Just(Op::Resume), 1 => Just(Op::Restore)],
        8 => Just(Op::Help),
    ]
}

/// What lies outside, which no restore takes back.
#[derive(Default)]
struct World {
    /// Acked forward attempts since a step was last taken back, and how many of them ended refused.
    attempts: BTreeMap<usize, (u32, u32)>,
    /// Steps whose work is done.
    done: BTreeSet<usize>,
    /// An operator passed something over that was not done: what came after it says nothing about it.
    skipped: bool,
}

/// The model's books, kept from what it handed in and got back.
#[derive(Clone, Default)]
struct Books {
    /// Every lease that was granted, by step, in order.
    leases: BTreeMap<usize, Vec<Fence>>,
    /// Steps in the order of their first acked forward attempt.
    acked: Vec<usize>,
    /// Acked forward attempts by step, and how many of them ended refused.
    attempts: BTreeMap<usize, (u32, u32)>,
    /// The lease under way by step, and whether it was acked.
    under_way: BTreeMap<usize, (Fence, bool)>,
    /// Restored, and not resumed since.
    restored: bool,
    /// Steps taken back or kept, in order.
    taken_back: Vec<usize>,
    /// Steps whose turn to be taken back has come.
    backward: BTreeSet<usize>,
    /// Failures by themselves since the last retry.
    failures: BTreeMap<usize, u32>,
}

struct Run {
    bench: Bench,
    books: Books,
    seen: usize,
    world: World,
}

impl Run {
    fn new(shape: usize) -> Self {
        let plan = plan(&definition(SHAPES[shape]), &kinds());
        let mut bench = Bench::with(plan, json!({}));
        bench.always_replay = false;
        let mut run = Self {
            bench,
            books: Books::default(),
            seen: 0,
            world: World::default(),
        };
        run.read_events();
        run
    }

    fn n(&self) -> usize {
        self.bench.workflow.steps.len()
    }

    fn id(&self, step: usize) -> String {
        self.bench.workflow.plan.id_of(step).to_string()
    }

    fn react(&mut self, input: Input) -> Reply {
        let ended = self.bench.workflow.is_ended();
        let before = self.bench.events.len();
        let reply = self.bench.react(input);
        assert!(
            !ended || self.bench.events.len() == before,
            "the end is the end"
        );
        self.read_events();
        self.check_deadline();
        self.check_reasons();
        reply
    }

    /// Follows the stream with the model's own simple rules.
    fn read_events(&mut self) {
        let events = self.bench.events[self.seen..].to_vec();
        self.seen = self.bench.events.len();
        for event in events {
            let Some(id) = &event.step else {
                if let Body::UnwindingStarted { .. } | Body::Cancelled { .. } = &event.body {
                    self.check_nothing_is_left_out();
                }
                continue;
            };
            let step = self.bench.index(id.as_str());
            match &event.body {
                Body::AttemptLeased { fence, .. } => {
                    assert!(
                        !self.books.under_way.contains_key(&step),
                        "two leases of {id} at once"
                    );
                    let mut beside = self.books.under_way.keys();
                    assert!(
                        id.as_str() != "after-g" || beside.all(|&other| self.id(other) != "g"),
                        "what follows a span is begun while its guard still runs"
                    );
                    let known = self.books.leases.entry(step).or_default();
                    assert!(known.last().is_none_or(|last| last < fence), "fences grow");
                    known.push(*fence);
                    self.books.under_way.insert(step, (*fence, false));
                }
                Body::AttemptAcked { .. } => {
                    let lease = self
                        .books
                        .under_way
                        .get_mut(&step)
                        .expect("only a lease is acked");
                    lease.1 = true;
                    if !self.is_backward(step) {
                        self.books.attempts.entry(step).or_default().0 += 1;
                        self.world.attempts.entry(step).or_default().0 += 1;
                        if !self.books.acked.contains(&step) {
                            self.books.acked.push(step);
                        }
                    }
                }
                Body::AttemptFailed { failure, then, .. } => {
                    self.books.under_way.remove(&step);
                    let backward = self.is_backward(step);
                    if failure.certainty == Certainty::Refused && !backward {
                        self.books.attempts.entry(step).or_default().1 += 1;
                        self.world.attempts.entry(step).or_default().1 += 1;
                    }
                    let failures = self.books.failures.entry(step).or_default();
                    *failures += 1;
                    assert!(*failures <= 3, "{id} was tried more often than allowed");
                    if *then == Next::Fail {
                        let is_removal = failure.certainty == Certainty::Gone;
                        let on_failure = self.bench.workflow.plan.definition.nodes[step].on_failure;
                        let declared = on_failure == drover_core::definition::OnFailure::Unwind;
                        assert!(is_removal || declared, "no outcome unwinds by itself");
                    }
                }
                Body::StepRetried { .. } => {
                    self.books.failures.remove(&step);
                }
                Body::CompensationScheduled {} | Body::ManualCompensationNeeded { .. } => {
                    let beside = self.books.under_way.keys().copied().find(|&other| {
                        !self.is_backward(other) && !self.bench.workflow.plan.is_guard(other)
                    });
                    assert_eq!(
                        beside, None,
                        "{id} is taken back while an attempt still runs"
                    );
                    self.books.failures.remove(&step);
                    self.books.backward.insert(step);
                }
                Body::AttemptSucceeded { .. } => {
                    self.books.under_way.remove(&step);
                    self.world.done.insert(step);
                }
                Body::OfferReverted { .. }
                | Body::AttemptYielded { .. }
                | Body::AttemptCancelled { .. }
                | Body::AttemptLost { .. } => {
                    self.books.under_way.remove(&step);
                }
                Body::AttemptCompensated { .. } => {
                    self.books.under_way.remove(&step);
                    self.books.taken_back.push(step);
                    self.world.attempts.remove(&step);
                    self.world.done.remove(&step);
                }
                Body::StepKept {} => self.books.taken_back.push(step),
                Body::StepSkipped { .. } if self.is_backward(step) => {
                    self.books.taken_back.push(step)
                }
                Body::StepSkipped { .. } => self.world.skipped = true,
                _ => {}
            }
            if event_name(&event) == "Restored" {
                self.books.under_way.clear();
            }
        }
    }

    /// Whatever may have acted outside, in a time that a restore took back as well, is known when the way back begins.
    fn check_nothing_is_left_out(&self) {
        let known = &self.bench.workflow.starts;
        for (step, (acked, refused)) in &self.world.attempts {
            assert!(
                self.world.skipped || acked == refused || known.contains(step),
                "{} may have acted, and is not taken back",
                self.id(*step)
            );
        }
    }

    fn looks_and_finds_it_done(&self, step: usize) -> bool {
        let lease = self.bench.workflow.steps[step].lease.as_deref();
        lease.is_some_and(|lease| lease.observe_first) && self.world.done.contains(&step)
    }

    fn is_backward(&self, step: usize) -> bool {
        self.books.backward.contains(&step)
    }

    /// After a turn nothing that time alone does is left over: otherwise the shell would spin.
    fn check_deadline(&self) {
        let env = Env {
            now: self.bench.now,
            epoch: self.bench.epoch,
            facts: &self.bench.facts,
        };
        if let Some(at) = self.bench.workflow.next_deadline(&env) {
            assert!(at > self.bench.now, "a deadline of the past is left over");
        }
    }

    /// Whoever waits for an operator says why, and a step that failed for good has begun the way back.
    fn check_reasons(&self) {
        let workflow = &self.bench.workflow;
        for step in 0..self.n() {
            let found = &workflow.steps[step];
            let waits = matches!(found.phase, Phase::Paused | Phase::Stuck);
            assert!(
                !waits || found.failure.is_some(),
                "{} waits without a reason",
                self.id(step)
            );
            assert!(
                found.phase != Phase::Failed || workflow.is_unwinding() || workflow.is_ended(),
                "{} failed for good and nothing follows",
                self.id(step)
            );
        }
        let view = self.bench.view();
        assert!(
            !matches!(view.state, WorkflowState::Paused | WorkflowState::Stuck)
                || !view.holds.is_empty(),
            "paused, and nobody is told why"
        );
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Take(nth) => {
                let wanted = self.bench.wanted();
                if !wanted.is_empty() {
                    self.bench.lease(&wanted[nth % wanted.len()]);
                    self.read_events();
                }
            }
            Op::Lease(step) if step < self.n() => {
                let wanted = self.bench.wanted().contains(&self.id(step));
                let reply = self.bench.lease(&self.id(step));
                self.read_events();
                assert_eq!(
                    wanted,
                    matches!(reply, Reply::Leased(_)),
                    "wanted is what can be leased"
                );
            }
            Op::Ack(nth) => {
                if let Some((step, fence, _)) = self.under_way(nth) {
                    self.react(Input::Ack { step, fence });
                }
            }
            Op::Unack(nth) => {
                if let Some((step, fence, _)) = self.under_way(nth) {
                    self.react(Input::Unacked {
                        step,
                        fence,
                        reason: "not-acked".into(),
                    });
                }
            }
            Op::Succeed(nth) => {
                let Some((step, _, _)) = self.under_way(nth) else {
                    return;
                };
                let observed = self.looks_and_finds_it_done(step);
                self.report(nth, |backward| {
                    if backward {
                        Outcome::Compensated
                    } else {
                        Outcome::Output {
                            output: json!({"from": 1}),
                            observed,
                        }
                    }
                });
            }
            Op::Act(nth) => {
                if let Some((step, fence, true)) = self.under_way(nth)
                    && !self.looks_and_finds_it_done(step)
                {
                    self.react(Input::LookEnded { step, fence });
                }
            }
            Op::Fail(nth, certainty) => {
                self.report(nth, |_| Outcome::Failure {
                    failure: StepFailure::new("planted", certainty, "planted"),
                    retry_after: None,
                });
            }
            Op::Yield(nth) => self.report(nth, |_| Outcome::Yielded),
            Op::Lose(nth) => {
                if let Some((step, fence, _)) = self.under_way(nth) {
                    self.react(Input::LeaseLost {
                        step,
                        fence,
                        reason: "lease-expired".into(),
                    });
                }
            }
            Op::Hang(nth) => {
                if let Some((step, fence, true)) = self.under_way(nth) {
                    self.react(Input::HeartbeatTimedOut { step, fence });
                }
            }
            Op::Stale(step, which) => self.stale(step, which),
            Op::Violate(nth) => {
                if let Some((step, fence, _)) = self.under_way(nth) {
                    self.react(Input::Violation {
                        step,
                        fence,
                        code: "seen".into(),
                        message: "seen".into(),
                    });
                }
            }
            Op::Wait(seconds) => {
                self.bench.now = self
                    .bench
                    .now
                    .after(Duration::from_secs(u64::from(seconds)));
                self.react(Input::Tick);
            }
            Op::Brake(on) => self.bench.facts.brake = on,
            Op::Pause => self.act(Act::Pause),
            Op::Resume => {
                self.books.restored = false;
                self.act(Act::Resume);
            }
            Op::Cancel => self.cancel(),
            Op::Terminate => self.act(Act::Terminate),
            Op::Retry(step) if step < self.n() => self.act(Act::Retry {
                step: step_id(&self.id(step)),
                params: None,
            }),
            Op::Skip(step) if step < self.n() => self.act(Act::Skip {
                step: step_id(&self.id(step)),
                output: None,
            }),
            Op::Approve(step) if step < self.n() => {
                self.act(Act::Approve {
                    step: step_id(&self.id(step)),
                    evidence: None,
                });
            }
            Op::Reject(step) if step < self.n() => {
                self.act(Act::Reject {
                    step: step_id(&self.id(step)),
                    evidence: None,
                });
            }
            Op::Restore => {
                self.bench.epoch += 1_000_000;
                self.books.under_way.clear();
                self.books.restored = true;
                self.react(Input::Restored {
                    head: common::digest("head"),
                });
            }
            Op::Help => {
                self.apply(&Op::Brake(false));
                self.apply(&Op::Resume);
                for step in 0..self.n() {
                    self.apply(&Op::Approve(step));
                    self.apply(&Op::Retry(step));
                }
            }
            Op::Lease(_) | Op::Retry(_) | Op::Skip(_) | Op::Approve(_) | Op::Reject(_) => {}
        }
    }

    /// Does these, and has no memory of them: what they did outside stays.
    fn lose_track_of(&mut self, ops: &[Op]) {
        let (bench, books, seen) = (self.bench.clone(), self.books.clone(), self.seen);
        for op in ops {
            self.apply(op);
        }
        let (now, epoch) = (self.bench.now, self.bench.epoch);
        self.bench = Bench {
            now,
            epoch,
            ..bench
        };
        (self.books, self.seen) = (books, seen);
        self.apply(&Op::Restore);
    }

    fn act(&mut self, act: Act) {
        self.react(Input::Act {
            actor: common::actor(),
            reason: "because".to_owned(),
            act,
        });
    }

    /// The model's own idea of when a cancel is allowed: the pivot was never acked, or every ack of it ended refused; and no
    /// restore waits to be resumed.
    fn cancel(&mut self) {
        let pivot = self.bench.workflow.plan.definition.pivot;
        let skipped_or_done =
            pivot.is_some_and(|pivot| self.bench.workflow.steps[pivot].phase.satisfies_needs());
        let acked = pivot
            .and_then(|pivot| self.books.attempts.get(&pivot))
            .is_some_and(|(acked, refused)| acked > refused);
        let open = !self.bench.workflow.is_ended() && !self.bench.workflow.is_unwinding();
        let not_looked = self.bench.workflow.not_looked().is_some();
        let reply = self.react(Input::Act {
            actor: common::actor(),
            reason: String::new(),
            act: Act::Cancel,
        });
        if open {
            assert_eq!(
                matches!(reply, Reply::Refused(_)),
                acked || skipped_or_done || self.books.restored || not_looked,
                "cancel, the pivot, and a restore"
            );
        }
    }

    /// The n-th attempt under way: its step, its fence, whether it was acked.
    fn under_way(&self, nth: usize) -> Option<(usize, Fence, bool)> {
        let under_way = &self.books.under_way;
        let nth = nth.checked_rem(under_way.len())?;
        let (step, (fence, acked)) = under_way.iter().nth(nth)?;
        Some((*step, *fence, *acked))
    }

    fn report(&mut self, nth: usize, outcome: impl Fn(bool) -> Outcome) {
        let Some((step, fence, _)) = self.under_way(nth) else {
            return;
        };
        let backward = self.is_backward(step);
        let reply = self.react(Input::Result {
            step,
            fence,
            outcome: outcome(backward),
        });
        assert!(
            matches!(reply, Reply::Verdict(Verdict::Keep | Verdict::Completed)),
            "{reply:?}"
        );
    }

    /// Reports of leases that the books know to be old.
    fn stale(&mut self, step: usize, which: u8) {
        let Some(leases) = self.books.leases.get(&step) else {
            return;
        };
        let current = self.books.under_way.get(&step).map(|(fence, _)| *fence);
        let old: Vec<Fence> = leases
            .iter()
            .copied()
            .filter(|fence| Some(*fence) != current)
            .collect();
        let Some(fence) = old.get(usize::from(which) % old.len().max(1)).copied() else {
            return;
        };
        let before = self.bench.events.len();
        let output = || Outcome::Output {
            output: json!("stale"),
            observed: false,
        };
        for input in [
            Input::Ack { step, fence },
            Input::Result {
                step,
                fence,
                outcome: output(),
            },
            Input::LeaseLost {
                step,
                fence,
                reason: "late".into(),
            },
            Input::Checkpoint {
                step,
                fence,
                number: 99,
                data: json!("stale"),
            },
            Input::Unacked {
                step,
                fence,
                reason: "late".into(),
            },
            Input::HeartbeatTimedOut { step, fence },
            Input::LookEnded { step, fence },
        ] {
            let reply = self.react(input);
            assert!(
                !matches!(reply, Reply::Verdict(Verdict::Keep)),
                "a stale report counts"
            );
        }
        assert_eq!(
            self.bench.events.len(),
            before,
            "a stale report changed something"
        );
    }

    /// Everybody does their best: the workflow must come to an end.
    fn fair(&mut self) {
        for _ in 0..400 {
            if self.bench.workflow.is_ended() {
                return;
            }
            self.apply(&Op::Help);
            for step in 0..self.n() {
                if self.bench.phase(&self.id(step)) == Phase::Stuck {
                    // What a person has to take back never ends by itself.
                    self.apply(&Op::Skip(step));
                }
                let stopping = self.bench.workflow.steps[step]
                    .lease
                    .as_ref()
                    .is_some_and(|lease| lease.stopping.is_some());
                let is_guard = self.bench.workflow.plan.is_guard(step);
                let mut under_way = self.books.under_way.keys();
                let Some(nth) = under_way.position(|&other| other == step) else {
                    continue;
                };
                self.apply(&Op::Ack(nth));
                if stopping {
                    self.apply(&Op::Fail(nth, Certainty::Cancelled));
                } else if !is_guard || self.is_backward(step) {
                    self.apply(&Op::Succeed(nth));
                }
            }
            for id in self.bench.wanted() {
                self.bench.lease(&id);
                self.read_events();
            }
            self.apply(&Op::Wait(61));
        }
        panic!("no end: {:#?}", self.bench.view());
    }

    /// At the end of unwinding: reverse order of the first acks, complete, and nothing that only ever refused.
    fn check_unwound(&self) {
        if self.bench.state() != WorkflowState::RolledBack {
            return;
        }
        let expected: Vec<usize> = self
            .books
            .acked
            .iter()
            .rev()
            .copied()
            .filter(|step| {
                let (acked, refused) = self.books.attempts[step];
                acked > refused
            })
            .collect();
        assert_eq!(self.books.taken_back, expected, "{:?}", self.bench.types());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_rules_and_comes_to_an_end(
        shape in 0..SHAPES.len(),
        ops in proptest::collection::vec(op(), 1..120),
    ) {
        let mut run = Run::new(shape);
        for op in &ops {
            run.apply(op);
        }
        run.bench.check_replay();
        run.fair();
        run.check_unwound();
        run.bench.check_replay();
    }

    #[test]
    fn a_way_back_after_a_restore_leaves_nothing_out(
        shape in 0..SHAPES.len(),
        kept in proptest::collection::vec(op(), 0..40),
        lost in proptest::collection::vec(op(), 0..40),
        since in proptest::collection::vec(op(), 0..20),
    ) {
        let mut run = Run::new(shape);
        for op in &kept {
            run.apply(op);
        }
        run.lose_track_of(&lost);
        run.apply(&Op::Resume);
        for op in &since {
            run.apply(op);
        }
        run.cancel();
        run.bench.check_replay();
        run.fair();
        run.check_unwound();
    }
}
