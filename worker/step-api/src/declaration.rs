//! What a step kind declares about itself. The wire twin is `KindDeclaration` in `proto/drover/v1/declaration.proto`.

use std::time::Duration;

/// What a kind is used for in a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs and ends.
    Step,
    /// Runs beside a span of steps until [`crate::Context::stopped`]; declared [`LossPolicy::RaceOk`].
    Guard,
}

/// Credit class: how many attempts of the class a worker takes at once is the worker's setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Reads and small writes.
    Light,
    /// Many calls to the cloud's API.
    CloudApi,
    /// Changes etcd membership.
    EtcdSurgery,
    /// Guards.
    Guard,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 4] = [Self::Light, Self::CloudApi, Self::EtcdSurgery, Self::Guard];

    /// The class's word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::CloudApi => "cloud-api",
            Self::EtcdSurgery => "etcd-surgery",
            Self::Guard => "guard",
        }
    }
}

/// A place that a kind must reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// API of the vintage management cluster.
    VintageMc,
    /// API of the Cluster API management cluster.
    CapiMc,
    /// API of the workload cluster.
    Workload,
    /// AWS APIs of the workload cluster's account.
    Aws,
    /// The installation's Vault.
    Vault,
    /// etcd of the workload cluster.
    Etcd,
}

impl Reach {
    /// All places.
    pub const ALL: [Self; 6] = [
        Self::VintageMc,
        Self::CapiMc,
        Self::Workload,
        Self::Aws,
        Self::Vault,
        Self::Etcd,
    ];

    /// The place's word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VintageMc => "vintage-mc",
            Self::CapiMc => "capi-mc",
            Self::Workload => "workload",
            Self::Aws => "aws",
            Self::Vault => "vault",
            Self::Etcd => "etcd",
        }
    }
}

/// One kind of change that a step makes outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Kebab-case, unique within the kind. Persisted in idempotency keys: renaming it makes it another effect.
    pub name: &'static str,
    /// True when doing it again changes the world again and that is harmless.
    pub repeatable: bool,
}

impl Effect {
    /// An effect that must not change the world twice under one idempotency key.
    pub const fn once(name: &'static str) -> Self {
        Self {
            name,
            repeatable: false,
        }
    }

    /// An effect that may change the world again and again.
    pub const fn repeatable(name: &'static str) -> Self {
        Self {
            name,
            repeatable: true,
        }
    }
}

/// How a step is taken back while its workflow unwinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compensation {
    /// [`crate::Step::compensate`] removes the effects. It must cope with the step never having acted.
    Undo,
    /// The effects stay; they are recorded as kept.
    RollForward,
    /// A person takes the effects back; the text says what to do.
    Manual(&'static str),
}

/// What the worker does with an attempt whose lease it cannot confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossPolicy {
    /// The next permit waits until the lease is known again.
    StopAtPermit,
    /// The attempt goes on for up to `max`, and nobody else may start the step before that has passed.
    FinishCritical {
        /// Liveness clock.
        max: Duration,
    },
    /// Two workers may do this at once without harm.
    RaceOk,
}

/// Temporal's four timeouts. Domain clock, except `heartbeat`, which is on the liveness clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From ready to acked by a worker.
    pub schedule_to_start: Option<Duration>,
    /// One attempt, from acked to ended; `None` for guards only.
    pub start_to_close: Option<Duration>,
    /// All attempts together.
    pub schedule_to_close: Option<Duration>,
    /// Between two calls of [`crate::Context::progress`]; every wait of the context reports too.
    pub heartbeat: Option<Duration>,
}

/// When and how often attempts follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Wait after the first failed attempt.
    pub initial_interval: Duration,
    /// Upper bound of the wait.
    pub maximum_interval: Duration,
    /// Factor from one wait to the next, at least 1.
    pub backoff_coefficient: f64,
    /// Failed attempts before the step pauses for an operator, at least 1.
    pub maximum_attempts: u32,
    /// Attempts lost with their worker in a row before the step pauses for an operator, at least 1. One that ran for ten
    /// minutes begins the row anew.
    pub maximum_losses: u32,
}

/// Everything the engine must know of a kind before its first attempt. There is no default on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Declaration {
    /// `area.verb_noun`. Persisted: renaming it makes it another kind.
    pub name: &'static str,
    /// At least 1. Another meaning is another version, beside the old one until no open workflow uses it.
    pub version: u32,
    /// One sentence: what it does.
    pub summary: &'static str,
    /// Step or guard.
    pub role: Role,
    /// Credit class.
    pub class: Class,
    /// Places it must reach.
    pub reach: &'static [Reach],
    /// Every effect that [`crate::Context::permit`] may be asked for.
    pub effects: &'static [Effect],
    /// The way back.
    pub compensation: Compensation,
    /// What happens when the lease cannot be confirmed.
    pub loss_policy: LossPolicy,
    /// Default timeouts; a definition may override them.
    pub timeouts: Timeouts,
    /// Default retry policy; a definition may override it.
    pub retry: RetryPolicy,
    /// Every outside action it may take, as [`drover-ports`] names them: `ec2:DescribeInstances`, `capi-mc:get`. RBAC
    /// and IAM are generated from it, and the ports refuse what is not listed.
    ///
    /// [`drover-ports`]: ../drover_ports/index.html
    pub permissions: &'static [&'static str],
}
