//! Two hundred seeds, and the promise that a seed repeats.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use drover_simulation::{Outcome, run, run_broken, scenario::Planted};

/// Runs seeds on every core; in the order of the seeds.
fn all(seeds: std::ops::Range<u64>) -> Vec<Outcome> {
    let next = AtomicU64::new(seeds.start);
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run(seed).unwrap();
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    outcomes.sort_by_key(|outcome| outcome.seed);
    outcomes
}

#[test]
fn two_hundred_seeds_violate_nothing() {
    let mut violations = Vec::new();
    for outcome in all(0..200) {
        let seed = outcome.seed;
        violations.extend(outcome.violations.iter().map(|violation| {
            format!("{violation}\n  reproduce: cargo run -p drover-simulation -- --seed {seed}")
        }));
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [3, 11, 42] {
        let (first, second) = (run(seed).unwrap(), run(seed).unwrap());
        assert_eq!(first.digest, second.digest, "seed {seed}");
        assert!(first.events > 0, "seed {seed} did something");
    }
    assert_ne!(run(3).unwrap().digest, run(11).unwrap().digest);
}

/// The first seed in which a rule finds what was planted.
fn first_to_find(planted: Planted, rule: &str) -> Option<u64> {
    (0..60).find(|seed| {
        let outcome = run_broken(*seed, planted).unwrap();
        let mut found = outcome.violations.iter();
        found.any(|violation| violation.rule == rule)
    })
}

#[test]
fn a_disk_that_only_says_that_it_syncs_is_found() {
    let found = first_to_find(Planted::LyingDisk, "acked-is-durable");
    assert!(found.is_some());
}
