//! The world: a deterministic discrete-event state machine. Pure and synchronous: time and calls come in, replies go out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drover_model::VintageCluster;
use drover_ports::{Call, Caller, PortError, Reply};
use drover_step_api::{Stamp, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Fate, FaultKind, Genesis, KeyRing, Latency, LedgerEntry, WorldConfig, WorldError,
    chance::Chance,
    doors,
    faults::{self, CallCount, Faults},
    genesis::{GenesisCluster, Site},
    latency, rules,
    state::Cluster,
};

/// Installations and clusters.
#[derive(Clone, Debug)]
pub(crate) struct Realm {
    pub(crate) sites: BTreeMap<String, Site>,
    pub(crate) clusters: BTreeMap<String, Cluster>,
}

/// One outside call as it reaches the world.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Who calls.
    pub caller: Caller,
    /// Which generation of the caller's AWS credentials; a higher one is fresher.
    pub credentials: u64,
    /// The call.
    pub call: Call,
    /// The used-up permit of a mutation.
    pub stamp: Option<Stamp>,
}

/// The simulated world.
///
/// `advance` lets time pass; everything due happens at its own time, so it does not matter in how many pieces time passes.
/// `call` is one outside call that has its effect now. A world is a value: its clone is another world that shares nothing
/// with it.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) config: Arc<WorldConfig>,
    spare: Arc<crate::ClusterKeys>,
    pub(crate) realm: Realm,
    now: Timestamp,
    /// When each cluster's rules have to look next.
    due: BTreeSet<(Timestamp, String)>,
    due_of: BTreeMap<String, Timestamp>,
    pub(crate) faults: Faults,
    chance: Chance,
    pub(crate) ledger: Vec<Arc<LedgerEntry>>,
}

impl World {
    /// A world of these clusters, with new keys.
    ///
    /// # Errors
    /// As [`Genesis::new`]; when two clusters have one id.
    pub fn new(config: WorldConfig, clusters: &[VintageCluster]) -> Result<Self, WorldError> {
        Self::from_genesis(&Genesis::new(config, clusters)?)
    }

    /// The world that a genesis describes, at its beginning.
    ///
    /// # Errors
    /// When two clusters have one id.
    pub fn from_genesis(genesis: &Genesis) -> Result<Self, WorldError> {
        let (sites, clusters) = genesis.unfold()?;
        let config = Arc::new(genesis.config.clone());
        let mut world = Self {
            spare: Arc::clone(genesis.spare()),
            realm: Realm { sites, clusters },
            now: config.start,
            due: BTreeSet::new(),
            due_of: BTreeMap::new(),
            faults: Faults::new(config.faults.clone(), config.seed),
            chance: Chance::new(config.seed, "calls"),
            ledger: Vec::new(),
            config,
        };
        let ids: Vec<String> = world.realm.clusters.keys().cloned().collect();
        for id in ids {
            world.reschedule(&id);
        }
        Ok(world)
    }

    /// The domain clock.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What the world began with.
    pub fn config(&self) -> &WorldConfig {
        &self.config
    }

