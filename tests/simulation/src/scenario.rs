//! What a seed stands for: how many play, how fast, for how long, and which faults come when.

use std::time::Duration;

use drover_core::lease::Profile;

use crate::{
    chance::Chance,
    faults::{self, Planned},
};

/// Workers of one installation.
const WORKERS_A_POOL: usize = 5;

/// One run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Everything follows from it.
    pub seed: u64,
    /// Workers by name; the installation is the part before the dash.
    pub workers: Vec<String>,
    /// Workflows that are started.
    pub workflows: usize,
    /// How fast liveness is judged.
    pub profile: Profile,
    /// How long faults come.
    pub trouble: Duration,
    /// After them everything must have ended within this.
    pub patience: Duration,
    /// The faults, by time.
    pub faults: Vec<Planned>,
    /// Something that is broken on purpose, to see whether the rules find it.
    pub planted: Option<Planted>,
}

/// A breakage of what the product stands on, as bad as one of the product itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// The coordinator's disk says that it has synced a batch before it has: as when an answer leaves before its events are
    /// durable.
    LyingDisk,
    /// A worker that crashes loses the results in its spool.
    EmptiedSpools,
}

impl Scenario {
    /// The scenario of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::of(seed, "scenario");
        let pools = chance.pick(&[2, 2, 3, 4]);
        let workers: Vec<String> = ["golem", "lotus", "argon", "tulip"][..pools]
            .iter()
            .flat_map(|pool| (0..WORKERS_A_POOL).map(move |n| format!("{pool}-{n}")))
            .collect();
        let profile = Profile {
            restart_grace: Duration::from_secs(chance.pick(&[40, 120, 120, 600])),
            ..chance.pick(&[Profile::LAN, BRISK])
        };
        // Most runs are short, a few are long.
        let trouble = Duration::from_secs(60 * chance.pick(&[3, 4, 4, 5, 6, 20]));
        let faults = faults::plan(seed, &workers, trouble);
        Self {
            seed,
            workflows: usize::try_from(chance.number(3, 9)).expect("it is small"),
            profile,
            trouble,
            patience: profile.restart_grace + Duration::from_secs(30 * 60),
            faults,
            planted: None,
            workers,
        }
    }

    /// The installation of a worker.
    #[must_use]
    pub fn pool_of(worker: &str) -> &str {
        worker.split('-').next().unwrap_or(worker)
    }

    /// Names of the installations.
    #[must_use]
    pub fn pools(&self) -> Vec<&str> {
        let mut pools: Vec<&str> = self.workers.iter().map(|w| Self::pool_of(w)).collect();
        pools.dedup();
        pools
    }
}

/// Faster than `lan`, so that short faults already cost leases.
const BRISK: Profile = Profile {
    name: "brisk",
    beat_interval: Duration::from_secs(2),
    lease_ttl: Duration::from_secs(10),
    ack_timeout: Duration::from_secs(3),
    restart_grace: Duration::from_secs(120),
    reconnect_jitter: Duration::from_millis(500),
    stream_age: Duration::from_secs(5 * 60),
};
