//! The walk over a registry.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use drover_ports::Ports;
use drover_step_api::{ErasedStep, Registry, Role};

use crate::{
    fixture::Fixture,
    report::{Failure, Report},
    rounds::{Bench, Tally, walk},
    rule::{Round, Rule},
    scenario::Scenario,
};

/// Names kinds to walk, `name/version` or a part of it; unset for all.
pub const KIND_VARIABLE: &str = "DROVER_KIND";

/// A registry, its scenarios, and how to make a world.
pub struct Conformance<W> {
    registry: Arc<Registry<Ports>>,
    new_world: Box<dyn Fn() -> W + Send + Sync>,
    scenarios: Vec<Scenario<W>>,
}

/// A scenario together with the kind that it is for.
struct Case<'a, W> {
    scenario: &'a Scenario<W>,
    kind: &'a Arc<dyn ErasedStep<Ports>>,
}

impl<W: Fixture> Conformance<W> {
    /// `new_world` is called on a tokio runtime with paused time.
    pub fn new(
        registry: Registry<Ports>,
        new_world: impl Fn() -> W + Send + Sync + 'static,
    ) -> Self {
        Self {
            registry: Arc::new(registry),
            new_world: Box::new(new_world),
            scenarios: Vec::new(),
        }
    }

    /// Adds a scenario.
    #[must_use]
    pub fn scenario(mut self, scenario: Scenario<W>) -> Self {
        self.scenarios.push(scenario);
        self
    }

    /// Walks all kinds, or those that the environment variable [`KIND_VARIABLE`] names.
    ///
    /// # Panics
    /// When anything is broken, with the report.
    pub fn check(&self) {
        let only = std::env::var(KIND_VARIABLE).unwrap_or_default();
        let report = self.walk(&only);
        assert!(
            report.is_clean(),
            "{report}\n\nOne kind alone: {KIND_VARIABLE}=<part of its name>\n"
        );
    }

    /// Walks the kinds whose `name/version` contains `only`. Scenarios run on as many threads as there are cores.
    pub fn walk(&self, only: &str) -> Report {
        let mut report = Report::default();
        self.match_up(&mut report);
        let cases = self.cases(only);
        let names: BTreeSet<String> = cases.iter().map(|case| case.scenario.kind()).collect();
        report.kinds = names.len();
        if names.is_empty() && !only.is_empty() {
            report.failures.push(failure(
                only.to_owned(),
                Rule::NoKind,
                "no kind with a scenario has this in its name",
            ));
        }
        let tallies = run_all(&cases, |case| self.run(case));
        let mut used: BTreeMap<String, Vec<&Tally>> = BTreeMap::new();
        for (case, tally) in cases.iter().zip(&tallies) {
            report.rounds += tally.rounds;
            report.failures.extend(tally.failures.iter().cloned());
            used.entry(case.scenario.kind()).or_default().push(tally);
        }
        for (name, tallies) in used {
            let kind = cases.iter().find(|case| case.scenario.kind() == name);
            // A kind that broke in a round has not been everywhere.
            let clean = tallies.iter().all(|tally| tally.failures.is_empty());
            if let Some(case) = kind
                && clean
            {
                report.failures.extend(unused(case.kind, &tallies));
            }
        }
        report
    }

    fn cases(&self, only: &str) -> Vec<Case<'_, W>> {
        let wanted = |scenario: &&Scenario<W>| scenario.kind().contains(only);
        let find = |scenario| Some((scenario, self.kind_of(scenario)?));
        self.scenarios
            .iter()
            .filter(wanted)
            .filter_map(find)
            .map(|(scenario, kind)| Case { scenario, kind })
            .collect()
    }

    fn kind_of(&self, scenario: &Scenario<W>) -> Option<&Arc<dyn ErasedStep<Ports>>> {
        let declaration = &scenario.declaration;
        self.registry.get(declaration.name, declaration.version)
    }

    /// Kinds without scenarios, scenarios without kinds. Never filtered: it is what nobody may forget.
    fn match_up(&self, report: &mut Report) {
        for kind in self.registry.iter() {
            let name = name_of(kind);
            if !self.scenarios.iter().any(|s| s.kind() == name) {
                let what = "add one to the family's conformance test";
                report.failures.push(failure(name, Rule::NoScenario, what));
            }
        }
        for (index, scenario) in self.scenarios.iter().enumerate() {
            let same = |other: &Scenario<W>| {
                other.kind() == scenario.kind() && other.variant == scenario.variant
            };
            let is_guard = scenario.declaration.role == Role::Guard;
            let what = if self.kind_of(scenario).is_none() {
                "the registry has no such kind"
            } else if is_guard && scenario.story.is_none() {
                "the kind is a guard: use Scenario::guard, or its rounds have no end"
            } else if !is_guard && scenario.story.is_some() {
                "the kind is no guard: use Scenario::step"
            } else if self.scenarios[..index].iter().any(same) {
                "there are two scenarios of this kind and name: use Scenario::named"
            } else {
                continue;
            };
            let kind = scenario.kind();
            report.failures.push(failure(kind, Rule::NoKind, what));
        }
    }

    fn run(&self, case: &Case<'_, W>) -> Tally {
        let bench = Bench::new(&self.registry, &*self.new_world, case.scenario, case.kind);
        if case.scenario.story.is_some() == (case.scenario.declaration.role == Role::Guard) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime without I/O needs nothing that could be missing");
            runtime.block_on(walk(&bench));
        }
        bench.into_tally()
    }
}

/// Runs every case once, on as many threads as there are cores; results in the order of the cases.
fn run_all<C: Sync>(cases: &[C], run: impl Fn(&C) -> Tally + Sync) -> Vec<Tally> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let tallies: Vec<Mutex<Tally>> = cases.iter().map(|_| Mutex::default()).collect();
    thread::scope(|scope| {
        for _ in 0..threads.min(cases.len()) {
            scope.spawn(|| {
                while let Some(index) = Some(next.fetch_add(1, Ordering::Relaxed))
                    && let Some(case) = cases.get(index)
                {
                    let tally = run(case);
                    *tallies[index]
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner) = tally;
                }
            });
        }
    });
    tallies
        .into_iter()
        .map(|tally| tally.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

/// Effects and permissions that no round of any scenario used.
fn unused(kind: &Arc<dyn ErasedStep<Ports>>, tallies: &[&Tally]) -> Vec<Failure> {
    let declaration = kind.declaration();
    let effect_is_used = |name: &str| tallies.iter().any(|t| t.effects.contains(name));
    let permission_is_used = |name: &str| tallies.iter().any(|t| t.permissions.contains(name));
    let effects = declaration.effects.iter().map(|effect| effect.name);
    let effects = effects
        .filter(|name| !effect_is_used(name))
        .map(|name| format!("the effect {name:?}"));
    let permissions = declaration.permissions.iter();
    let permissions = permissions
        .filter(|name| !permission_is_used(name))
        .map(|name| format!("the permission {name:?}"));
    effects
        .chain(permissions)
        .map(|what| failure(name_of(kind), Rule::Unused, &what))
        .collect()
}

fn name_of(kind: &Arc<dyn ErasedStep<Ports>>) -> String {
    let declaration = kind.declaration();
    format!("{}/{}", declaration.name, declaration.version)
}

fn failure(kind: String, rule: Rule, detail: &str) -> Failure {
    Failure {
        kind,
        scenario: "",
        round: Round::Coverage,
        call: None,
        rule,
        detail: detail.to_owned(),
    }
}
