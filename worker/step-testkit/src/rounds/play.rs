//! The step under test in one round: attempts, observations, and what the ledger says of them.

use std::collections::HashSet;

use drover_step_api::{Certainty, ObservedJson, Role};
use futures_util::future::LocalBoxFuture;
use serde_json::Value;

use super::{
    bench::Bench,
    broken::{Broken, broken},
    inspect::is_repeatable,
};
use crate::{
    diff::list,
    driven::DrivenStep,
    fault::Script,
    fixture::{Fixture, LedgerEntry},
    outcome::{End, Mode, Outcome},
    rule::Rule,
    running::Running,
    scenario::Waiver,
    stage::Stage,
};

pub(crate) struct Play<'s, W> {
    bench: &'s Bench<'s, W>,
    stage: &'s Stage<W>,
    step: DrivenStep,
    /// What is left of a guard's story; `None` once its span has ended.
    story: Option<LocalBoxFuture<'s, ()>>,
}

impl<'s, W: Fixture> Play<'s, W> {
    pub(crate) fn new(bench: &'s Bench<'s, W>, stage: &'s Stage<W>, step: DrivenStep) -> Self {
        let story = bench.scenario.story.as_ref();
        Self {
            bench,
            stage,
            step,
            story: story.map(|story| story.play(stage)),
        }
    }

    pub(crate) fn is_guard(&self) -> bool {
        self.bench.declaration().role == Role::Guard
    }

    /// True for kinds that declare no effect.
    pub(crate) fn only_reads(&self) -> bool {
        self.bench.declaration().effects.is_empty()
    }

    /// One attempt to its end, inspected.
    pub(crate) async fn run(&mut self, script: Script) -> Result<Outcome, Broken> {
        let mut running = self.step.launch(Mode::Run, script);
        let outcome = match self.advance(&mut running).await {
            Some(end) => running.finish(end),
            None => running.end().await,
        };
        self.inspected(outcome)
    }

    /// One attempt until its script holds it; `Err` when it ended instead.
    pub(crate) async fn run_until_held(&mut self, script: Script) -> Result<Running, Broken> {
        let mut running = self.step.launch(Mode::Run, script);
        match self.advance(&mut running).await {
            None => Ok(running),
            Some(end) => {
                let outcome = self.inspected(running.finish(end))?;
                broken(Rule::FaultMissed, format!("nothing was held: {outcome}"))
            }
        }
    }

    /// The rest of an attempt that was held, after another one took its place.
    pub(crate) async fn let_go(&self, running: Running) -> Result<Outcome, Broken> {
        running.levers().supersede();
        running.let_go();
        self.inspected(running.end().await)
    }

    /// One undisturbed attempt that must get done.
    pub(crate) async fn done(&mut self) -> Result<(Outcome, Value), Broken> {
        let outcome = self.run(Script::Undisturbed).await?;
        match &outcome.end {
            End::Done(output) => {
                let output = output.clone();
                Ok((outcome, output))
            }
            _ => broken(Rule::NotDone, format!("expected done\n{outcome}")),
        }
    }

    pub(crate) async fn compensate(&self, script: Script) -> Result<Outcome, Broken> {
        let running = self.step.launch(Mode::Compensate, script);
        self.inspected(running.end().await)
    }

    /// One undisturbed compensation that must succeed.
    pub(crate) async fn compensated(&self) -> Result<Outcome, Broken> {
        let outcome = self.compensate(Script::Undisturbed).await?;
        match outcome.end {
            End::Compensated => Ok(outcome),
            _ => broken(Rule::NotCompensated, format!("expected success\n{outcome}")),
        }
    }

    pub(crate) async fn observe(&self) -> Result<ObservedJson, Broken> {
        let outcome = self.observation(Script::Undisturbed).await?;
        match outcome.end {
            End::Observed(ObservedJson::Done(_)) if self.is_guard() => broken(
                Rule::ObserveLies,
                "a guard is never done by itself: Done would keep it from being started again",
            ),
            End::Observed(ObservedJson::Foreign(what)) => broken(
                Rule::ObserveLies,
                format!("nothing foreign is in this world, but it observed Foreign: {what}"),
            ),
            End::Observed(observed) => Ok(observed),
            End::Stopped(ref error) if error.certainty() == Certainty::Refused => broken(
                Rule::ObserveLies,
                format!("an observation has nothing to refuse\n{outcome}"),
            ),
            _ => broken(
                Rule::ObserveLies,
                format!("it could not observe\n{outcome}"),
            ),
        }
    }

