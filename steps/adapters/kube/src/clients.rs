//! Connections that are kept, one for each door, with the address that each leads to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use drover_ports::{Cluster, Via};

use crate::connection::Connection;

/// For how long an address that was looked up is believed: instances come and go while a migration runs.
const BELIEVED: Duration = Duration::from_secs(5);

/// A door.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// The vintage management cluster.
    VintageMc,
    /// The Cluster API management cluster.
    CapiMc,
    /// A door of a workload cluster.
    Workload(String, Via),
}

impl From<&Cluster> for Key {
    fn from(at: &Cluster) -> Self {
        match at {
            Cluster::VintageMc => Self::VintageMc,
            Cluster::CapiMc => Self::CapiMc,
            Cluster::Workload { cluster, via } => Self::Workload(cluster.clone(), via.clone()),
        }
    }
}

impl Key {
    /// True when the address behind the door may change while nothing fails.
    fn is_looked_up(&self) -> bool {
        matches!(self, Self::Workload(_, Via::NewName | Via::Instance { .. }))
    }
}

struct Kept<T> {
    address: String,
    since: Instant,
    connection: Arc<T>,
}

/// Kept connections.
pub(crate) struct Clients<T = Connection> {
    kept: Mutex<HashMap<Key, Kept<T>>>,
}

impl<T> Default for Clients<T> {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
        }
    }
}

impl<T> Clients<T> {
    /// The connection through a door, if its address is still to be believed at `now`.
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<Arc<T>> {
        let kept = self.kept();
        let found = kept.get(key)?;
        let old = now.saturating_duration_since(found.since) > BELIEVED;
        (!(key.is_looked_up() && old)).then(|| Arc::clone(&found.connection))
    }

    /// The address of a door was looked up at `now`: the connection that leads there, if there is one.
    pub(crate) fn confirm(&self, key: &Key, address: &str, now: Instant) -> Option<Arc<T>> {
        let mut kept = self.kept();
        let found = kept.get_mut(key).filter(|found| found.address == address)?;
        found.since = now;
        Some(Arc::clone(&found.connection))
    }

    /// Keeps a connection, in place of an older one.
    pub(crate) fn keep(&self, key: Key, address: String, connection: Arc<T>, now: Instant) {
        let kept = Kept {
            address,
            since: now,
            connection,
        };
        self.kept().insert(key, kept);
    }

    /// Forgets one connection.
    pub(crate) fn drop_one(&self, key: &Key) {
        self.kept().remove(key);
    }

    /// Forgets all connections.
    pub(crate) fn drop_all(&self) {
        self.kept().clear();
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Key, Kept<T>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance() -> Key {
        let via = Via::Instance {
            id: "i-1".to_owned(),
        };
        Key::Workload("c0001".to_owned(), via)
    }

    #[test]
    fn looked_up_addresses_grow_old() {
        let (clients, now) = (Clients::<u8>::default(), Instant::now());
        let later = now + BELIEVED + Duration::from_secs(1);
        clients.keep(instance(), "10.0.0.1".to_owned(), Arc::new(1), now);
        assert!(clients.get(&instance(), now).is_some());
        assert!(clients.get(&instance(), later).is_none());
        assert!(clients.confirm(&instance(), "10.0.0.1", later).is_some());
        assert!(clients.get(&instance(), later).is_some());
    }

    #[test]
    fn another_address_is_another_connection() {
        let (clients, now) = (Clients::<u8>::default(), Instant::now());
        clients.keep(instance(), "10.0.0.1".to_owned(), Arc::new(1), now);
        assert!(clients.confirm(&instance(), "10.0.0.2", now).is_none());
    }

    #[test]
    fn the_old_name_stays_until_it_fails() {
        let (clients, now) = (Clients::<u8>::default(), Instant::now());
        let key = Key::Workload("c0001".to_owned(), Via::OldName);
        clients.keep(key.clone(), "old".to_owned(), Arc::new(1), now);
        assert!(clients.get(&key, now + BELIEVED * 100).is_some());
        clients.drop_one(&key);
        assert!(clients.get(&key, now).is_none());
    }
}
