//! What all rounds of one scenario share: how to get a fresh world, and the tally.

use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    sync::Arc,
};

use drover_ports::Ports;
use drover_step_api::{Declaration, ErasedStep, Registry};
use futures_util::FutureExt as _;
use serde_json::Value;

use super::{
    broken::{Broken, broken},
    inspect::{base, inspect},
    origin::{Origin, Set},
    play::Play,
    reference::Point,
};
use crate::{
    diff::{Difference, diff, list, uncovered},
    driver::Driver,
    fixture::Fixture,
    outcome::Outcome,
    report::Failure,
    rule::{Round, Rule},
    scenario::{Scenario, Waiver},
    stage::Stage,
};

/// The step that rounds disturb. Preparation uses other ids.
const STEP: &str = "under-test";
const WORKFLOW: &str = "conformance";
/// A kind that is broken in its core breaks in every round: more than this many findings help nobody.
const MAX_FAILURES: usize = 60;

/// What all rounds of one scenario saw together.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) rounds: usize,
    pub(crate) failures: Vec<Failure>,
    pub(crate) effects: BTreeSet<String>,
    pub(crate) permissions: BTreeSet<String>,
    waivers: BTreeSet<&'static str>,
}

pub(crate) struct Bench<'a, W> {
    registry: &'a Arc<Registry<Ports>>,
    new_world: &'a (dyn Fn() -> W + Send + Sync),
    pub(crate) scenario: &'a Scenario<W>,
    pub(crate) kind: Arc<dyn ErasedStep<Ports>>,
    /// Prepared once, when the world can be frozen.
    origin: OnceCell<Origin<W>>,
    /// The snapshot that every round must start from.
    start: OnceCell<Value>,
    tally: RefCell<Tally>,
}

impl<'a, W: Fixture> Bench<'a, W> {
    pub(crate) fn new(
        registry: &'a Arc<Registry<Ports>>,
        new_world: &'a (dyn Fn() -> W + Send + Sync),
        scenario: &'a Scenario<W>,
        kind: &Arc<dyn ErasedStep<Ports>>,
    ) -> Self {
        Self {
            registry,
            new_world,
            scenario,
            kind: Arc::clone(kind),
            origin: OnceCell::new(),
            start: OnceCell::new(),
            tally: RefCell::default(),
        }
    }

    pub(crate) fn declaration(&self) -> Declaration {
        self.kind.declaration()
    }

    pub(crate) fn into_tally(self) -> Tally {
        self.tally.into_inner()
    }

    /// Runs one round and notes what it found.
    pub(crate) async fn round<T>(
        &self,
        round: Round,
        call: Option<&Point>,
        body: impl Future<Output = Result<T, Broken>>,
    ) -> Option<T> {
        self.tally.borrow_mut().rounds += 1;
        match Box::pin(body).await {
            Ok(value) => Some(value),
            Err(found) => {
                self.note(round, call, found);
                None
            }
        }
    }

    pub(crate) fn note(&self, round: Round, call: Option<&Point>, found: Broken) {
        self.tally.borrow_mut().failures.push(Failure {
            kind: self.scenario.kind(),
            scenario: self.scenario.variant,
            round,
            call: call.map(|point| (point.number, point.action.clone())),
            rule: found.rule,
            detail: found.detail,
        });
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.tally.borrow().failures.is_empty()
    }

    pub(crate) fn has_enough(&self) -> bool {
        self.tally.borrow().failures.len() >= MAX_FAILURES
    }

    /// A world that nobody has touched but the scenario's preparation.
    pub(crate) async fn fresh(&self) -> Result<Set<W>, Broken> {
        let set = match self.origin.get() {
            // Copies of one world are alike; that they stay so is checked once, by `unspoilt`.
            Some(origin) => origin.thawed(),
            None => {
                let set = self.prepared().await?;
                self.starts_as_always(&set)?;
                set
            }
        };
        let early = set.stage.world().ledger();
        if let Some(entry) = early.iter().find(|entry| entry.stamp.step == STEP) {
            let what = format!("the ledger already has {} by this step", entry.action);
            return broken(Rule::UncleanStart, what);
        }
        Ok(set)
    }

    /// After all rounds: a copy of the frozen world is still what was frozen, so no round reached into it.
    pub(crate) fn unspoilt(&self) -> Result<(), Broken> {
        match self.origin.get() {
            Some(origin) => self.starts_as_always(&origin.thawed()),
            None => Ok(()),
        }
    }

    fn starts_as_always(&self, set: &Set<W>) -> Result<(), Broken> {
        let snapshot = set.stage.world().snapshot();
        let start = self.start.get_or_init(|| snapshot.clone());
        let differences = diff(start, &snapshot);
        if differences.is_empty() {
            Ok(())
        } else {
            broken(Rule::UncleanStart, list(&differences))
        }
    }

    /// Prepares a world, and freezes it if that is possible: then every round starts from the copies.
    async fn prepared(&self) -> Result<Set<W>, Broken> {
        let world = (self.new_world)();
        let driver = Driver::new(
            Arc::clone(self.registry),
            world.door(),
            world.clock(),
            world.installation(),
            WORKFLOW,
        );
        let stage = Stage::new(world, driver);
        let prepared = AssertUnwindSafe(self.scenario.prepare.prepare(&stage))
            .catch_unwind()
            .await;
        let params = match prepared {
            Ok(Ok(params)) => params,
            Ok(Err(error)) => {
                let what = format!("its params do not serialize: {error}");
                return broken(Rule::NotPrepared, what);
            }
            Err(payload) => {
                return broken(Rule::NotPrepared, crate::running::message(&*payload));
            }
        };
        let set = Set { stage, params };
        if !set.stage.has_guards()
            && let Some(thaw) = set.stage.world().freeze()
        {
            // From the world itself, so that a copy that is not like it is found.
            self.start.get_or_init(|| set.stage.world().snapshot());
            let origin = self.origin.get_or_init(|| Origin::new(thaw, set));
            return Ok(origin.thawed());
        }
        Ok(set)
    }

    /// The step under test in a fresh world.
    pub(crate) fn play<'s>(&'s self, set: &'s Set<W>) -> Play<'s, W> {
        let Declaration { name, version, .. } = self.declaration();
        let driver = set.stage.driver();
        let step = driver.step_named(STEP, name, version, set.params.clone());
        Play::new(self, &set.stage, step)
    }

    /// Checks what holds for every attempt in every round, and notes what it used.
    pub(crate) fn inspect(&self, outcome: &Outcome) -> Result<(), Broken> {
        let mut tally = self.tally.borrow_mut();
        for call in &outcome.calls {
            tally.permissions.insert(call.action.clone());
            if let Some(stamp) = &call.stamp {
                tally.effects.insert(base(&stamp.effect).to_owned());
            }
        }
        drop(tally);
        inspect(&self.declaration(), outcome)
    }

    /// Differences that no waiver covers.
    pub(crate) fn differences(
        &self,
        expected: &Value,
        got: &Value,
        waivers: &[Waiver],
    ) -> Vec<Difference> {
        uncovered(diff(expected, got), waivers, |waiver| {
            self.tally.borrow_mut().waivers.insert(waiver.pattern);
        })
    }

    /// Waivers that covered nothing in any round.
    pub(crate) fn stale_waivers(&self) -> Vec<&Waiver> {
        let tally = self.tally.borrow();
        let scenario = self.scenario;
        [
            &scenario.residues,
            &scenario.varying,
            &scenario.varying_output,
        ]
        .into_iter()
        .flatten()
        .filter(|waiver| !tally.waivers.contains(waiver.pattern))
        .collect()
    }
}
