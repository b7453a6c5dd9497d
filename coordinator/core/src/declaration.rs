//! What a step kind declares about itself, as the core knows it. The wire twin is `KindDeclaration` in
//! `proto/drover/v1/declaration.proto`; field comments there apply here.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ids::{Digest, KindRef},
    time::iso8601,
};

/// What a kind is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs and ends.
    Step,
    /// Runs beside a span of steps until it is told to stop.
    Guard,
}

/// The way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compensation {
    /// The kind's `compensate` removes the effects.
    Undo,
    /// The effects stay and are recorded as kept.
    RollForward,
    /// A person takes them back; the text says how.
    Manual(String),
}

/// What happens to an attempt whose lease cannot be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossPolicy {
    /// Its next permit waits; a peer may take the step after the ordinary TTL.
    StopAtPermit,
    /// It is finished for up to `max`; nobody else may start the step before that has passed.
    FinishCritical {
        /// Liveness clock.
        #[serde(with = "iso8601")]
        max: Duration,
    },
    /// Two workers may do this at once without harm.
    RaceOk,
}

/// Temporal's four timeouts; `None` means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// From ready to acked. Domain clock.
    #[serde(
        default,
        with = "iso8601::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub schedule_to_start: Option<Duration>,
    /// One attempt, from acked to ended. Domain clock.
    #[serde(
        default,
        with = "iso8601::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub start_to_close: Option<Duration>,
    /// All attempts, from scheduled to ended. Domain clock.
    #[serde(
        default,
        with = "iso8601::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub schedule_to_close: Option<Duration>,
    /// Between two reports of the step's own code. Liveness clock.
    #[serde(
        default,
        with = "iso8601::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub heartbeat: Option<Duration>,
}

/// When and how often attempts follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Wait after the first failed attempt.
    #[serde(with = "iso8601")]
    pub initial_interval: Duration,
    /// Upper bound of the wait.
    #[serde(with = "iso8601")]
    pub maximum_interval: Duration,
    /// Factor from one wait to the next, at least 1.
    pub backoff_coefficient: f64,
    /// Failed attempts before the step pauses for an operator.
    pub maximum_attempts: u32,
    /// Attempts lost with their worker in a row before the step pauses for an operator. One that ran for ten minutes
    /// begins the row anew.
    pub maximum_losses: u32,
}

impl RetryPolicy {
    /// The wait after the `failed`-th failed attempt, counted from 1, spread by up to a tenth either way. The spread
    /// derives from `seed`, so that it is the same whenever it is computed.
    #[must_use]
    pub fn interval(&self, failed: u32, seed: u64) -> Duration {
        let exponent = i32::try_from(failed.saturating_sub(1).min(64)).unwrap_or(64);
        let grown = self.initial_interval.as_secs_f64() * self.backoff_coefficient.powi(exponent);
        let bounded = grown.min(self.maximum_interval.as_secs_f64());
        let spread = 0.9 + 0.2 * f64::from(u32::try_from(seed % 1000).unwrap_or(0)) / 1000.0;
        Duration::try_from_secs_f64(bounded * spread).unwrap_or(self.maximum_interval)
    }
}

/// One kind of change that a step makes outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Kebab-case, unique within the kind.
    pub name: String,
    /// True when doing it again changes the world again and that is harmless.
    pub repeatable: bool,
}

/// The declaration of one version of a step kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindDeclaration {
    /// Which kind.
    pub kind: KindRef,
    /// One sentence: what it does.
    pub summary: String,
    /// Step or guard.
    pub role: Role,
    /// Credit class.
    pub class: String,
    /// Places it must reach.
    pub reach: Vec<String>,
    /// Changes it makes outside.
    pub effects: Vec<Effect>,
    /// The way back.
    pub compensation: Compensation,
    /// What happens when the lease cannot be confirmed.
    pub loss_policy: LossPolicy,
    /// Default timeouts.
    pub timeouts: Timeouts,
    /// Default retry policy.
    pub retry: RetryPolicy,
    /// What its outside calls need.
    pub permissions: Vec<String>,
    /// JSON Schema of the parameters.
    pub params_schema: Value,
    /// JSON Schema of the output.
    pub output_schema: Value,
}

impl KindDeclaration {
    /// Digest of what a version of a kind must never change: two builds that announce the same kind agree on it.
    /// Summary, default timeouts and retry policy, class and permissions may differ; a start pins those in force.
    #[must_use]
    pub fn contract(&self) -> Digest {
        Digest::of_json(&(
            (&self.kind, self.role, &self.reach, &self.effects),
            (&self.compensation, self.loss_policy),
            (&self.params_schema, &self.output_schema),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_spread_by_a_tenth() {
        let policy = RetryPolicy {
            initial_interval: Duration::from_secs(10),
            maximum_interval: Duration::from_secs(60),
            backoff_coefficient: 2.0,
            maximum_attempts: 5,
            maximum_losses: 5,
        };
        for (failed, middle) in [(1, 10.0), (2, 20.0), (3, 40.0), (4, 60.0), (100, 60.0)] {
            for seed in [0, 499, 999, u64::MAX] {
                let wait = policy.interval(failed, seed).as_secs_f64();
                assert!(
                    (middle * 0.9..=middle * 1.1).contains(&wait),
                    "{failed} {seed} {wait}"
                );
            }
        }
    }
}