    /// Ids of the clusters and the installations that they are in, ordered by id.
    pub fn clusters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.realm.clusters.values().map(|cluster| {
            (
                cluster.facts.id.as_str(),
                cluster.facts.installation.as_str(),
            )
        })
    }

    /// When something happens next by itself; `None` when nothing is pending.
    pub fn next_event(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What is pending for a cluster, earliest first: names of rules and their times.
    pub fn pending(&self, cluster: &str) -> Vec<(&'static str, Timestamp)> {
        self.realm
            .clusters
            .get(cluster)
            .map(|cluster| cluster.timers.pending())
            .unwrap_or_default()
    }

    /// Lets time pass until `now`. A time that has passed already changes nothing.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.due.first().cloned() {
            if at > now {
                break;
            }
            self.settle(&id, at);
        }
        self.now = self.now.max(now);
    }

    fn settle(&mut self, id: &str, at: Timestamp) {
        if let Some(cluster) = self.realm.clusters.get_mut(id) {
            rules::settle(cluster, at);
        }
        self.reschedule(id);
    }

    fn reschedule(&mut self, id: &str) {
        if let Some(old) = self.due_of.remove(id) {
            self.due.remove(&(old, id.to_owned()));
        }
        let next = self
            .realm
            .clusters
            .get(id)
            .and_then(|cluster| cluster.timers.next());
        if let Some(next) = next {
            self.due.insert((next, id.to_owned()));
            self.due_of.insert(id.to_owned(), next);
        }
    }

    /// How long the next such call takes, and when in that time it has its effect.
    pub fn latency(&self, caller: &Caller, call: &Call, stamp: Option<&Stamp>) -> Latency {
        let count = self.faults.peek(caller, &call.action(), stamp);
        latency::of(call, &count, &self.chance)
    }

    /// One outside call that has its effect at `at`.
    ///
    /// # Errors
    /// What the outside says, or an injected fault.
    pub fn call(&mut self, at: Timestamp, request: &Request) -> Result<Reply, PortError> {
        self.advance(at);
        let at = self.now;
        let Request {
            caller,
            credentials,
            call,
            stamp,
        } = request;
        let action = call.action();
        let count = self.faults.count(caller, &action, stamp.as_ref());
        let fault = self.faults.strike(caller, *credentials, call, &count, at);
        let reaches = match fault {
            None | Some(FaultKind::LostReply) => true,
            Some(FaultKind::Unavailable) => self.faults.fails_after_effect(&count),
            Some(_) => false,
        };
        let done = if reaches {
            doors::carry_out(
                &mut self.realm,
                &caller.installation,
                call,
                count.of_step,
                at,
            )
        } else {
            Err(faults::error_of(
                fault.unwrap_or(FaultKind::Unavailable),
                &action,
            ))
        };
        let changed = done.as_ref().is_ok_and(|done| done.changed);
        if let Ok(done) = &done
            && let (true, Some(id)) = (changed, &done.touched)
        {
            self.settle(id, at);
        }
        let result = match (done, fault) {
            (Ok(_), Some(fault)) => Err(faults::error_of(fault, &action)),
            (Ok(done), None) => Ok(done.reply),
            (Err(error), _) => Err(error),
        };
        self.note(at, request, action, &result, changed, fault);
        result
    }

    fn note(
        &mut self,
        at: Timestamp,
        request: &Request,
        action: String,
        result: &Result<Reply, PortError>,
        changed: bool,
        fault: Option<FaultKind>,
    ) {
        let outcome = match result {
            Ok(_) => "ok".to_owned(),
            Err(error) => serde_json::to_value(error.kind)
                .ok()
                .and_then(|kind| kind.as_str().map(str::to_owned))
                .unwrap_or_default(),
        };
        self.ledger.push(Arc::new(LedgerEntry {
            seq: self.ledger.len() as u64,
            at,
            caller: request.caller.clone(),
            stamp: request.stamp.clone(),
            action,
            target: doors::target(&request.call),
            changed,
            outcome,
            fault,
        }));
    }

    /// Puts a read that was made before back into the ledger, and counts it, without making it again: it changed nothing
    /// but what faults strike later calls.
    pub(crate) fn replay_read(&mut self, entry: Arc<LedgerEntry>, credentials: u64) {
        self.advance(entry.at);
        let _: CallCount = self.faults.count(&entry.caller, &entry.action, None);
        if let Some(fault) = entry.fault {
            self.faults
                .note(fault, &entry.caller.worker, credentials, entry.at);
        }
        self.ledger.push(entry);
    }

    /// Something happens to a cluster that nobody called for. False when there is no such cluster or nothing changed.
    pub fn strike(&mut self, at: Timestamp, cluster: &str, fate: &Fate) -> bool {
        self.advance(at);
        let changed = self
            .realm
            .clusters
            .get_mut(cluster)
            .is_some_and(|cluster| fate.befall(cluster, self.now));
        self.settle(cluster, self.now);
        changed
    }

    /// Adds clusters.
    ///
    /// # Errors
    /// When no installation lies in a cluster's partition, or an id is there already; then none is added.
    pub fn add(&mut self, clusters: &[GenesisCluster]) -> Result<Vec<String>, WorldError> {
        let mut config = (*self.config).clone();
        config.start = self.now;
        let mut realm = self.realm.clone();
        let mut added = Vec::new();
        for cluster in clusters {
            let cluster = cluster.unfold(&config, &self.spare, &mut realm.sites)?;
            let id = cluster.facts.id.clone();
            if realm.clusters.insert(id.clone(), cluster).is_some() {
                return Err(WorldError::Twice(id));
            }
            added.push(id);
        }
        self.realm = realm;
        for id in &added {
            self.reschedule(id);
        }
        Ok(added)
    }

    /// Prepares clusters for [`World::add`]: puts them into installations and gives them keys.
    ///
    /// # Errors
    /// When no installation lies in a cluster's partition, or keys cannot be made.
    pub fn prepare(&self, clusters: &[VintageCluster]) -> Result<Vec<GenesisCluster>, WorldError> {
        let ring = KeyRing::generate(clusters.len())?;
        clusters
            .iter()
            .enumerate()
            .map(|(n, cluster)| {
                GenesisCluster::new(cluster, &self.config.installations, ring.get(n))
            })
            .collect()
    }

    /// Outside calls from the `from`th on.
    pub fn ledger(&self, from: u64) -> impl Iterator<Item = &LedgerEntry> {
        let from = usize::try_from(from)
            .unwrap_or(usize::MAX)
            .min(self.ledger.len());
        self.ledger[from..].iter().map(AsRef::as_ref)
    }
}
