//! Seeded chance: every random-looking number is a hash of the seed and of what it is for, so that it does not depend on
//! the order in which things happen, and repeats.

use std::time::Duration;

use sha2::{Digest, Sha256};

/// A source of numbers for one realm (a cluster, the faults).
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    prefix: Vec<u8>,
}

impl Chance {
    pub(crate) fn new(seed: u64, realm: &str) -> Self {
        let mut prefix = seed.to_be_bytes().to_vec();
        prefix.extend_from_slice(realm.as_bytes());
        prefix.push(0);
        Self { prefix }
    }

    /// A number for a purpose.
    pub(crate) fn number(&self, purpose: &str, of: &str, nth: u64) -> u64 {
        let mut hash = Sha256::new();
        hash.update(&self.prefix);
        hash.update(purpose.as_bytes());
        hash.update([0]);
        hash.update(of.as_bytes());
        hash.update([0]);
        hash.update(nth.to_be_bytes());
        let bytes = hash.finalize();
        bytes[..8]
            .iter()
            .fold(0, |n, byte| n << 8 | u64::from(*byte))
    }

    /// A number below `limit`; `limit` is not zero.
    pub(crate) fn below(&self, limit: u64, purpose: &str, of: &str) -> u64 {
        self.number(purpose, of, 0) % limit.max(1)
    }

    /// True in `percent` of cases.
    pub(crate) fn happens(&self, percent: f64, purpose: &str, of: &str, nth: u64) -> bool {
        let share = (self.number(purpose, of, nth) >> 11) as f64 / (1u64 << 53) as f64;
        share * 100.0 < percent
    }

    /// A time between two, in milliseconds.
    pub(crate) fn millis(&self, from: u64, to: u64, purpose: &str, of: &str) -> Duration {
        self.millis_nth(from, to, purpose, of, 0)
    }

    /// As [`Chance::millis`], the `nth` of its kind.
    pub(crate) fn millis_nth(
        &self,
        from: u64,
        to: u64,
        purpose: &str,
        of: &str,
        nth: u64,
    ) -> Duration {
        Duration::from_millis(from + self.number(purpose, of, nth) % (to - from + 1))
    }

    /// Hex digits.
    pub(crate) fn hex(&self, digits: usize, purpose: &str, of: &str) -> String {
        let mut text = format!("{:016x}", self.number(purpose, of, 0));
        text.push_str(&format!("{:016x}", self.number(purpose, of, 1)));
        text.truncate(digits);
        text
    }

    /// Letters and digits as Kubernetes generates names of.
    pub(crate) fn suffix(&self, digits: usize, purpose: &str, of: &str) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let mut number = self.number(purpose, of, 0);
        (0..digits)
            .map(|_| {
                let letter = ALPHABET[(number % ALPHABET.len() as u64) as usize];
                number /= ALPHABET.len() as u64;
                char::from(letter)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_on_seed_realm_purpose_and_count_and_on_nothing_else() {
        let a = Chance::new(1, "c0001");
        assert_eq!(
            a.number("boot", "i-1", 0),
            Chance::new(1, "c0001").number("boot", "i-1", 0)
        );
        for other in [
            Chance::new(2, "c0001").number("boot", "i-1", 0),
            Chance::new(1, "c0002").number("boot", "i-1", 0),
            a.number("stop", "i-1", 0),
            a.number("boot", "i-2", 0),
            a.number("boot", "i-1", 1),
        ] {
            assert_ne!(a.number("boot", "i-1", 0), other);
        }
    }

    #[test]
    fn shares_are_about_right() {
        let chance = Chance::new(7, "faults");
        let hits = (0..10_000)
            .filter(|n| chance.happens(10.0, "throttle", "k", *n))
            .count();
        assert!((900..1100).contains(&hits), "{hits}");
        assert!(chance.happens(100.0, "always", "", 0));
        assert!(!chance.happens(0.0, "never", "", 0));
    }
}