    /// One observation to its end, whatever that is.
    pub(crate) async fn observation(&self, script: Script) -> Result<Outcome, Broken> {
        let running = self.step.launch(Mode::Observe, script);
        self.inspected(running.end().await)
    }

    /// Lets the world run until nothing more happens by itself.
    pub(crate) async fn settle(&self) {
        self.stage.world().settle().await;
    }

    /// The world after [`Play::settle`]. A snapshot costs more than all calls of a round.
    pub(crate) async fn settled(&self) -> Value {
        self.settle().await;
        self.stage.world().snapshot()
    }

    /// Mutations of this step that changed the world, oldest first.
    pub(crate) fn changes(&self) -> Vec<LedgerEntry> {
        let mut entries = self.ledger();
        entries.retain(|entry| entry.changed);
        entries
    }

    /// Every mutation of this step that the world accepted, oldest first.
    pub(crate) fn ledger(&self) -> Vec<LedgerEntry> {
        let mut entries = self.stage.world().ledger();
        entries.retain(|entry| entry.stamp.step == self.step.id());
        entries
    }

    /// The changes after the first `since` of them, effects that may be repeated left out.
    pub(crate) fn new_changes(&self, since: usize) -> Vec<LedgerEntry> {
        let mut changes = self.changes().split_off(since);
        changes.retain(|entry| !self.is_repeatable(entry));
        changes
    }

    pub(crate) fn is_repeatable(&self, entry: &LedgerEntry) -> bool {
        is_repeatable(&self.bench.declaration(), &entry.stamp.effect)
    }

    /// No effect changed the world twice under one key, unless it may.
    pub(crate) fn changed_once(&self) -> Result<(), Broken> {
        let mut keys = HashSet::new();
        for entry in self.new_changes(0) {
            if !keys.insert(entry.stamp.idempotency_key.clone()) {
                return broken(
                    Rule::ChangedTwice,
                    format!(
                        "{} as effect {:?} changed the world again, under fence {}",
                        entry.action, entry.stamp.effect, entry.stamp.fence
                    ),
                );
            }
        }
        Ok(())
    }

    /// The world, settled, is the expected one outside what the scenario waives; answers it.
    pub(crate) async fn ends_as(
        &self,
        expected: &Value,
        waivers: &[Waiver],
        rule: Rule,
    ) -> Result<Value, Broken> {
        let got = self.settled().await;
        let differences = self.bench.differences(expected, &got, waivers);
        if differences.is_empty() {
            Ok(got)
        } else {
            broken(rule, list(&differences))
        }
    }

    /// The output is the expected one outside what the scenario waives. A guard's output tells how its span went, and
    /// a span with a crash in it went differently.
    pub(crate) fn same_output(&self, expected: &Value, got: &Value) -> Result<(), Broken> {
        if self.is_guard() {
            return Ok(());
        }
        let waivers = &self.bench.scenario.varying_output;
        let differences = self.bench.differences(expected, got, waivers);
        if differences.is_empty() {
            Ok(())
        } else {
            broken(Rule::OutputDiffers, list(&differences))
        }
    }

    fn inspected(&self, outcome: Outcome) -> Result<Outcome, Broken> {
        self.bench.inspect(&outcome)?;
        Ok(outcome)
    }

    /// Drives an attempt until it ends or is held; a guard beside its story, and to its stop when that ends.
    async fn advance(&mut self, running: &mut Running) -> Option<End> {
        if let Some(story) = &mut self.story {
            // Both are cancel-safe: they keep their state in `running` and in the boxed story.
            tokio::select! {
                biased;
                ended = running.until_held() => return ended,
                () = story => self.story = None,
            }
        }
        if self.is_guard() {
            running.levers().stop();
        }
        running.until_held().await
    }
}
