//! Who is killed, and when: at random moments of the whole work, so that each comes however fast the machine is.

use serde::Serialize;

use crate::dev::town::Victim;

/// Nobody is killed before so much of the work is done, or when so little is left.
const MOMENTS: (f64, f64) = (0.01, 0.97);

/// The kills of one demo.
#[derive(Debug)]
pub(super) struct Kills {
    random: fastrand::Rng,
    workers: usize,
    /// Shares of the work at which somebody dies, the next one last.
    moments: Vec<f64>,
    done: Done,
}

/// Who has been killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Done {
    /// Times.
    pub(super) strikes: u32,
    /// How often that was the coordinator, alone or not.
    pub(super) coordinators: u32,
    /// How often that was a worker, alone or not.
    pub(super) workers: u32,
}

impl Kills {
    /// So many, the same for the same seed, where there are so many workers.
    pub(super) fn new(count: u32, seed: u64, workers: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let (from, until) = MOMENTS;
        let mut moments: Vec<f64> = (0..count)
            .map(|_| from + random.f64() * (until - from))
            .collect();
        moments.sort_by(|a, b| b.total_cmp(a));
        Self {
            random,
            workers,
            moments,
            done: Done::default(),
        }
    }

    /// Who dies now that so much of the work is done: nobody, one, or two at a time.
    pub(super) fn strike(&mut self, progress: f64) -> Vec<Victim> {
        if self.moments.pop_if(|moment| *moment <= progress).is_none() {
            return Vec::new();
        }
        let worker = Victim::Worker(self.random.usize(0..self.workers.max(1)));
        let victims = match self.random.u8(0..3) {
            0 => vec![Victim::Coordinator],
            1 => vec![worker],
            _ => vec![Victim::Coordinator, worker],
        };
        self.done.strikes += 1;
        for victim in &victims {
            match victim {
                Victim::Coordinator => self.done.coordinators += 1,
                Victim::Worker(_) => self.done.workers += 1,
            }
        }
        victims
    }

    /// Who has been killed so far.
    pub(super) fn done(&self) -> Done {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everybody who dies while the work goes on step by step.
    fn all(mut kills: Kills) -> Vec<(u32, Victim)> {
        let mut found = Vec::new();
        for step in 0..=1000 {
            loop {
                let victims = kills.strike(f64::from(step) / 1000.0);
                if victims.is_empty() {
                    break;
                }
                found.extend(victims.into_iter().map(|victim| (step, victim)));
            }
        }
        assert_eq!(
            usize::try_from(kills.done.coordinators + kills.done.workers).unwrap(),
            found.len()
        );
        found
    }

    #[test]
    fn the_same_seed_kills_the_same_at_the_same_moments() {
        let found = all(Kills::new(20, 7, 3));
        assert_eq!(found, all(Kills::new(20, 7, 3)));
        assert_ne!(found, all(Kills::new(20, 8, 3)));
    }

    #[test]
    fn each_kill_comes_before_the_work_is_done() {
        let mut kills = Kills::new(20, 1, 3);
        let before_the_end = (0..20).all(|_| !kills.strike(0.98).is_empty());
        assert!(before_the_end && kills.strike(1.0).is_empty());
        assert_eq!(kills.done().strikes, 20);
        assert_eq!(Kills::new(20, 1, 3).strike(0.0), []);
    }
}
