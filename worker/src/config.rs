//! What a worker is started with.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tonic::transport::Uri;

/// Sets the log filter, or says why not.
pub type SetLogLevel = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What a worker is started with.
#[derive(Clone)]
pub struct Config {
    /// Where the coordinator is.
    pub coordinator: Uri,
    /// What the worker serves.
    pub installation: String,
    /// Its pool.
    pub pool: String,
    /// Its id: stable across restarts, unique in the fleet.
    pub id: String,
    /// Folder of the spool.
    pub spool: PathBuf,
    /// Build of this program, as operators see it.
    pub build: String,
    /// Places it reaches.
    pub reach: Vec<String>,
    /// Account, region, partition and whatever operators filter by.
    pub labels: BTreeMap<String, String>,
    /// How much it takes at once, by class.
    pub credits: BTreeMap<String, u32>,
    /// `/metrics`, `/healthz`, `/readyz`; `None` for none.
    pub http: Option<SocketAddr>,
    /// The first wait before it reconnects, and the longest.
    pub reconnect: (Duration, Duration),
    /// How long attempts may take to end once the process was told to.
    pub drain: Duration,
    /// Sets the log filter; given by whoever set logging up.
    pub set_log_level: SetLogLevel,
}

/// What the default worker takes at once.
#[must_use]
pub fn default_credits() -> BTreeMap<String, u32> {
    [
        ("light", 32),
        ("cloud-api", 16),
        ("etcd-surgery", 8),
        ("guard", 64),
    ]
    .into_iter()
    .map(|(class, credits)| (class.to_owned(), credits))
    .collect()
}
