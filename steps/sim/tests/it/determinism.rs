//! One seed, one world: whatever the pieces in which time passes, whatever runs beside.

use drover_model::VintageCluster;
use drover_sim::{FaultKind, Genesis, World, WorldConfig, generate, sample_crs};
use drover_step_api::Timestamp;
use proptest::prelude::*;

use crate::{
    by_hand::Omit,
    stage::{KEYS, Stage, minutes},
};

fn same(a: &World, b: &World) {
    assert_eq!(a.normalized(), b.normalized());
    assert_eq!(a.report(), b.report());
    let (a, b): (Vec<_>, Vec<_>) = (a.ledger(0).collect(), b.ledger(0).collect());
    assert_eq!(a, b);
}

#[test]
fn the_same_seed_and_calls_give_the_same_world() {
    let config = || WorldConfig {
        faults: vec![FaultKind::SlowBoot.into()],
        ..WorldConfig::default()
    };
    let mut worlds = (0..2).map(|_| {
        let mut stage = Stage::of(sample_crs(), config());
        stage.migrate(sample_crs(), Omit::default());
        stage.wait(minutes(30));
        stage.world
    });
    same(&worlds.next().unwrap(), &worlds.next().unwrap());
}

#[test]
fn another_seed_gives_other_ids_and_the_same_normalized_end() {
    let end = |seed: u64| {
        let mut stage = Stage::of(
            sample_crs(),
            WorldConfig {
                seed,
                ..WorldConfig::default()
            },
        );
        stage.migrate(sample_crs(), Omit::default());
        stage.wait(minutes(60));
        let machines: Vec<String> = stage
            .machines()
            .into_iter()
            .map(|machine| machine.id)
            .collect();
        (machines, stage.report().etcd.len(), stage.report().gaps)
    };
    let (first, second) = (end(1), end(2));
    assert_ne!(first.0, second.0);
    assert_eq!((first.1, &first.2), (second.1, &second.2));
}

#[test]
fn a_copy_of_a_world_is_another_world() {
    let mut stage = Stage::sample();
    stage.wait(minutes(1));
    let before = stage.world.normalized();
    let mut copy = stage.world.clone();
    stage.migrate(sample_crs(), Omit::default());
    assert_eq!(copy.normalized(), before);
    copy.advance(stage.world.now());
    assert_ne!(copy.normalized(), stage.world.normalized());
}

#[test]
fn making_a_world_is_cheap() {
    let clusters: Vec<VintageCluster> = generate(100, 5)
        .iter()
        .flat_map(|text| VintageCluster::read(&[("generated", text)]).unwrap())
        .collect();
    let genesis = Genesis::with_keys(WorldConfig::default(), &clusters, &KEYS).unwrap();
    let begin = std::time::Instant::now();
    let world = World::from_genesis(&genesis).unwrap();
    let each = begin.elapsed() / 100;
    assert_eq!(world.clusters().count(), 100);
    // A wide margin: the machine may be busy, and this is not a benchmark.
    assert!(each.as_millis() < 100, "{each:?} a cluster");
}

/// A world in the middle of its liveliest hour.
fn lively() -> World {
    let mut stage = Stage::sample();
    stage.migrate(
        sample_crs(),
        Omit {
            disarm: true,
            pause: true,
            traffic: true,
            stop: true,
            ..Omit::default()
        },
    );
    stage.world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn time_may_pass_in_any_number_of_pieces(mut pieces in prop::collection::vec(0u64..1_200_000_000, 1..12)) {
        static WORLD: std::sync::LazyLock<World> = std::sync::LazyLock::new(lively);
        let begin = WORLD.now();
        let end = Timestamp(begin.0 + 1_200_000_000);
        let mut whole = WORLD.clone();
        whole.advance(end);
        let mut split = WORLD.clone();
        pieces.sort_unstable();
        for piece in pieces {
            split.advance(Timestamp(begin.0 + i64::try_from(piece).unwrap()));
        }
        split.advance(end);
        prop_assert_eq!(whole.normalized(), split.normalized());
        prop_assert_eq!(whole.report(), split.report());
    }
}
