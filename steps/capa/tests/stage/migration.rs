//! A sequential player of the definition: the coordinator's part, without one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use drover_core::{
    definition::{Action, Definition, ForEach, ItemValue, Node},
    expr::Scope,
};
use drover_ports::Ports;
use drover_sim::ledger;
use drover_step_api::{
    Certainty, Clock, Compensation, Declaration, LossPolicy, Registry, RetryPolicy, StepError,
};
use drover_step_testkit::{Background, DrivenStep, Driver, End, Mode, Outcome};
use drover_steps_capa::{AWS_AFTER_CARE, AWS_LIVE_MIGRATION};
use serde_json::{Value, json};

use super::Town;

/// All kinds of both families.
pub(crate) fn kinds() -> Registry<Ports> {
    let mut kinds = Registry::default();
    drover_steps_capa::registry(&mut kinds).unwrap();
    drover_steps_checks::registry(&mut kinds).unwrap();
    kinds
}

/// The after-care of a cluster that this migration has migrated: the Cluster API side's issuer is to stay.
pub(crate) fn care_of(migration: &Migration) -> Migration {
    let issuer = &migration.output("inventory")["service_accounts"]["capi_issuer"];
    let issuer = issuer.as_str().unwrap().to_owned();
    Migration::after_care(migration.town.clone(), &[issuer])
}

/// One workflow: the definition in a world.
pub(crate) struct Migration {
    pub(crate) town: Town,
    definition: Definition,
    driver: Driver,
    seen: Seen,
    steps: BTreeMap<String, DrivenStep>,
    guards: BTreeMap<String, Background>,
    /// Steps that are left out, to see the world bite.
    omitted: BTreeSet<&'static str>,
    /// Parameters that an operator has changed, by step.
    amended: BTreeMap<String, Value>,
    /// Violations that guards reported.
    pub(crate) violations: Vec<(String, String)>,
}

struct Seen {
    input: Value,
    outputs: BTreeMap<String, Value>,
}

/// What the expressions of one step may see.
struct StepScope<'a> {
    migration: &'a Migration,
    node: &'a Node,
    /// The item, while its steps do not exist yet.
    item: Option<&'a Value>,
}

impl Scope for StepScope<'_> {
    fn input(&self) -> &Value {
        &self.migration.seen.input
    }

    fn output(&self, step: &str) -> Option<&Value> {
        let definition = &self.migration.definition;
        let source = definition.seen_from(self.node, step)?;
        let id = definition.nodes[source].id.as_str();
        self.migration.seen.outputs.get(id)
    }

    fn item(&self) -> Option<&Value> {
        self.item
            .or_else(|| self.node.item.as_ref().map(|item| &*item.value))
    }
}

impl Migration {
    pub(crate) fn of(town: Town) -> Self {
        let workflow = format!("migrate-{}", town.cluster);
        Self::called(town, &workflow)
    }

    /// With a workflow id of its own: a second one in the same world is another workflow.
    pub(crate) fn called(town: Town, workflow: &str) -> Self {
        let input = json!({ "installation": town.installation, "cluster": town.cluster });
        Self::playing(town, workflow, AWS_LIVE_MIGRATION, input)
    }

    /// The after-care of a cluster that has been migrated, with the issuers that are to stay.
    pub(crate) fn after_care(town: Town, issuers: &[String]) -> Self {
        let workflow = format!("care-{}", town.cluster);
        let input = json!({
            "installation": town.installation, "cluster": town.cluster, "issuers": issuers,
        });
        Self::playing(town, &workflow, AWS_AFTER_CARE, input)
    }

    fn playing(town: Town, workflow: &str, definition: &str, input: Value) -> Self {
        let definition = Definition::parse(definition).unwrap();
        let driver = Driver::new(
            Arc::new(kinds()),
            Arc::new(town.world.door()),
            Arc::new(town.world.clock()),
            town.installation.as_str(),
            workflow,
        );
        Self {
            town,
            definition,
            driver,
            seen: Seen {
                input,
                outputs: BTreeMap::new(),
            },
            steps: BTreeMap::new(),
            guards: BTreeMap::new(),
            omitted: BTreeSet::new(),
            amended: BTreeMap::new(),
            violations: Vec::new(),
        }
    }

