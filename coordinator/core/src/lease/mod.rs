//! Who is heard, who holds what, and whose time is over: liveness, in memory only.
//!
//! Events store that a lease was granted, never when it expires. This table knows when: a worker's leases live as long
//! as the worker is heard. It is rebuilt at start with full grace, and what it finds out goes into the workflows as
//! inputs.
//!
//! The rules:
//!
//! * An offer that is not acked in time is reverted.
//! * A worker that is not heard for a TTL loses its leases, but only while a peer of its pool is heard, that is, not
//!   suspect: a peer that fell silent in the same moment is no witness. When nobody of the pool is heard, the network or
//!   the region is gone and not the worker: nothing is given to anybody, and when the pool comes back everybody has a
//!   full TTL to say so.
//! * A lease of a critical step holds others off for the step's own maximum instead of the TTL.
//! * After a restart every lease has the grace period first.

mod matching;
mod profile;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

pub use self::{
    matching::Need,
    profile::{LiveTime, Profile},
};
use crate::{
    ids::{Fence, InstallationName, KindRef, PoolName, WorkerId, WorkflowId},
    pools::Intervals,
    time::Timestamp,
};

/// Names a lease: one step of one workflow has at most one.
pub type LeaseKey = (WorkflowId, usize);

/// What a hello says about taking offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// What it serves.
    pub installation: InstallationName,
    /// Its pool.
    pub pool: PoolName,
    /// Its process.
    pub incarnation: Arc<str>,
    /// Kinds it serves.
    pub kinds: BTreeSet<KindRef>,
    /// Places it reaches.
    pub reach: BTreeSet<String>,
    /// How much it takes at once, by class.
    pub credits: BTreeMap<String, u32>,
    /// Takes no offers.
    pub draining: bool,
    /// Version of the protocol that its session speaks.
    pub protocol: u32,
}

#[derive(Debug)]
struct Worker {
    presence: Presence,
    connected: bool,
    last_heard: LiveTime,
    heard_at: Option<Timestamp>,
    unheard: Intervals,
    unheard_since: Option<Timestamp>,
    used: BTreeMap<String, u32>,
    leases: BTreeMap<LeaseKey, Lease>,
}

impl Worker {
    /// Its session may look up, but it says nothing: an offer would only be lost.
    fn is_suspect(&self, now: LiveTime, suspect_after: Duration) -> bool {
        now.since(self.last_heard) > suspect_after
    }
}

#[derive(Debug)]
struct Lease {
    fence: Fence,
    class: Arc<str>,
    acked: bool,
    /// No ack by then: reverted.
    ack_by: LiveTime,
    /// Not lost before, whatever else.
    hold_off: LiveTime,
    /// Others are held off so long after the worker was last heard.
    ttl: Duration,
    heartbeat: Option<Duration>,
    reports: u64,
    last_report: LiveTime,
}

/// Something that liveness found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// No ack in time.
    Unacked {
        /// Whose lease.
        key: LeaseKey,
        /// Of the offer.
        fence: Fence,
    },
    /// The worker is not heard any more.
    Expired {
        /// Whose lease.
        key: LeaseKey,
        /// Of the attempt.
        fence: Fence,
    },
    /// The step's code reports nothing any more.
    HeartbeatTimedOut {
        /// Whose lease.
        key: LeaseKey,
        /// Of the attempt.
        fence: Fence,
    },
    /// No worker of the installation is heard.
    Silent(InstallationName),
    /// A worker of the installation is heard again.
    Heard(InstallationName),
}

impl Presence {
    /// Its pool: those that can take each other's leases.
    fn pool(&self) -> (InstallationName, PoolName) {
        (self.installation.clone(), self.pool.clone())
    }
}

/// Who is heard and who holds what.
#[derive(Debug)]
pub struct LeaseTable {
    profile: Profile,
    workers: BTreeMap<WorkerId, Worker>,
    holders: BTreeMap<LeaseKey, WorkerId>,
    silent: BTreeSet<InstallationName>,
}

