//! What is durably known of workers and installations: the fold of the pools stream.
//!
//! Who is heard right now is not here: that is [`crate::lease`], which forgets at every restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    declaration::KindDeclaration,
    definition::Kinds,
    ids::{Actor, InstallationName, KindRef, PoolName, WorkerId},
    stream::Recorded,
    time::Timestamp,
};

/// What happened to workers and installations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum PoolsEvent {
    /// A coordinator began. Durable before anything else it does.
    EpochBegan {
        /// Higher than every one before.
        epoch: u64,
        /// Build of the coordinator.
        build: String,
        /// The domain time until which the one before was surely there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        away_since: Option<Timestamp>,
    },
    /// A worker announced a kind for the first time, or with other defaults.
    KindAnnounced(Box<KindDeclaration>),
    /// A worker said hello with something new.
    WorkerSeen(Box<WorkerRecord>),
    /// It gets no further offers until its next incarnation.
    WorkerDraining {
        /// Which.
        worker: WorkerId,
        /// Its process ends once it holds nothing.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        exit: bool,
    },
    /// It gets offers again.
    WorkerUndrained {
        /// Which.
        worker: WorkerId,
    },
    /// A person vouches that it is gone for good.
    WorkerDeclaredDead {
        /// Which.
        worker: WorkerId,
    },
    /// No worker of the installation is heard.
    SilenceBegan {
        /// Which.
        installation: InstallationName,
    },
    /// A worker of the installation is heard again.
    SilenceEnded {
        /// Which.
        installation: InstallationName,
    },
    /// Nothing new starts anywhere.
    BrakeOn {
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// The end of that.
    BrakeOff {
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
}

/// What a worker's last hello said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// Its id.
    pub worker: WorkerId,
    /// What it serves.
    pub installation: InstallationName,
    /// Its pool.
    pub pool: PoolName,
    /// Its process.
    pub incarnation: Arc<str>,
    /// Names its spool.
    pub spool: Arc<str>,
    /// Openings of the spool.
    pub spool_counter: u64,
    /// Build of its program.
    pub build: String,
    /// Kinds it serves.
    pub kinds: BTreeSet<KindRef>,
    /// Places it reaches.
    pub reach: BTreeSet<String>,
    /// Account, region and the like.
    pub labels: BTreeMap<String, String>,
}

/// How a known worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Takes offers when it is heard.
    Serving,
    /// Takes none until its next incarnation.
    Draining {
        /// Its process ends once it holds nothing.
        exit: bool,
    },
    /// Declared dead.
    Dead,
}

impl Standing {
    /// True when it takes no offers but those of a critical span.
    #[must_use]
    pub fn is_draining(self) -> bool {
        matches!(self, Self::Draining { .. })
    }
}

/// The brake, while it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brake {
    /// Since when.
    pub since: Timestamp,
    /// Who.
    pub actor: Option<Actor>,
    /// Why.
    pub reason: String,
}

/// The most intervals of absence that are kept; older ones matter to no open step in practice.
const INTERVALS_MAX: usize = 512;

/// The fold of the pools stream.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    /// Seq of the newest event.
    pub head: u64,
    /// The newest epoch.
    pub epoch: u64,
    /// Set while the brake is on.
    pub brake: Option<Brake>,
    kinds: Kinds,
    workers: BTreeMap<WorkerId, (WorkerRecord, Standing)>,
    away: Intervals,
    silent: BTreeMap<InstallationName, (Intervals, Option<Timestamp>)>,
}

impl Pools {
    /// Takes one event in.
    pub fn apply(&mut self, event: &Recorded<PoolsEvent>) {
        self.head = event.seq;
        match &event.body {
            PoolsEvent::EpochBegan {
                epoch, away_since, ..
            } => {
                self.epoch = *epoch;
                if let Some(since) = away_since {
                    self.away.push(*since, event.at);
                }
                // Nobody was heard while the coordinator was away; that time is accounted for already.
                for (_, since) in self.silent.values_mut() {
                    if since.is_some() {
                        *since = Some(event.at);
                    }
                }
            }
            PoolsEvent::KindAnnounced(declaration) => {
                self.kinds
                    .insert(declaration.kind.clone(), Arc::new((**declaration).clone()));
            }
            PoolsEvent::WorkerSeen(record) => {
                self.workers.insert(
                    record.worker.clone(),
                    ((**record).clone(), Standing::Serving),
                );
            }
            PoolsEvent::WorkerDraining { worker, exit } => {
                self.set_standing(worker, Standing::Draining { exit: *exit });
            }
            PoolsEvent::WorkerUndrained { worker } => self.set_standing(worker, Standing::Serving),
            PoolsEvent::WorkerDeclaredDead { worker } => self.set_standing(worker, Standing::Dead),
            PoolsEvent::SilenceBegan { installation } => {
                self.silent.entry(installation.clone()).or_default().1 = Some(event.at);
            }
            PoolsEvent::SilenceEnded { installation } => {
                let (intervals, since) = self.silent.entry(installation.clone()).or_default();
                if let Some(since) = since.take() {
                    intervals.push(since, event.at);
                }
            }
            PoolsEvent::BrakeOn { reason } => {
                self.brake = Some(Brake {
                    since: event.at,
                    actor: event.actor.clone(),
                    reason: reason.clone(),
                });
            }
            PoolsEvent::BrakeOff { .. } => self.brake = None,
        }
    }

