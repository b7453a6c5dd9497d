//! Two hundred seeds, and the promise that a seed repeats.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use drover_simulation::{Outcome, run};

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
