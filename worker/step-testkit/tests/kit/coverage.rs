//! What the walk finds apart from a kind's own doings: what is missing, and what does not fit.

use std::sync::atomic::{AtomicU32, Ordering};

use drover_ports::Ports;
use drover_step_api::{Registry, Step};
use drover_step_testkit::{Conformance, Failure, Report, Round, Rule, Scenario, Stage};
use serde_json::json;

use crate::{
    conforming::cluster,
    flawed::{Flawed, flaws},
    good::{ClusterParams, HoldCluster, KeepRegistered, Look},
    planted::{assert_found, registry_of, scenario},
    world::{CA_KEY, World},
};

fn walk<S: Step<Ports>>(step: S, scenario: Scenario<World>) -> Report {
    Conformance::new(registry_of(step), World::new)
        .scenario(scenario)
        .walk("")
}

fn look(prepare: impl AsyncFn(&Stage<World>) -> ClusterParams + Send + Sync + 'static) -> Report {
    let scenario = Scenario::step::<Look>(prepare)
        .params_sample(json!({ "cluster": "abc12" }))
        .output_sample(json!([]));
    walk(Look, scenario)
}

#[test]
fn a_kind_without_a_scenario_fails_by_name() {
    let report = Conformance::new(registry_of(Look), World::new).walk("");
    assert_found(&report, Round::Coverage, Rule::NoScenario);
    assert_eq!(report.failures[0].kind, "toy.look/1");
}

#[test]
fn a_scenario_without_a_kind_fails_by_name() {
    let report = Conformance::new(Registry::default(), World::new)
        .scenario(Scenario::step::<Look>(cluster))
        .walk("");
    assert_found(&report, Round::Coverage, Rule::NoKind);
    assert_eq!(report.failures[0].kind, "toy.look/1");
}

#[test]
fn a_guard_without_a_story_and_a_step_with_one_are_found() {
    let report = walk(KeepRegistered, Scenario::step::<KeepRegistered>(cluster));
    assert_found(&report, Round::Coverage, Rule::NoKind);
    let story = async |_: &Stage<World>| {};
    let report = walk(Look, Scenario::guard::<Look>(cluster, story));
    assert_found(&report, Round::Coverage, Rule::NoKind);
}

#[test]
fn two_scenarios_of_one_kind_need_names() {
    let two = |second: Scenario<World>| {
        Conformance::new(
            registry_of(Flawed::<{ flaws::NONE }>::default()),
            World::new,
        )
        .scenario(scenario::<Flawed<{ flaws::NONE }>>())
        .scenario(second)
        .walk("")
    };
    let second = scenario::<Flawed<{ flaws::NONE }>>;
    assert_found(&two(second()), Round::Coverage, Rule::NoKind);
    let report = two(second().named("once more"));
    assert!(report.is_clean(), "{report}");
}

#[test]
#[should_panic(expected = "toy.look/1: coverage: has no scenario")]
fn a_check_panics_with_the_report() {
    Conformance::new(registry_of(Look), World::new).check();
}

#[test]
fn a_preparation_that_panics_is_found() {
    let report = look(async |_| panic!("no such cluster"));
    assert_found(&report, Round::Twice, Rule::NotPrepared);
    assert!(report.to_string().contains("no such cluster"), "{report}");
}

#[test]
fn a_world_that_starts_otherwise_each_time_is_found() {
    static ROUNDS: AtomicU32 = AtomicU32::new(0);
    let scenario = Scenario::step::<Look>(async |stage: &Stage<World>| {
        let round = ROUNDS.fetch_add(1, Ordering::Relaxed);
        stage.world().add_cluster(&format!("c{round}"));
        cluster(stage).await
    });
    let report = Conformance::new(registry_of(Look), World::unfreezable)
        .scenario(scenario)
        .walk("");
    assert_found(&report, Round::Twice, Rule::UncleanStart);
}