    pub(crate) fn without(town: Town, steps: &[&'static str]) -> Self {
        let mut migration = Self::of(town);
        migration.leave_out(steps);
        migration
    }

    pub(crate) fn leave_out(&mut self, steps: &[&'static str]) {
        self.omitted = steps.iter().copied().collect();
    }

    /// What a step that is left out says it has done: an operator who skips one has to say it too.
    pub(crate) fn pretend(&mut self, step: &str, output: Value) {
        self.seen.outputs.insert(step.to_owned(), output);
    }

    /// An operator's retry with a changed parameter.
    pub(crate) fn amend(&mut self, step: &str, parameter: &str, value: Value) {
        let mut params = self.params(step);
        params[parameter] = value;
        self.amended.insert(step.to_owned(), params);
        // Other params are another generation: what was done under the old ones may be done again.
        self.steps.remove(step);
    }

    /// Plays everything.
    pub(crate) async fn play(&mut self) {
        let last = self.ids().pop().unwrap();
        self.until(&last).await;
    }

    /// Plays everything up to and with this step.
    pub(crate) async fn until(&mut self, last: &str) {
        if let Err((id, what)) = self.try_until(last).await {
            panic!("{id}: {what}");
        }
    }

    /// Plays everything up to and with this step, or up to the one that gives up; that one and its last attempt.
    pub(crate) async fn try_until(&mut self, last: &str) -> Result<(), (String, Outcome)> {
        self.walk(last, true).await
    }

    async fn walk(&mut self, to: &str, with_it: bool) -> Result<(), (String, Outcome)> {
        // The list grows when the items of a `forEach` become known; their steps then stand behind it.
        let mut place = 0;
        while let Some(id) = self.ids().get(place).cloned() {
            let is_there = id == to;
            if is_there && !with_it {
                return Ok(());
            }
            if !self.has_output(&id) {
                self.step(&id).await.map_err(|what| (id.clone(), what))?;
            }
            if is_there {
                return Ok(());
            }
            place += 1;
        }
        panic!("there is no step {to}");
    }

    /// Plays everything that comes before this step.
    pub(crate) async fn before(&mut self, step: &str) {
        if let Err((id, what)) = self.walk(step, false).await {
            panic!("{id}: {what}");
        }
    }

    /// The step at which it gives up, and the code of its error. Everything else is a failure of the test.
    pub(crate) async fn gives_up(&mut self) -> (String, String) {
        let (step, error) = self.stops().await;
        (step, error.code().to_owned())
    }

    /// As [`Migration::gives_up`], with the whole error.
    pub(crate) async fn stops(&mut self) -> (String, StepError) {
        let last = self.ids().pop().unwrap();
        match self.try_until(&last).await {
            Ok(()) => panic!("it went through"),
            Err((id, what)) => match what.end {
                End::Stopped(error) => (id, error),
                _ => panic!("{id}: {what}"),
            },
        }
    }

    /// Plays one step to its end, with as many attempts as it takes; the last attempt's outcome when that was no good.
    pub(crate) async fn step(&mut self, id: &str) -> Result<(), Outcome> {
        if self.omitted.contains(id) {
            return Ok(());
        }
        let node = self.definition.nodes[self.definition.index_of(id).unwrap()].clone();
        let runs = node
            .when
            .as_ref()
            .is_none_or(|when| when.evaluate(&self.scope(&node)).unwrap() == json!(true));
        if runs && let Some(for_each) = node.for_each() {
            self.expand(&node, for_each);
        }
        if let (true, Action::Timer(duration)) = (runs, &node.action) {
            self.wait(*duration).await;
        }
        if !runs || node.kind().is_none() {
            return Ok(());
        }
        self.start_guards(id);
        let begun = self.steps.remove(id);
        let step = begun.unwrap_or_else(|| self.driven(&node));
        let policy = self.declaration(id).retry;
        let ended = self.attempts(&step, Mode::Run, policy).await;
        let refused = |outcome: &Outcome| outcome.end.certainty() == Some(Certainty::Refused);
        if !ended.as_ref().is_err_and(refused) {
            // It may have left something.
            self.steps.insert(id.to_owned(), step);
        }
        self.seen.outputs.insert(id.to_owned(), ended?);
        self.end_spans(id).await;
        Ok(())
    }

    fn scope<'a>(&'a self, node: &'a Node) -> StepScope<'a> {
        StepScope {
            migration: self,
            node,
            item: None,
        }
    }

    /// The items of a `forEach` become steps, unless they did before.
    fn expand(&mut self, node: &Node, for_each: &ForEach) {
        let index = self.definition.index_of(node.id.as_str()).unwrap();
        if self.definition.steps_of(index).next().is_some() {
            return;
        }
        let Value::Array(list) = for_each.items.evaluate(&self.scope(node)).unwrap() else {
            panic!("{}: no list", node.id);
        };
        let items: Vec<ItemValue> = list
            .into_iter()
            .map(|value| {
                let scope = StepScope {
                    item: Some(&value),
                    ..self.scope(node)
                };
                let key = for_each.key.evaluate(&scope).unwrap();
                ItemValue {
                    key: Arc::from(key.as_str().unwrap()),
                    value: Arc::new(value),
                }
            })
            .collect();
        self.definition = self.definition.with_items(index, &items).unwrap();
    }

    /// Plays a kind that is not in the definition, as [`Migration::step`] does.
    pub(crate) async fn extra(
        &mut self,
        id: &str,
        kind: &str,
        params: Value,
    ) -> Result<Value, Outcome> {
        let begun = self.steps.remove(id);
        let fresh = || self.driver.step_named(id, kind, 1, params);
        let step = begun.unwrap_or_else(fresh);
        let policy = kinds().get(kind, 1).unwrap().declaration().retry;
        let ended = self.attempts(&step, Mode::Run, policy).await;
        self.steps.insert(id.to_owned(), step);
        ended
    }

    /// An operator's retry of [`Migration::extra`] with other parameters begins anew.
    pub(crate) fn renew(&mut self, id: &str) {
        self.steps.remove(id);
    }

    /// Takes everything back, newest first, with the guards running until their first step is taken back.
    pub(crate) async fn unwind(&mut self) {
        for id in self.ids().into_iter().rev() {
            let from = |node: &&Node| self.spans(node, &id, true);
            let ending: Vec<String> = self
                .guards()
                .filter(from)
                .map(|guard| guard.id.as_str().to_owned())
                .collect();
            if let Some(step) = self.steps.remove(&id) {
                let undone = self.compensated(&id, &step).await;
                undone.unwrap_or_else(|what| panic!("taking back {id}: {what}"));
            }
            for guard in ending {
                if let Some(running) = self.guards.remove(&guard) {
                    self.end_guard(running).await;
                    if let Some(step) = self.steps.remove(&guard) {
                        let undone = self.compensated(&guard, &step).await;
                        undone.unwrap_or_else(|what| panic!("taking back {guard}: {what}"));
                    }
                }
            }
        }
    }

    pub(crate) fn output(&self, step: &str) -> &Value {
        &self.seen.outputs[step]
    }

    pub(crate) fn has_output(&self, step: &str) -> bool {
        self.seen.outputs.contains_key(step)
    }

    pub(crate) fn params(&self, id: &str) -> Value {
        if let Some(params) = self.amended.get(id) {
            return params.clone();
        }
        let node = &self.definition.nodes[self.definition.index_of(id).unwrap()];
        match &node.action {
            Action::Run { with, .. } => with.evaluate(&self.scope(node)).unwrap(),
            Action::Gate(_) | Action::Timer(_) | Action::ForEach(_) => Value::Null,
        }
    }

    /// Steps in the order of the definition, which is an order in which they may run.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.definition
            .reading_order()
            .into_iter()
            .map(|index| &self.definition.nodes[index])
            .filter(|node| !node.is_guard())
            .map(|node| node.id.as_str().to_owned())
            .collect()
    }

    /// Runs the domain clock.
    pub(crate) async fn wait(&self, duration: Duration) {
        self.town.world.clock().sleep(duration).await;
    }

    /// Asserts what the ledger proves: nothing superseded acted, and nothing was done twice.
    pub(crate) fn assert_ledger_is_clean(&self) {
        let world = self.town.world.now();
        let violations = ledger::check_kinds(world.ledger(0), &kinds());
        assert_eq!(violations, []);
    }

    fn driven(&self, node: &Node) -> DrivenStep {
        let kind = node.kind().unwrap();
        let params = self.params(node.id.as_str());
        self.driver
            .step_named(node.id.as_str(), &kind.name, kind.version, params)
    }

    /// As many attempts as the kind's own policy allows, with its waits between them.
    async fn attempts(
        &self,
        step: &DrivenStep,
        mode: Mode,
        policy: RetryPolicy,
    ) -> Result<Value, Outcome> {
        let mut wait = policy.initial_interval;
        for number in 1.. {
            let outcome = step.start(mode).end().await;
            let may_retry = outcome.end.certainty() == Some(Certainty::Transient)
                && number < policy.maximum_attempts;
            match outcome.end {
                End::Done(output) => return Ok(output),
                End::Compensated => return Ok(Value::Null),
                End::Stopped(ref error) if may_retry => {
                    let wanted = error.retry_after().unwrap_or_default();
                    self.wait(wait.max(wanted)).await;
                    wait = wait
                        .mul_f64(policy.backoff_coefficient)
                        .min(policy.maximum_interval);
                }
                _ => return Err(outcome),
            }
        }
        unreachable!("the last attempt ends the loop")
    }

    fn declaration(&self, id: &str) -> Declaration {
        let node = &self.definition.nodes[self.definition.index_of(id).unwrap()];
        let kind = node.kind().unwrap();
        let kinds = kinds();
        kinds.get(&kind.name, kind.version).unwrap().declaration()
    }

    async fn compensated(&self, id: &str, step: &DrivenStep) -> Result<(), Outcome> {
        let declaration = self.declaration(id);
        if declaration.compensation == Compensation::Undo {
            self.attempts(step, Mode::Compensate, declaration.retry)
                .await?;
        }
        Ok(())
    }

    fn guards(&self) -> impl Iterator<Item = &Node> {
        let nodes = self.definition.nodes.iter().map(|node| &**node);
        nodes.filter(|node| node.is_guard())
    }

    fn spans(&self, guard: &Node, id: &str, first: bool) -> bool {
        let span = guard.guard().unwrap();
        let end = if first { span.from } else { span.until };
        self.definition.nodes[end].id.as_str() == id
    }

    fn start_guards(&mut self, id: &str) {
        let starting: Vec<Node> = self
            .guards()
            .filter(|guard| self.spans(guard, id, true))
            .filter(|guard| !self.omitted.contains(guard.id.as_str()))
            .cloned()
            .collect();
        for node in starting {
            let step = self.driven(&node);
            let id = node.id.as_str().to_owned();
            self.guards
                .insert(id.clone(), step.start(Mode::Run).in_background());
            self.steps.insert(id, step);
        }
    }

    /// Ends the guards whose span ends with a step.
    pub(crate) async fn end_spans(&mut self, id: &str) {
        let ending: Vec<String> = self
            .guards()
            .filter(|guard| self.spans(guard, id, false))
            .map(|guard| guard.id.as_str().to_owned())
            .collect();
        for guard in ending {
            if let Some(running) = self.guards.remove(&guard) {
                self.end_guard(running).await;
            }
        }
    }

    async fn end_guard(&mut self, guard: Background) {
        let outcome = guard.stop().await;
        self.violations.extend(outcome.violations.iter().cloned());
        assert!(matches!(outcome.end, End::Done(_)), "a guard: {outcome}");
    }
}
