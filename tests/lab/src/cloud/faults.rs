//! Faults of the cloud's API, set while it runs.
//!
//! They strike at random, but from a seeded generator: the same calls in the same order meet the same faults.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// What befalls a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Refused: too many calls. Nothing happened.
    Throttled,
    /// Refused: the caller may not. Nothing happened.
    Denied,
    /// Refused: the caller's credentials have expired. Nothing happened.
    ExpiredCredentials,
    /// Answered later.
    Latency(Duration),
    /// Done, but the connection closes without an answer: the caller cannot know.
    LostReply,
}

/// One fault.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// Which calls: `service:Action` with `*` for any text, as in policies; without a colon the action of any service.
    /// Services are named as requests are signed (`ec2`, `elasticloadbalancing`, `autoscaling`, `sts`, `iam`, `s3`).
    /// Where a protocol has no actions (S3), the action is the HTTP method.
    pub(crate) calls: String,
    /// How many of a hundred such calls it strikes.
    pub(crate) percent: u8,
    /// What it does to them.
    pub(crate) effect: Effect,
}

/// The faults that are on. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Faults(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    faults: Vec<Fault>,
    chance: fastrand::Rng,
}

impl Faults {
    /// No faults.
    pub(crate) fn none(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            faults: Vec::new(),
            chance: fastrand::Rng::with_seed(seed),
        })))
    }

    /// Replaces all faults; an empty list ends them.
    pub(crate) fn set(&self, faults: Vec<Fault>) {
        self.lock().faults = faults;
    }

    /// What befalls this call. Draws for every fault that matches it, so several may strike at once.
    pub(super) fn strike(&self, service: &str, action: &str) -> Vec<Effect> {
        let Inner { faults, chance } = &mut *self.lock();
        faults
            .iter()
            .filter(|fault| fault.matches(service, action))
            .filter(|fault| chance.u8(0..100) < fault.percent)
            .map(|fault| fault.effect)
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fault {
    /// From words: `CALLS=EFFECT@PERCENT`, for example `elasticloadbalancing:*=throttled@20`. Effects: `throttled`, `denied`,
    /// `expired`, `lost`, `slow` (by 2 s).
    ///
    /// # Errors
    /// When the words have another form: with the form.
    pub(crate) fn parse(words: &str) -> anyhow::Result<Self> {
        let form = || {
            anyhow::anyhow!(
                "--fault {words}: use CALLS=EFFECT@PERCENT, with an effect of throttled, denied, expired, lost or slow"
            )
        };
        let (calls, rest) = words.split_once('=').ok_or_else(form)?;
        let (effect, percent) = rest.split_once('@').ok_or_else(form)?;
        let effect = match effect {
            "throttled" => Effect::Throttled,
            "denied" => Effect::Denied,
            "expired" => Effect::ExpiredCredentials,
            "lost" => Effect::LostReply,
            "slow" => Effect::Latency(Duration::from_secs(2)),
            _ => return Err(form()),
        };
        Ok(Self {
            calls: calls.to_owned(),
            percent: percent.parse().map_err(|_| form())?,
            effect,
        })
    }

    fn matches(&self, service: &str, action: &str) -> bool {
        match self.calls.split_once(':') {
            Some((services, actions)) => glob(services, service) && glob(actions, action),
            None => glob(&self.calls, action),
        }
    }
}

/// Whether a text matches a pattern in which `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len())
                .filter(|&at| rest.is_char_boundary(at))
                .any(|at| glob(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(calls: &str, percent: u8, effect: Effect) -> Fault {
        Fault {
            calls: calls.to_owned(),
            percent,
            effect,
        }
    }

    #[test]
    fn faults_strike_the_calls_that_they_name() {
        let faults = Faults::none(1);
        faults.set(vec![
            fault("elasticloadbalancing:*Instances*", 100, Effect::Throttled),
            fault("Terminate*", 100, Effect::Denied),
        ]);
        let check = |service, action, expected: &[Effect]| {
            assert_eq!(
                faults.strike(service, action),
                expected,
                "{service}:{action}"
            );
        };
        check(
            "elasticloadbalancing",
            "RegisterInstancesWithLoadBalancer",
            &[Effect::Throttled],
        );
        check("ec2", "DescribeInstances", &[]);
        check("ec2", "TerminateInstances", &[Effect::Denied]);
        check("elasticloadbalancing", "DescribeTags", &[]);
    }

    #[test]
    fn the_same_seed_meets_the_same_faults() {
        let draw = |seed| -> Vec<usize> {
            let faults = Faults::none(seed);
            faults.set(vec![fault("*", 30, Effect::LostReply)]);
            (0..64).map(|_| faults.strike("ec2", "X").len()).collect()
        };
        assert_eq!(draw(7), draw(7));
        let struck: usize = draw(7).iter().sum();
        assert!((1..64).contains(&struck), "{struck}");
    }

    #[test]
    fn faults_are_read_from_words() {
        let fault = Fault::parse("ec2:*=lost@5").unwrap();
        assert_eq!(
            (&*fault.calls, fault.percent, fault.effect),
            ("ec2:*", 5, Effect::LostReply)
        );
        for wrong in ["ec2:*", "ec2:*=lost", "ec2:*=gone@5", "ec2:*=lost@many"] {
            assert!(Fault::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_strikes_at_zero_percent() {
        let faults = Faults::none(1);
        faults.set(vec![fault("*", 0, Effect::Denied)]);
        assert!((0..100).all(|_| faults.strike("ec2", "X").is_empty()));
    }
}