#[test]
fn a_world_in_which_the_step_has_acted_is_found() {
    let scenario = Scenario::step::<HoldCluster>(async |stage: &Stage<World>| {
        let params = cluster(stage).await;
        stage
            .driver()
            .play::<HoldCluster>("under-test", &params)
            .await;
        params
    });
    assert_found(
        &walk(HoldCluster, scenario),
        Round::Twice,
        Rule::UncleanStart,
    );
}

#[test]
fn copies_that_share_a_world_are_found() {
    let scenario = Scenario::guard::<KeepRegistered>(
        async |stage: &Stage<World>| {
            stage.world().state().copies_share = true;
            cluster(stage).await
        },
        // The guard itself does nothing, so that only the story is left to be seen.
        async |stage: &Stage<World>| {
            stage.world().state().instances.clear();
            stage.world().state().registered.insert("i-7".to_owned());
        },
    );
    let report = walk(KeepRegistered, scenario);
    assert_found(&report, Round::Coverage, Rule::UncleanStart);
}

#[test]
fn a_world_whose_clock_stands_is_found() {
    let report = Conformance::new(registry_of(Look), World::timeless)
        .scenario(Scenario::step::<Look>(cluster))
        .walk("");
    assert_found(&report, Round::Twice, Rule::NotPrepared);
}

#[test]
fn a_world_without_a_ledger_is_found() {
    let scenario = Scenario::step::<HoldCluster>(async |stage: &Stage<World>| {
        stage.world().state().forgets_ledger = true;
        cluster(stage).await
    });
    assert_found(
        &walk(HoldCluster, scenario),
        Round::Twice,
        Rule::LedgerSilent,
    );
}

#[test]
fn a_waiver_that_nothing_needs_is_found() {
    type Right = Flawed<{ flaws::NONE }>;
    for scenario in [
        scenario::<Right>().residue("/objects/Note~1x", "a test"),
        scenario::<Right>().varying("/objects/*/status", "a test"),
        scenario::<Right>().varying_output("/text", "a test"),
    ] {
        let report = walk(Right::default(), scenario);
        assert_found(&report, Round::Coverage, Rule::StaleWaiver);
        assert_eq!(report.failures.len(), 1, "{report}");
    }
}

#[test]
fn a_waiver_of_a_kind_that_breaks_is_not_called_stale() {
    type Forgetful = Flawed<{ flaws::FORGETS_EFFECT }>;
    let scenario = scenario::<Forgetful>().varying("/nothing", "a test");
    let report = walk(Forgetful::default(), scenario);
    let stale = |failure: &Failure| failure.rule == Rule::StaleWaiver;
    assert!(!report.failures.iter().any(stale), "{report}");
}

#[test]
fn a_waiver_covers_what_it_names() {
    type Momentary = Flawed<{ flaws::OUTPUT_OF_THE_MOMENT }>;
    let report = walk(
        Momentary::default(),
        scenario::<Momentary>().varying_output("/text", "it tells how it was found"),
    );
    assert!(report.is_clean(), "{report}");

    // What is left may also be observed as a part.
    type Forgetful = Flawed<{ flaws::FORGETS_EFFECT }>;
    let report = walk(
        Forgetful::default(),
        scenario::<Forgetful>()
            .residue("/objects/*/metadata/annotations/held", "it is kept")
            .residue("/objects/*/status", "the controller goes by the annotation"),
    );
    assert!(report.is_clean(), "{report}");
}

#[test]
fn params_over_their_limit_are_found() {
    let report = look(async |_| ClusterParams {
        cluster: "x".repeat(70_000),
    });
    assert_found(&report, Round::Shape, Rule::TooLarge);
}

#[test]
fn a_key_in_the_params_is_found() {
    let report = look(async |_| ClusterParams {
        cluster: CA_KEY.to_owned(),
    });
    assert_found(&report, Round::Shape, Rule::Leak);
}
