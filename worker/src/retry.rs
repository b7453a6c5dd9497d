//! Waits between two tries to reach the coordinator. The only file that names `backoff`: that package is no longer
//! maintained, does this one thing well, and would be replaced here.

use std::{sync::Arc, time::Duration};

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff as _};

use crate::surroundings::Chance;

/// Waits that grow from `first` to `longest`, each spread over its whole length, for ever.
pub(crate) struct Waits {
    growing: ExponentialBackoff,
    chance: Arc<dyn Chance>,
}

impl Waits {
    pub(crate) fn new(first: Duration, longest: Duration, chance: Arc<dyn Chance>) -> Self {
        let growing = ExponentialBackoffBuilder::new()
            .with_initial_interval(first)
            .with_max_interval(longest)
            .with_multiplier(2.0)
            // The spread is added in `next`, from a source that a simulation can give.
            .with_randomization_factor(0.0)
            .with_max_elapsed_time(None)
            .build();
        Self { growing, chance }
    }

    /// The next wait; never longer than the longest.
    pub(crate) fn next(&mut self) -> Duration {
        let longest = self.growing.max_interval;
        let middle = self.growing.next_backoff().unwrap_or(longest);
        // Full jitter: workers of a whole region that lost their link do not come back in step.
        middle.mul_f64(2.0 * self.chance.part()).min(longest)
    }

    /// A random part of a time: workers that lost their sessions in one moment do not come back in one.
    pub(crate) fn part_of(&self, time: Duration) -> Duration {
        time.mul_f64(self.chance.part())
    }

    /// It worked: begin anew.
    pub(crate) fn reset(&mut self) {
        self.growing.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surroundings::Surroundings;

    #[test]
    fn a_random_part_is_spread_over_the_whole() {
        let whole = Duration::from_secs(2);
        let waits = Waits::new(whole, whole, Surroundings::default().chance);
        let parts: Vec<Duration> = (0..1000).map(|_| waits.part_of(whole)).collect();
        assert!(parts.iter().all(|part| *part <= whole));
        let early = parts.iter().filter(|part| **part < whole / 2).count();
        assert!(
            (300..700).contains(&early),
            "{early} of 1000 in the first half"
        );
        assert_eq!(waits.part_of(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn waits_never_end_and_never_exceed_their_bound() {
        let chance = Surroundings::default().chance;
        let mut waits = Waits::new(Duration::from_millis(200), Duration::from_secs(20), chance);
        let all: Vec<Duration> = (0..1000).map(|_| waits.next()).collect();
        assert!(all.iter().all(|wait| *wait <= Duration::from_secs(20)));
        assert!(
            all[500..].iter().any(|wait| *wait > Duration::from_secs(5)),
            "they grow"
        );
        waits.reset();
        assert!(waits.next() <= Duration::from_millis(400));
    }
}