    fn set_standing(&mut self, worker: &WorkerId, standing: Standing) {
        if let Some((_, current)) = self.workers.get_mut(worker) {
            *current = standing;
        }
    }

    /// The kinds that any worker has ever announced.
    #[must_use]
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// A known worker.
    #[must_use]
    pub fn worker(&self, id: &str) -> Option<(&WorkerRecord, Standing)> {
        self.workers
            .get(id)
            .map(|(record, standing)| (record, *standing))
    }

    /// All known workers, ordered by id.
    pub fn workers(&self) -> impl Iterator<Item = (&WorkerRecord, Standing)> {
        self.workers
            .values()
            .map(|(record, standing)| (record, *standing))
    }

    /// Since when no worker of an installation is heard.
    #[must_use]
    pub fn silent_since(&self, installation: &InstallationName) -> Option<Timestamp> {
        self.silent.get(installation).and_then(|(_, since)| *since)
    }

    /// How much of the time from `since` to `now` the coordinator was away.
    #[must_use]
    pub fn away(&self, since: Timestamp, now: Timestamp) -> Duration {
        self.away.overlap(since, now)
    }

    /// How much of the time from `since` to `now` the coordinator was away or the installation silent.
    #[must_use]
    pub fn absent(
        &self,
        installation: &InstallationName,
        since: Timestamp,
        now: Timestamp,
    ) -> Duration {
        let silent = self.silent.get(installation);
        let touched = self.away.reaches(since)
            || silent.is_some_and(|(intervals, open)| open.is_some() || intervals.reaches(since));
        if !touched {
            return Duration::ZERO;
        }
        let mut all = self.away.clone();
        if let Some((intervals, open)) = silent {
            for (from, to) in &intervals.0 {
                all.push(*from, *to);
            }
            if let Some(open) = open {
                all.push(*open, now);
            }
        }
        all.overlap(since, now)
    }
}

/// Spans of time, in no order, that may overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intervals(Vec<(Timestamp, Timestamp)>);

impl Intervals {
    /// Adds a span; an empty one is nothing.
    pub fn push(&mut self, from: Timestamp, to: Timestamp) {
        if from < to {
            if self.0.len() >= INTERVALS_MAX {
                self.0.remove(0);
            }
            self.0.push((from, to));
        }
    }

    /// True when one of them ends after `since`.
    #[must_use]
    pub fn reaches(&self, since: Timestamp) -> bool {
        self.0.iter().any(|(_, to)| *to > since)
    }

    /// The length of their union within `since..now`.
    #[must_use]
    pub fn overlap(&self, since: Timestamp, now: Timestamp) -> Duration {
        if !self.reaches(since) {
            return Duration::ZERO;
        }
        let mut spans: Vec<(Timestamp, Timestamp)> = self
            .0
            .iter()
            .map(|(from, to)| ((*from).max(since), (*to).min(now)))
            .filter(|(from, to)| from < to)
            .collect();
        spans.sort_unstable();
        let mut total = Duration::ZERO;
        let mut covered = since;
        for (from, to) in spans {
            total += to.since(from.max(covered));
            covered = covered.max(to);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    #[test]
    fn overlapping_absences_count_once() {
        let mut intervals = Intervals::default();
        intervals.push(at(10), at(20));
        intervals.push(at(15), at(30));
        intervals.push(at(12), at(14));
        intervals.push(at(50), at(50));
        assert_eq!(intervals.overlap(at(0), at(100)), Duration::from_secs(20));
        assert_eq!(intervals.overlap(at(18), at(25)), Duration::from_secs(7));
        assert_eq!(intervals.overlap(at(40), at(100)), Duration::ZERO);
    }

    #[test]
    fn silence_goes_on_until_it_ends_and_the_coordinators_absence_is_not_counted_twice() {
        let golem = InstallationName::new("golem").unwrap();
        let mut pools = Pools::default();
        let mut apply = |at_s: i64, body: PoolsEvent| {
            let seq = pools.head + 1;
            pools.apply(&Recorded {
                seq,
                at: at(at_s),
                actor: None,
                body,
            });
        };
        apply(
            10,
            PoolsEvent::SilenceBegan {
                installation: golem.clone(),
            },
        );
        apply(
            30,
            PoolsEvent::EpochBegan {
                epoch: 2,
                build: String::new(),
                away_since: Some(at(20)),
            },
        );
        apply(
            40,
            PoolsEvent::SilenceEnded {
                installation: golem.clone(),
            },
        );
        apply(
            50,
            PoolsEvent::SilenceBegan {
                installation: golem.clone(),
            },
        );
        // 20..30 away, 30..40 and 50..60 silent; 10..20 is lost with the process that knew it was silent.
        assert_eq!(pools.absent(&golem, at(0), at(60)), Duration::from_secs(30));
        assert_eq!(pools.epoch, 2);
    }
}
