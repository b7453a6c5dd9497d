//! Which worker takes a step, and why nobody does.

use super::{LeaseTable, LiveTime, Presence, Worker};
use crate::{
    ids::{InstallationName, KindRef, WorkerId},
    object::OBJECT_PROTOCOL,
    workflow::hold::HoldReason,
};

/// What a step needs of a worker.
#[derive(Clone, Copy, Debug)]
pub struct Need<'a> {
    /// Where.
    pub installation: &'a InstallationName,
    /// What it must serve.
    pub kind: &'a KindRef,
    /// Which credits it takes.
    pub class: &'a str,
    /// What it must reach.
    pub reach: &'a [String],
    /// A draining worker will do.
    pub critical: bool,
    /// The worker must be able to fetch a large output.
    pub with_object: bool,
}

impl LeaseTable {
    /// The worker that should take a step: the least used one that can, the first by id among equals.
    #[must_use]
    pub fn pick(&self, need: &Need<'_>, now: LiveTime) -> Option<(&WorkerId, &Presence)> {
        let suspect_after = self.profile.suspect_after();
        self.workers
            .iter()
            .filter(|(_, worker)| worker.connected && !worker.is_suspect(now, suspect_after))
            .filter(|(_, worker)| can(worker, need) && has_credit(worker, need.class))
            .filter(|(_, worker)| need.critical || !worker.presence.draining)
            .min_by_key(|(_, worker)| worker.leases.len())
            .map(|(id, worker)| (id, &worker.presence))
    }

    /// Why nobody takes a step that waits for a worker; `None` when somebody could.
    #[must_use]
    pub fn why_nobody(&self, need: &Need<'_>, now: LiveTime) -> Option<HoldReason> {
        let installation = need.installation.to_string();
        let here: Vec<&Worker> = self
            .workers
            .values()
            .filter(|worker| worker.presence.installation == *need.installation)
            .collect();
        if here.is_empty() {
            return Some(HoldReason::WorkerOffline { installation });
        }
        let missing: Vec<&str> = need
            .reach
            .iter()
            .filter(|place| {
                !here
                    .iter()
                    .any(|worker| worker.presence.reach.contains(*place))
            })
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            return Some(HoldReason::NoReach {
                installation,
                reach: missing.join(", "),
            });
        }
        let suspect_after = self.profile.suspect_after();
        let connected: Vec<&&Worker> = here
            .iter()
            .filter(|worker| worker.connected && !worker.is_suspect(now, suspect_after))
            .collect();
        if connected.is_empty() {
            return Some(HoldReason::WorkerOffline { installation });
        }
        let able: Vec<&&&Worker> = connected
            .iter()
            .filter(|worker| can(worker, need))
            .collect();
        if able.is_empty() {
            let serving: Vec<&&&Worker> = connected
                .iter()
                .filter(|worker| worker.presence.kinds.contains(need.kind))
                .collect();
            let too_old = serving.iter().any(|worker| is_too_old(worker, need));
            return Some(if too_old {
                HoldReason::BuildTooOld {
                    kind: need.kind.to_string(),
                    installation,
                }
            } else if !serving.is_empty() {
                HoldReason::NoReach {
                    installation,
                    reach: need.reach.join(", "),
                }
            } else {
                HoldReason::KindUnserved {
                    kind: need.kind.to_string(),
                    installation,
                }
            });
        }
        if able.iter().all(|worker| worker.presence.draining) && !need.critical {
            return Some(HoldReason::Draining { installation });
        }
        if able.iter().all(|worker| !has_credit(worker, need.class)) {
            return Some(HoldReason::NoCredit {
                installation,
                class: need.class.to_owned(),
            });
        }
        None
    }
}

fn can(worker: &Worker, need: &Need<'_>) -> bool {
    worker.presence.installation == *need.installation
        && worker.presence.kinds.contains(need.kind)
        && !is_too_old(worker, need)
        && need
            .reach
            .iter()
            .all(|place| worker.presence.reach.contains(place))
}

fn is_too_old(worker: &Worker, need: &Need<'_>) -> bool {
    need.with_object && worker.presence.protocol < OBJECT_PROTOCOL
}

fn has_credit(worker: &Worker, class: &str) -> bool {
    let used = worker.used.get(class).copied().unwrap_or(0);
    worker
        .presence
        .credits
        .get(class)
        .is_some_and(|credits| used < *credits)
}
