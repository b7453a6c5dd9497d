//! When faults strike.

use std::{collections::BTreeMap, time::Duration};

use drover_ports::{Call, Caller, PortError, PortErrorKind};
use drover_step_api::{Stamp, Timestamp};
use serde::{Deserialize, Serialize};

use super::{FaultKind, FaultSpec, spec::Rate};
use crate::chance::Chance;

/// How many calls of each kind the world has seen, and whose credentials have expired.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    specs: Vec<FaultSpec>,
    chance: Chance,
    by_key: BTreeMap<String, u64>,
    by_step: BTreeMap<(String, String, String), u64>,
    /// By worker: the generation of credentials that has expired, and until when that lasts.
    expired: BTreeMap<String, (u64, Timestamp)>,
    pub(crate) injected: BTreeMap<FaultKind, u64>,
}

/// How long expired credentials stay so when nobody refreshes them.
const EXPIRY: Duration = Duration::from_secs(15 * 60);

/// A call's place among its like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallCount {
    /// Its idempotency key, or its step and action.
    pub(crate) of: String,
    /// How many such calls came before.
    pub(crate) nth: u64,
    /// How many calls of the same step and action came before.
    pub(crate) of_step: u64,
}

impl Faults {
    pub(crate) fn new(specs: Vec<FaultSpec>, seed: u64) -> Self {
        Self {
            specs,
            chance: Chance::new(seed, "faults"),
            by_key: BTreeMap::new(),
            by_step: BTreeMap::new(),
            expired: BTreeMap::new(),
            injected: BTreeMap::new(),
        }
    }

    /// The next call's place among its like, without counting it.
    pub(crate) fn peek(&self, caller: &Caller, action: &str, stamp: Option<&Stamp>) -> CallCount {
        let step = (
            caller.workflow.clone(),
            caller.step.clone(),
            action.to_owned(),
        );
        let of_step = self.by_step.get(&step).copied().unwrap_or(0);
        match stamp {
            Some(stamp) => CallCount {
                nth: self
                    .by_key
                    .get(&stamp.idempotency_key)
                    .copied()
                    .unwrap_or(0),
                of: stamp.idempotency_key.clone(),
                of_step,
            },
            None => CallCount {
                of: format!("{}/{}/{}", step.0, step.1, step.2),
                nth: of_step,
                of_step,
            },
        }
    }

    /// Counts a call.
    pub(crate) fn count(
        &mut self,
        caller: &Caller,
        action: &str,
        stamp: Option<&Stamp>,
    ) -> CallCount {
        let count = self.peek(caller, action, stamp);
        let step = (
            caller.workflow.clone(),
            caller.step.clone(),
            action.to_owned(),
        );
        *self.by_step.entry(step).or_default() += 1;
        if let Some(stamp) = stamp {
            *self
                .by_key
                .entry(stamp.idempotency_key.clone())
                .or_default() += 1;
        }
        count
    }

    /// The fault that strikes a call, if any.
    pub(crate) fn strike(
        &mut self,
        caller: &Caller,
        credentials: u64,
        call: &Call,
        count: &CallCount,
        now: Timestamp,
    ) -> Option<FaultKind> {
        let is_cloud = matches!(call, Call::Cloud { .. });
        if is_cloud && self.has_expired(&caller.worker, credentials, now) {
            return Some(FaultKind::ExpiredCredentials);
        }
        let action = call.action();
        let struck = self.specs.iter().find(|spec| {
            let applies = match spec.kind {
                kind if kind.is_of_clusters() => false,
                FaultKind::ExpiredCredentials => is_cloud,
                FaultKind::LostReply => call.mutates(),
                _ => true,
            };
            applies
                && spec.targets(call, &action)
                && match spec.rate {
                    Rate::Once => count.of_step == 0,
                    Rate::Always => true,
                    Rate::Percent(percent) => {
                        self.chance
                            .happens(percent, spec.kind.as_str(), &count.of, count.nth)
                    }
                }
        })?;
        let kind = struck.kind;
        self.note(kind, &caller.worker, credentials, now);
        Some(kind)
    }

    /// Writes down that a fault has struck.
    pub(crate) fn note(&mut self, kind: FaultKind, worker: &str, credentials: u64, now: Timestamp) {
        *self.injected.entry(kind).or_default() += 1;
        if kind == FaultKind::ExpiredCredentials && !self.has_expired(worker, credentials, now) {
            self.expired
                .insert(worker.to_owned(), (credentials, now.after(EXPIRY)));
        }
    }

    fn has_expired(&self, worker: &str, credentials: u64, now: Timestamp) -> bool {
        self.expired
            .get(worker)
            .is_some_and(|(generation, until)| credentials <= *generation && now < *until)
    }

    /// Half of the failures of the far side come after the effect.
    pub(crate) fn fails_after_effect(&self, count: &CallCount) -> bool {
        self.chance
            .happens(50.0, "after-effect", &count.of, count.nth)
    }
}

/// The error that a fault answers with.
pub(crate) fn error_of(kind: FaultKind, action: &str) -> PortError {
    let error = |kind, message: &str| PortError::new(kind, action, message);
    match kind {
        FaultKind::Throttling => error(PortErrorKind::Throttled, "too many requests")
            .with_code("Throttling")
            .with_retry_after(Duration::from_secs(2)),
        FaultKind::Denied => error(
            PortErrorKind::Denied,
            "you are not authorized to perform this",
        )
        .with_code("AccessDenied"),
        FaultKind::LostReply => error(
            PortErrorKind::Lost,
            "the connection was reset before the reply",
        ),
        FaultKind::Unavailable => error(
            PortErrorKind::Unavailable,
            "the service does not answer at the moment",
        )
        .with_code("ServiceUnavailable"),
        FaultKind::ExpiredCredentials => error(
            PortErrorKind::ExpiredCredentials,
            "the security token has expired",
        )
        .with_code("ExpiredToken"),
        FaultKind::NodeNeverUp
        | FaultKind::JoinFails
        | FaultKind::SlowBoot
        | FaultKind::DeadNodes
        | FaultKind::BlockingBudget
        | FaultKind::ScarceAddresses => error(PortErrorKind::Bug, "not a fault of calls"),
    }
}
