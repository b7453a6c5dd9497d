//! A workflow on a bench: inputs go in by step id, every event is folded a second time and must give the same state.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of the bench"
)]

use std::{sync::Arc, time::Duration};

use drover_core::{
    declaration::{Compensation, Effect, KindDeclaration, LossPolicy, RetryPolicy, Role, Timeouts},
    definition::{Definition, Kinds},
    ids::{
        Actor, Digest, Fence, InstallationName, KindRef, PoolName, StepId, WorkerId, WorkflowId,
    },
    plan::{Plan, PlanSource},
    time::Timestamp,
    view,
    workflow::{
        Act, Env, Facts, Input, NotLive, Outcome, Phase, Rejection, Reply, Verdict, Workflow,
        event::{Body, Certainty, Created, Event, StepFailure},
    },
};
use serde_json::{Value, json};

/// Facts that a test sets.
#[derive(Clone, Debug, Default)]
pub struct Set {
    pub brake: bool,
    pub uncharged: Duration,
}

impl Facts for Set {
    fn brake(&self) -> bool {
        self.brake
    }

    fn uncharged(
        &self,
        _: &InstallationName,
        _: Option<&WorkerId>,
        _: Timestamp,
        _: Timestamp,
    ) -> Duration {
        self.uncharged
    }
}

/// A kind with sensible declarations, to be bent by a test.
pub fn kind(name: &str) -> KindDeclaration {
    KindDeclaration {
        kind: KindRef::parse(name).unwrap(),
        summary: "does something".to_owned(),
        role: Role::Step,
        class: "light".to_owned(),
        reach: vec![],
        effects: vec![Effect {
            name: "change".to_owned(),
            repeatable: false,
        }],
        compensation: Compensation::Undo,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: Timeouts {
            start_to_close: Some(Duration::from_secs(600)),
            ..Timeouts::default()
        },
        retry: RetryPolicy {
            initial_interval: Duration::from_secs(10),
            maximum_interval: Duration::from_secs(60),
            backoff_coefficient: 2.0,
            maximum_attempts: 3,
            maximum_losses: 2,
        },
        permissions: vec![],
        params_schema: json!({"type": "object"}),
        output_schema: json!(true),
    }
}

/// `t.work/1` (undo), `t.read/1` (read-only), `t.keep/1` (roll forward), `t.hand/1` (manual), `t.guard/1`.
pub fn kinds() -> Kinds {
    let work = kind("t.work/1");
    let read = KindDeclaration {
        effects: vec![],
        compensation: Compensation::RollForward,
        ..kind("t.read/1")
    };
    let keep = KindDeclaration {
        compensation: Compensation::RollForward,
        ..kind("t.keep/1")
    };
    let hand = KindDeclaration {
        compensation: Compensation::Manual("unplug it".to_owned()),
        ..kind("t.hand/1")
    };
    let guard = KindDeclaration {
        role: Role::Guard,
        class: "guard".to_owned(),
        loss_policy: LossPolicy::RaceOk,
        timeouts: Timeouts::default(),
        ..kind("t.guard/1")
    };
    [work, read, keep, hand, guard]
        .into_iter()
        .map(|declaration| (declaration.kind.clone(), Arc::new(declaration)))
        .collect()
}

/// A definition from the part below `spec:` that matters to a test.
pub fn definition(spec: &str) -> String {
    format!(
        "apiVersion: drover/v1\nkind: WorkflowDefinition\nmetadata: {{ name: test, version: 1 }}\nspec:\n  input: {{ type: object }}\n  placement: {{ installation: golem }}\n{spec}"
    )
}

