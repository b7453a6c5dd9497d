//! The instances of one load balancer, and which of them gets the next connection.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

use crate::cloud::health::{Health, HealthCheck, State};

/// A registered instance.
#[derive(Debug)]
pub(super) struct Backend {
    /// Instance id.
    pub(super) instance: String,
    /// Its private address.
    pub(super) address: Ipv4Addr,
    /// Cancelled when connections to it must end.
    pub(super) closing: CancellationToken,
    health: Mutex<Health>,
}

impl Backend {
    pub(super) fn new(instance: &str, address: Ipv4Addr, closing: CancellationToken) -> Self {
        Self {
            instance: instance.to_owned(),
            address,
            closing,
            health: Mutex::new(Health::new()),
        }
    }

    /// What is said of it now.
    pub(super) fn state(&self) -> State {
        self.lock().state().clone()
    }

    /// Takes the result of a check; the state when it changed.
    pub(super) fn record(&self, passed: bool, check: &HealthCheck) -> Option<State> {
        let mut health = self.lock();
        health.record(passed, check).then(|| health.state().clone())
    }

    /// Takes its state in EC2; the state when it changed.
    pub(super) fn instance_is(&self, ec2: &str) -> Option<State> {
        let mut health = self.lock();
        health.instance_is(ec2).then(|| health.state().clone())
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The instances of one load balancer.
#[derive(Debug, Default)]
pub(super) struct Roster {
    backends: Mutex<BTreeMap<String, Arc<Backend>>>,
    next: AtomicUsize,
}

impl Roster {
    /// The instance for the next connection: those in service take turns.
    pub(super) fn pick(&self) -> Option<Arc<Backend>> {
        let backends = self.backends();
        let serving: Vec<_> = backends
            .values()
            .filter(|backend| backend.state() == State::InService)
            .collect();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let chosen = serving.get(turn.checked_rem(serving.len())?)?;
        Some(Arc::clone(chosen))
    }

    /// What is said of each.
    pub(super) fn states(&self) -> BTreeMap<String, State> {
        self.backends()
            .iter()
            .map(|(id, backend)| (id.clone(), backend.state()))
            .collect()
    }

    /// Adds one, or replaces it.
    pub(super) fn add(&self, backend: Arc<Backend>) {
        self.backends().insert(backend.instance.clone(), backend);
    }

    /// Removes one: it gets no new connections from here on.
    pub(super) fn remove(&self, instance: &str) {
        self.backends().remove(instance);
    }

    fn backends(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Backend>>> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rosters of all load balancers, for those who ask about health. Clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::cloud) struct View(Arc<Mutex<BTreeMap<String, Arc<Roster>>>>);

impl View {
    /// What is said of the instances of a load balancer; nothing of one that is not followed yet.
    pub(in crate::cloud) fn states(&self, load_balancer: &str) -> BTreeMap<String, State> {
        let rosters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rosters
            .get(load_balancer)
            .map(|roster| roster.states())
            .unwrap_or_default()
    }

    pub(super) fn add(&self, load_balancer: &str, roster: Arc<Roster>) {
        let mut rosters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rosters.insert(load_balancer.to_owned(), roster);
    }

    pub(super) fn remove(&self, load_balancer: &str) {
        let mut rosters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rosters.remove(load_balancer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(serving: &[&str], silent: &[&str]) -> Roster {
        let check = HealthCheck::new("TCP:443", 5, 3, 1, 1).unwrap();
        let roster = Roster::default();
        for id in serving.iter().chain(silent) {
            let backend = Backend::new(id, Ipv4Addr::LOCALHOST, CancellationToken::new());
            backend.record(serving.contains(id), &check);
            roster.add(Arc::new(backend));
        }
        roster
    }

    fn picks(roster: &Roster, count: usize) -> Vec<String> {
        (0..count)
            .filter_map(|_| roster.pick())
            .map(|backend| backend.instance.clone())
            .collect()
    }

    #[test]
    fn instances_in_service_take_turns() {
        let roster = roster(&["i-1", "i-3"], &["i-2"]);
        assert_eq!(picks(&roster, 4), ["i-1", "i-3", "i-1", "i-3"]);
        roster.remove("i-1");
        assert_eq!(picks(&roster, 2), ["i-3", "i-3"]);
    }

    #[test]
    fn nobody_serves_when_nobody_is_in_service() {
        assert!(picks(&roster(&[], &["i-1"]), 3).is_empty());
        assert!(picks(&roster(&[], &[]), 3).is_empty());
    }
}
