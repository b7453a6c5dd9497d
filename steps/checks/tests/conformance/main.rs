//! Every kind of the family, disturbed at every outside call.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../../capa/tests/stage/mod.rs"]
mod stage;

use drover_ports::Ports;
use drover_step_api::{Registry, Step};
use drover_step_testkit::{Conformance, Scenario, Stage};
use drover_steps_checks::{
    first_node::FirstNode,
    preflight::Preflight,
    watch_routes::{self, WatchRoutes},
};
use serde_json::Value;

use crate::stage::{Migration, Site};

#[test]
fn every_kind_conforms() {
    let mut kinds = Registry::default();
    drover_steps_checks::registry(&mut kinds).unwrap();
    Conformance::new(kinds, Site::new)
        .scenario(scenario::<Preflight>(
            "preflight",
            include_str!("samples/checks.preflight-1.json"),
        ))
        .scenario(scenario::<FirstNode>(
            "verify-first-node",
            include_str!("samples/checks.first_node-1.json"),
        ))
        .scenario(watching())
        .check();
}

/// An hour of watching, in a world in which CAPA knows the network.
fn watching() -> Scenario<Site> {
    let text = include_str!("samples/checks.watch_routes-1.json");
    let mut sample: Value = serde_json::from_str(text).unwrap();
    Scenario::step::<WatchRoutes>(async |stage: &Stage<Site>| {
        let town = stage.world().town.clone();
        let cluster = town.cluster.clone();
        let mut migration = Migration::without(town, &["keep-api-elb"]);
        migration.before("hold-control-plane").await;
        watch_routes::Params {
            cluster,
            minutes: 60,
        }
    })
    .varying_output("/looks", "looks of an attempt that was lost do not count")
    .params_sample(sample["params"].take())
    .output_sample(sample["output"].take())
}

/// The kind in the place that it has in the definition, which is played up to it.
fn scenario<S: Step<Ports>>(step: &'static str, sample: &str) -> Scenario<Site> {
    let mut sample: Value = serde_json::from_str(sample).unwrap();
    Scenario::step::<S>(async move |stage: &Stage<Site>| {
        let town = stage.world().town.clone();
        let mut migration = Migration::without(town, &["keep-api-elb"]);
        migration.before(step).await;
        serde_json::from_value(migration.params(step)).unwrap()
    })
    .params_sample(sample["params"].take())
    .output_sample(sample["output"].take())
}