impl LeaseTable {
    /// An empty table.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            workers: BTreeMap::new(),
            holders: BTreeMap::new(),
            silent: BTreeSet::new(),
        }
    }

    /// The profile in force.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// A worker that is known from the streams and not heard yet. `silent` says whether its installation was known to be
    /// silent.
    pub fn known(
        &mut self,
        id: WorkerId,
        presence: Presence,
        now: LiveTime,
        domain_now: Timestamp,
        silent: bool,
    ) {
        if silent {
            self.silent.insert(presence.installation.clone());
        }
        self.workers.entry(id).or_insert_with(|| Worker {
            presence,
            connected: false,
            last_heard: now,
            heard_at: None,
            unheard: Intervals::default(),
            unheard_since: Some(domain_now),
            used: BTreeMap::new(),
            leases: BTreeMap::new(),
        });
    }

    /// A session is up.
    pub fn connected(
        &mut self,
        id: &WorkerId,
        presence: Presence,
        now: LiveTime,
        domain_now: Timestamp,
    ) {
        self.known(id.clone(), presence.clone(), now, domain_now, false);
        if let Some(worker) = self.workers.get_mut(id) {
            worker.presence = presence;
            worker.connected = true;
            for lease in worker.leases.values_mut() {
                // Reports could not arrive while the session was down.
                lease.last_report = lease.last_report.max(now);
            }
        }
        self.heard(id, now, domain_now);
    }

    /// A session is down. The leases live on.
    pub fn disconnected(&mut self, id: &WorkerId, domain_now: Timestamp) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.connected = false;
            worker.unheard_since.get_or_insert(domain_now);
        }
    }

    /// The worker takes no further offers, or takes them again.
    pub fn set_draining(&mut self, id: &WorkerId, draining: bool) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.presence.draining = draining;
        }
    }

    /// Other credits.
    pub fn set_credits(&mut self, id: &WorkerId, credits: BTreeMap<String, u32>) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.presence.credits = credits;
        }
    }

    /// A beat, or anything else from the worker. True when it was suspect until now: it takes offers again.
    pub fn heard(&mut self, id: &WorkerId, now: LiveTime, domain_now: Timestamp) -> bool {
        let suspect_after = self.profile.suspect_after();
        let Some(worker) = self.workers.get(id) else {
            return false;
        };
        let was_suspect = worker.is_suspect(now, suspect_after);
        if was_suspect {
            let pool = worker.presence.pool();
            let mut peers: Vec<&mut Worker> = self
                .workers
                .values_mut()
                .filter(|peer| peer.presence.pool() == pool)
                .collect();
            if peers.iter().all(|peer| peer.is_suspect(now, suspect_after)) {
                // The pool is back: everybody in it has a full TTL to say so.
                for peer in &mut peers {
                    peer.last_heard = now;
                }
            }
        }
        if let Some(worker) = self.workers.get_mut(id) {
            worker.last_heard = now;
            worker.heard_at = Some(domain_now);
            if let Some(since) = worker.unheard_since.take() {
                worker.unheard.push(since, domain_now);
            }
        }
        was_suspect
    }

    /// A lease was granted. `finish_critical` holds others off for longer; `grace` is the earliest loss after a restart.
    #[expect(clippy::too_many_arguments, reason = "each is a fact of the one lease")]
    pub fn grant(
        &mut self,
        worker: &WorkerId,
        key: LeaseKey,
        fence: Fence,
        class: &Arc<str>,
        finish_critical: Option<Duration>,
        heartbeat: Option<Duration>,
        acked: bool,
        grace: Option<Duration>,
        now: LiveTime,
    ) {
        let Some(entry) = self.workers.get_mut(worker) else {
            return;
        };
        *entry.used.entry(class.to_string()).or_default() += 1;
        let lease = Lease {
            fence,
            class: Arc::clone(class),
            acked,
            ack_by: now.after(self.profile.ack_timeout),
            hold_off: now.after(grace.unwrap_or_default()),
            ttl: finish_critical
                .unwrap_or_default()
                .max(self.profile.lease_ttl),
            heartbeat,
            reports: 0,
            last_report: now.after(grace.unwrap_or_default()),
        };
        entry.leases.insert(key.clone(), lease);
        self.holders.insert(key, worker.clone());
    }

    /// The ack is durable.
    pub fn acked(&mut self, key: &LeaseKey, now: LiveTime) {
        if let Some(lease) = self.lease_mut(key) {
            lease.acked = true;
            lease.last_report = lease.last_report.max(now);
        }
    }

    /// The attempt, or the offer, has ended.
    pub fn ended(&mut self, key: &LeaseKey) {
        let Some(worker) = self
            .holders
            .remove(key)
            .and_then(|id| self.workers.get_mut(&id))
        else {
            return;
        };
        if let Some(lease) = worker.leases.remove(key)
            && let Some(used) = worker.used.get_mut(&*lease.class)
        {
            *used = used.saturating_sub(1);
        }
    }

    /// The steps of a workflow have other indices from here on. A lease of a step that has none any more ends.
    pub fn renumber(&mut self, workflow: &WorkflowId, number: impl Fn(usize) -> Option<usize>) {
        let held: Vec<LeaseKey> = self
            .holders
            .keys()
            .filter(|(id, _)| id == workflow)
            .cloned()
            .collect();
        let mut moved = Vec::with_capacity(held.len());
        for old in held {
            let Some(index) = number(old.1) else {
                self.ended(&old);
                continue;
            };
            let holder = self.holders.remove(&old);
            if let Some((id, worker)) =
                holder.and_then(|id| self.workers.get_mut(&id).map(|worker| (id, worker)))
                && let Some(lease) = worker.leases.remove(&old)
            {
                moved.push((id, (workflow.clone(), index), lease));
            }
        }
        for (id, key, lease) in moved {
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.leases.insert(key.clone(), lease);
                self.holders.insert(key, id);
            }
        }
    }

    /// The step's code has reported so often.
    pub fn reported(&mut self, key: &LeaseKey, fence: Fence, reports: u64, now: LiveTime) {
        if let Some(lease) = self.lease_mut(key).filter(|lease| lease.fence == fence)
            && lease.reports != reports
        {
            lease.reports = reports;
            lease.last_report = lease.last_report.max(now);
        }
    }

    fn lease_mut(&mut self, key: &LeaseKey) -> Option<&mut Lease> {
        let worker = self.holders.get(key)?;
        self.workers.get_mut(worker)?.leases.get_mut(key)
    }

    /// The leases of a worker.
    #[must_use]
    pub fn leases_of(&self, id: &WorkerId) -> Vec<(LeaseKey, Fence, bool)> {
        self.workers.get(id).map_or_else(Vec::new, |worker| {
            worker
                .leases
                .iter()
                .map(|(key, lease)| (key.clone(), lease.fence, lease.acked))
                .collect()
        })
    }

    /// What the passing of time has brought.
    pub fn due(&mut self, now: LiveTime) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.silence(now, &mut findings);
        let heard: BTreeSet<(InstallationName, PoolName)> = self
            .workers
            .values()
            .filter(|worker| self.is_heard(worker, now))
            .map(|worker| worker.presence.pool())
            .collect();
        for worker in self.workers.values_mut() {
            let pool = worker.presence.pool();
            let peer_is_heard = heard.contains(&pool);
            for (key, lease) in &mut worker.leases {
                if !lease.acked {
                    if lease.ack_by <= now {
                        findings.push(Finding::Unacked {
                            key: key.clone(),
                            fence: lease.fence,
                        });
                    }
                } else if peer_is_heard
                    && worker.last_heard.after(lease.ttl) <= now
                    && lease.hold_off <= now
                {
                    findings.push(Finding::Expired {
                        key: key.clone(),
                        fence: lease.fence,
                    });
                } else if let Some(heartbeat) = lease.heartbeat
                    && worker.connected
                    && lease.last_report.after(heartbeat) <= now
                {
                    // Said once: the attempt is asked to stop.
                    lease.heartbeat = None;
                    findings.push(Finding::HeartbeatTimedOut {
                        key: key.clone(),
                        fence: lease.fence,
                    });
                }
            }
        }
        findings
    }

    fn is_heard(&self, worker: &Worker, now: LiveTime) -> bool {
        worker.connected && !worker.is_suspect(now, self.profile.suspect_after())
    }

    fn silence(&mut self, now: LiveTime, findings: &mut Vec<Finding>) {
        let mut heard: BTreeMap<InstallationName, bool> = BTreeMap::new();
        for worker in self.workers.values() {
            // A session that is being renewed is no silence yet.
            let is_heard = worker.last_heard.after(self.profile.lease_ttl) > now;
            *heard
                .entry(worker.presence.installation.clone())
                .or_default() |= is_heard;
        }
        for (installation, is_heard) in heard {
            if is_heard && self.silent.remove(&installation) {
                findings.push(Finding::Heard(installation));
            } else if !is_heard && self.silent.insert(installation.clone()) {
                findings.push(Finding::Silent(installation));
            }
        }
    }

    /// The next time after `now` at which [`LeaseTable::due`] may have something new to say. Being heard moves it later,
    /// never earlier, except that a new lease or session may bring an earlier one.
    #[must_use]
    pub fn next_deadline(&self, now: LiveTime) -> Option<LiveTime> {
        let of_worker = |worker: &Worker| {
            let silence = worker.last_heard.after(self.profile.lease_ttl);
            let leases = worker.leases.values().flat_map(move |lease| {
                if lease.acked {
                    let expiry = worker.last_heard.after(lease.ttl).max(lease.hold_off);
                    let heartbeat = lease
                        .heartbeat
                        .map(|heartbeat| lease.last_report.after(heartbeat));
                    [Some(expiry), heartbeat]
                } else {
                    [Some(lease.ack_by), None]
                }
            });
            leases
                .flatten()
                .chain([silence])
                .filter(|at| *at > now)
                .min()
        };
        self.workers.values().filter_map(of_worker).min()
    }

    /// How much of the time from `since` to `now` a worker could not be heard.
    #[must_use]
    pub fn unheard(&self, worker: &WorkerId, since: Timestamp, now: Timestamp) -> Duration {
        let Some(worker) = self.workers.get(worker) else {
            return Duration::ZERO;
        };
        if worker.unheard_since.is_none() && !worker.unheard.reaches(since) {
            return Duration::ZERO;
        }
        let mut intervals = worker.unheard.clone();
        if let Some(open) = worker.unheard_since {
            intervals.push(open, now);
        }
        intervals.overlap(since, now)
    }

    /// A worker as it stands now.
    #[must_use]
    pub fn worker(&self, id: &WorkerId, now: LiveTime) -> Option<WorkerNow<'_>> {
        let worker = self.workers.get(id)?;
        Some(WorkerNow {
            presence: &worker.presence,
            connected: worker.connected,
            suspect: worker.is_suspect(now, self.profile.suspect_after()),
            heard_at: worker.heard_at,
            used: &worker.used,
            attempts: worker.leases.keys().cloned().collect(),
        })
    }

    /// When a lease expires, counted from now.
    #[must_use]
    pub fn expires_in(&self, key: &LeaseKey, now: LiveTime) -> Option<Duration> {
        let worker = self.workers.get(self.holders.get(key)?)?;
        let lease = worker.leases.get(key)?;
        Some(
            worker
                .last_heard
                .after(lease.ttl)
                .max(lease.hold_off)
                .since(now),
        )
    }
}

/// A worker as it stands now.
#[derive(Debug)]
pub struct WorkerNow<'a> {
    /// What its hello said.
    pub presence: &'a Presence,
    /// Its session is up.
    pub connected: bool,
    /// Its beats are late.
    pub suspect: bool,
    /// When it was last heard, in domain time.
    pub heard_at: Option<Timestamp>,
    /// Credits in use.
    pub used: &'a BTreeMap<String, u32>,
    /// What it holds.
    pub attempts: Vec<LeaseKey>,
}
