//! Kinds that are as they should be pass, and the walk is as thorough as it says.

use std::time::Duration;

use drover_step_testkit::{Conformance, Fixture as _, Rule, Scenario, Stage};
use serde_json::json;

use crate::{
    good::{AwaitSeen, ClusterParams, HoldCluster, KeepKey, KeepRegistered, Look, registry},
    world::World,
};

/// The scenarios of all good kinds, as a family would write them.
pub(crate) fn conformance(new_world: fn() -> World) -> Conformance<World> {
    let params = || json!({ "cluster": "abc12" });
    Conformance::new(registry(), new_world)
        .scenario(
            Scenario::step::<HoldCluster>(cluster)
                .params_sample(params())
                .output_sample(json!({ "note": "abc12" }))
                .residue("/objects/Note~1abc12", "the note is kept for the operator"),
        )
        .scenario(
            Scenario::step::<AwaitSeen>(async |stage: &Stage<World>| {
                let params = cluster(stage).await;
                stage.play::<HoldCluster>(&params).await;
                params
            })
            .params_sample(params())
            .output_sample(json!(null)),
        )
        .scenario(
            Scenario::guard::<KeepRegistered>(cluster, async |stage: &Stage<World>| {
                let clock = stage.driver().clock();
                clock.sleep(Duration::from_secs(50)).await;
                stage.world().state().instances.insert("i-2".to_owned());
                clock.sleep(Duration::from_secs(100)).await;
            })
            .params_sample(params())
            .output_sample(json!(null)),
        )
        .scenario(
            Scenario::step::<Look>(cluster)
                .params_sample(params())
                .output_sample(json!(["i-1"])),
        )
        .scenario(
            Scenario::step::<KeepKey>(cluster)
                .params_sample(params())
                .output_sample(json!("len-1")),
        )
}

pub(crate) async fn cluster(stage: &Stage<World>) -> ClusterParams {
    let params = ClusterParams::sample();
    stage.world().add_cluster(&params.cluster);
    params
}

#[test]
fn good_kinds_conform() {
    let report = conformance(World::new).walk("");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.kinds, 5);
    // Hold: 5 calls of which 3 mutate, 3 permits, and 2 calls to undo; the others less. A walk that skips rounds
    // would still be clean.
    assert!(report.rounds > 250, "{report}");
}

#[test]
fn a_world_that_cannot_be_frozen_is_prepared_for_every_round() {
    let report = conformance(World::unfreezable).walk("");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.rounds, conformance(World::new).walk("").rounds);
}

#[test]
fn a_kind_played_twice_is_two_steps() {
    let scenario = Scenario::step::<Look>(async |stage: &Stage<World>| {
        let params = cluster(stage).await;
        stage.play::<HoldCluster>(&params).await;
        stage.play::<HoldCluster>(&params).await;
        let ledger = stage.world().ledger();
        assert_ne!(ledger[0].stamp.step, ledger[3].stamp.step);
        params
    });
    let report = Conformance::new(registry(), World::new)
        .scenario(scenario)
        .walk("toy.look");
    let prepared = !report.failures.iter().any(|f| f.rule == Rule::NotPrepared);
    assert!(prepared, "{report}");
}

#[test]
fn a_filter_walks_the_kinds_it_names_and_none_is_an_error() {
    assert_eq!(conformance(World::new).walk("toy.look").kinds, 1);
    assert!(!conformance(World::new).walk("toy.nothing").is_clean());
}