/// Compiles a plan and insists that it is sound.
pub fn plan(text: &str, kinds: &Kinds) -> Arc<Plan> {
    let parsed = Definition::parse(text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let problems = parsed.validate(kinds);
    assert!(problems.is_empty(), "{problems:#?}");
    let source = PlanSource {
        definition: text.to_owned(),
        kinds: parsed.kinds().map(|kind| (*kinds[kind]).clone()).collect(),
    };
    Arc::new(Plan::compile(&source).unwrap())
}

#[derive(Clone)]
pub struct Bench {
    pub workflow: Workflow,
    pub events: Vec<Event>,
    pub now: Timestamp,
    pub epoch: u64,
    pub facts: Set,
    /// Every plan that it has been pinned to.
    pub plans: Vec<Arc<Plan>>,
    /// Fold the stream again after every input; random histories do it once at the end.
    pub always_replay: bool,
}

impl Bench {
    pub fn start(spec: &str) -> Self {
        Self::with(plan(&definition(spec), &kinds()), json!({}))
    }

    pub fn with(plan: Arc<Plan>, input: Value) -> Self {
        let now = Timestamp(1_000_000_000);
        let facts = Set::default();
        let created = Created {
            id: WorkflowId::new("m1").unwrap(),
            definition: Arc::clone(&plan.definition.name),
            version: plan.definition.version,
            definition_digest: plan.definition_digest,
            plan: plan.digest,
            input: Arc::new(input),
            exclusive: None,
            installation: InstallationName::new("golem").unwrap(),
            reason: String::new(),
        };
        let env = Env {
            now,
            epoch: 1,
            facts: &facts,
        };
        let (workflow, decision) = Workflow::create(created, actor(), Arc::clone(&plan), &env);
        let bench = Self {
            workflow,
            events: decision.events,
            now,
            epoch: 1,
            facts,
            plans: vec![plan],
            always_replay: true,
        };
        bench.check_replay();
        bench
    }

    pub fn react(&mut self, input: Input) -> Reply {
        let facts = self.facts.clone();
        let env = Env {
            now: self.now,
            epoch: self.epoch,
            facts: &facts,
        };
        let decision = self.workflow.react(input, &env);
        self.events.extend(decision.events);
        if self.always_replay {
            self.check_replay();
        }
        decision.reply
    }

    /// Folding the stream gives the live state.
    pub fn check_replay(&self) {
        let mut folded = Workflow::begin(&self.events[0], Arc::clone(&self.plans[0]));
        for event in &self.events[1..] {
            let mut line = Vec::new();
            event.write_line(&mut line);
            let event = Event::read_line(&line).unwrap();
            match &event.body {
                Body::Replanned { plan: digest, .. } => {
                    let plan = self.plans.iter().find(|plan| plan.digest == *digest);
                    folded.replan(&event, plan.unwrap());
                }
                _ => folded.apply(&event),
            }
        }
        assert_eq!(
            format!("{folded:?}"),
            format!("{:?}", self.workflow),
            "replay differs"
        );
    }

    pub fn index(&self, step: &str) -> usize {
        self.workflow
            .plan
            .index_of(step)
            .unwrap_or_else(|| panic!("no step {step}"))
    }

    pub fn phase(&self, step: &str) -> Phase {
        self.workflow.steps[self.index(step)].phase
    }

    pub fn fence(&self, step: &str) -> Fence {
        self.workflow.steps[self.index(step)]
            .lease
            .as_ref()
            .expect("a lease")
            .fence
    }

    pub fn wanted(&self) -> Vec<String> {
        let env = Env {
            now: self.now,
            epoch: self.epoch,
            facts: &self.facts,
        };
        self.workflow
            .wanted(&env)
            .into_iter()
            .map(|wanted| self.workflow.plan.id_of(wanted.step).to_string())
            .collect()
    }

    pub fn lease(&mut self, step: &str) -> Reply {
        let step = self.index(step);
        self.react(Input::Lease {
            step,
            worker: WorkerId::new("w1").unwrap(),
            incarnation: Arc::from("i1"),
            pool: PoolName::new("default").unwrap(),
        })
    }

    pub fn ack(&mut self, step: &str) -> Reply {
        let (step, fence) = (self.index(step), self.fence(step));
        self.react(Input::Ack { step, fence })
    }

    /// Leased and acked.
    pub fn begin(&mut self, step: &str) -> Fence {
        assert!(
            matches!(self.lease(step), Reply::Leased(_)),
            "{step} is not wanted: {:?}",
            self.wanted()
        );
        assert!(matches!(self.ack(step), Reply::Verdict(Verdict::Keep)));
        self.fence(step)
    }

    pub fn result(&mut self, step: &str, fence: Fence, outcome: Outcome) -> Reply {
        let step = self.index(step);
        self.react(Input::Result {
            step,
            fence,
            outcome,
        })
    }

    pub fn succeed(&mut self, step: &str, output: Value) {
        let fence = self.fence(step);
        let reply = self.result(
            step,
            fence,
            Outcome::Output {
                output,
                observed: false,
            },
        );
        assert!(matches!(reply, Reply::Verdict(Verdict::Keep)), "{reply:?}");
    }

    /// The attempt looked first, and acts now.
    pub fn acts(&mut self, step: &str) {
        let (step, fence) = (self.index(step), self.fence(step));
        self.react(Input::LookEnded { step, fence });
    }

    /// The attempt looked first, and there was nothing left to do.
    pub fn found_done(&mut self, step: &str) {
        let fence = self.fence(step);
        let reply = self.result(
            step,
            fence,
            Outcome::Output {
                output: json!({"from": step}),
                observed: true,
            },
        );
        assert!(matches!(reply, Reply::Verdict(Verdict::Keep)), "{reply:?}");
    }

    /// Back to where it stands now, as after a restore, and resumed.
    pub fn restore(&mut self) {
        self.epoch += 1_000_000;
        self.react(Input::Restored {
            head: digest("head"),
        });
        self.act(Act::Resume);
    }

    /// Leased, acked and ended well.
    pub fn run(&mut self, step: &str) {
        self.begin(step);
        self.succeed(step, json!({"from": step}));
    }

    pub fn fail(&mut self, step: &str, certainty: Certainty) {
        let fence = self.fence(step);
        let failure = StepFailure::new("planted", certainty, "it did not work");
        let reply = self.result(
            step,
            fence,
            Outcome::Failure {
                failure,
                retry_after: None,
            },
        );
        assert!(matches!(reply, Reply::Verdict(Verdict::Keep)), "{reply:?}");
    }

    pub fn compensated(&mut self, step: &str) {
        let fence = self.fence(step);
        let reply = self.result(step, fence, Outcome::Compensated);
        assert!(matches!(reply, Reply::Verdict(Verdict::Keep)), "{reply:?}");
    }

    /// The compensation is leased, acked and ended well.
    pub fn undo(&mut self, step: &str) {
        self.begin(step);
        self.compensated(step);
    }

    pub fn lose(&mut self, step: &str) {
        let (step, fence) = (self.index(step), self.fence(step));
        self.react(Input::LeaseLost {
            step,
            fence,
            reason: Arc::from("lease-expired"),
        });
    }

    pub fn after(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
        self.react(Input::Tick);
    }

    pub fn try_act(&mut self, act: Act) -> Result<String, Rejection> {
        self.try_act_by(actor(), act)
    }

    pub fn try_act_by(&mut self, actor: Actor, act: Act) -> Result<String, Rejection> {
        match self.react(Input::Act {
            actor,
            reason: "because".to_owned(),
            act,
        }) {
            Reply::Done(message) => Ok(message),
            Reply::Refused(rejection) => Err(rejection),
            other => panic!("{other:?}"),
        }
    }

    pub fn act(&mut self, act: Act) -> String {
        self.try_act(act)
            .unwrap_or_else(|rejection| panic!("{rejection}"))
    }

    /// Another plan, from the part below `spec:`.
    pub fn try_replan(&mut self, spec: &str) -> Result<String, Rejection> {
        let plan = plan(&definition(spec), &kinds());
        self.plans.push(Arc::clone(&plan));
        self.try_act(Act::Replan { plan })
    }

    pub fn view(&self) -> view::Workflow {
        let env = Env {
            now: self.now,
            epoch: self.epoch,
            facts: &self.facts,
        };
        self.workflow.describe(&env, &NotLive)
    }

    pub fn state(&self) -> view::WorkflowState {
        self.view().state
    }

    pub fn types(&self) -> Vec<String> {
        self.events.iter().map(event_name).collect()
    }

    pub fn count(&self, name: &str) -> usize {
        self.types()
            .iter()
            .filter(|found| found.as_str() == name)
            .count()
    }
}

pub fn event_name(event: &Event) -> String {
    let mut line = Vec::new();
    event.write_line(&mut line);
    let value: Value = serde_json::from_slice(&line).unwrap();
    value["type"].as_str().unwrap().to_owned()
}

pub fn actor() -> Actor {
    Actor(Arc::from("unverified:test"))
}

pub fn step_id(text: &str) -> StepId {
    StepId::new(text).unwrap()
}

pub fn retry(step: &str) -> Act {
    Act::Retry {
        step: step_id(step),
        params: None,
    }
}

pub fn skip(step: &str) -> Act {
    Act::Skip {
        step: step_id(step),
        output: None,
    }
}

pub fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

pub fn body_of<'a>(events: &'a [Event], name: &str) -> Option<&'a Body> {
    events
        .iter()
        .rev()
        .find(|event| event_name(event) == name)
        .map(|event| &event.body)
}
