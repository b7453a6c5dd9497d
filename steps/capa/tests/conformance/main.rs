//! Every kind of the family, disturbed at every outside call.
//!
//! A scenario brings a fresh world to where its kind starts by playing the definition up to there.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod around;
mod care;
mod guard;
mod looks;
mod meanwhile;
mod nodes;
mod provision;
mod safety;
mod samples;
mod secrets;
#[path = "../stage/mod.rs"]
mod stage;
mod takeover;

use drover_ports::Ports;
use drover_step_api::{Registry, Step};
use drover_step_testkit::{Conformance, Scenario, Stage};

use crate::stage::{Migration, Site};

#[test]
fn every_kind_conforms() {
    let mut kinds = Registry::default();
    drover_steps_capa::registry(&mut kinds).unwrap();
    let scenarios = [
        looks::scenarios(),
        safety::scenarios(),
        secrets::scenarios(),
        provision::scenarios(),
        takeover::scenarios(),
        nodes::scenarios(),
        guard::scenarios(),
        around::scenarios(),
        care::scenarios(),
    ];
    scenarios
        .into_iter()
        .flatten()
        .fold(Conformance::new(kinds, Site::new), Conformance::scenario)
        .check();
}

/// The kind in the place that it has in the definition, which is played up to it without its guard.
fn scenario<S: Step<Ports>>(step: &'static str) -> Scenario<Site> {
    scenario_in::<S>(step, |_| {})
}

/// As [`scenario`], in a world to which something has happened before the kind starts.
fn scenario_in<S: Step<Ports>>(
    step: &'static str,
    before_it: impl Fn(&Site) + Send + Sync + 'static,
) -> Scenario<Site> {
    let scenario = Scenario::step::<S>(async move |stage: &Stage<Site>| {
        let migration = before(stage, step).await;
        before_it(stage.world());
        params::<S>(&migration, step)
    });
    samples::of::<S>(scenario)
}

/// Plays the definition up to a step.
async fn before(stage: &Stage<Site>, step: &str) -> Migration {
    let mut migration = Migration::without(stage.world().town.clone(), &["keep-api-elb"]);
    migration.before(step).await;
    migration
}

/// What the definition passes to a step.
fn params<S: Step<Ports>>(migration: &Migration, step: &str) -> S::Params {
    serde_json::from_value(migration.params(step)).unwrap()
}
