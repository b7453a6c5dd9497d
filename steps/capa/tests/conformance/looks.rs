//! Kinds that only look.

use drover_ports::Cluster;
use drover_sim::Fate;
use drover_step_testkit::{Scenario, Stage};
use drover_steps_capa::{
    generate_target::GenerateTarget, inventory::Inventory, wait_control_plane::WaitControlPlane,
};
use serde_json::json;

use crate::{before, params, samples, scenario, scenario_in, stage::Site};

pub(crate) fn scenarios() -> Vec<Scenario<Site>> {
    vec![
        inventory(),
        scenario::<GenerateTarget>("generate-target"),
        scenario::<WaitControlPlane>("three-control-plane-nodes"),
        one_does_not_join(),
    ]
}

fn one_does_not_join() -> Scenario<Site> {
    scenario_in::<WaitControlPlane>("three-control-plane-nodes", |site| {
        site.town.befall(&Fate::JoinsFail(1));
    })
    .named("a machine that does not join")
}

/// Of a cluster that names a NetworkPool, or that would never be asked for.
fn inventory() -> Scenario<Site> {
    let scenario = Scenario::step::<Inventory>(async |stage: &Stage<Site>| {
        let town = &stage.world().town;
        let object = town.object(
            "infrastructure.giantswarm.io/v1alpha3",
            "AWSCluster",
            &town.cluster,
        );
        let patch = json!({"spec": {"provider": {"nodes": {"networkPool": "shared"}}}});
        town.patch(Cluster::VintageMc, object, patch).await;
        params::<Inventory>(&before(stage, "inventory").await, "inventory")
    });
    samples::of::<Inventory>(scenario)
}
