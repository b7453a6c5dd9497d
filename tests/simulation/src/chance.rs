//! Chance from a seed. Every use has a generator of its own, named by what it is for, so that one more draw in one place
//! moves nothing in another.

use std::time::Duration;

use drover_core::ids::Digest;
use drover_worker::surroundings;
use std::sync::Mutex;
use uuid::Uuid;

/// A generator for one purpose.
pub struct Chance(fastrand::Rng);

impl Chance {
    /// The generator of this name.
    #[must_use]
    pub fn of(seed: u64, name: &str) -> Self {
        let digest = Digest::of(format!("{seed}/{name}").as_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest.0[..8]);
        Self(fastrand::Rng::with_seed(u64::from_be_bytes(bytes)))
    }

    /// True in `percent` of all cases.
    pub fn percent(&mut self, percent: f64) -> bool {
        self.0.f64() * 100.0 < percent
    }

    /// From `low` to less than `high`.
    pub fn number(&mut self, low: u64, high: u64) -> u64 {
        self.0.u64(low..high)
    }

    /// An index below `n`.
    pub fn index(&mut self, n: usize) -> usize {
        self.0.usize(..n)
    }

    /// A duration between two, to the millisecond.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.0.u64(millis(low)..=millis(high)))
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.usize(..of.len())]
    }
}

/// Chance for one worker process.
pub(crate) struct OfProcess(Mutex<fastrand::Rng>);

impl OfProcess {
    pub(crate) fn new(chance: Chance) -> Self {
        Self(Mutex::new(chance.0))
    }

    fn with<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.0.lock().expect("drawing does not panic"))
    }
}

impl surroundings::Chance for OfProcess {
    fn id(&self) -> Uuid {
        Uuid::from_u128(self.with(|rng| rng.u128(..)))
    }

    fn part(&self) -> f64 {
        self.with(fastrand::Rng::f64)
    }
}
