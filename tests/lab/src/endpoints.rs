//! The `kubernetes` service as what runs inside the cluster has it. Its EndpointSlices say where a new connection may go, and
//! every node follows them; its Endpoints are what the API servers write, each for itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use futures_util::TryStreamExt as _;
use kube::{
    Api,
    api::{DynamicObject, ListParams, WatchEvent, WatchParams},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::api;

/// How long one watch lasts, seconds.
const WATCH: u32 = 15;
/// From a watch that ended to the next one.
const PAUSE: Duration = Duration::from_millis(100);

/// Where a connection to the service may go now.
pub(crate) type Addresses = watch::Receiver<Vec<SocketAddr>>;

/// What became of one object kind.
#[derive(Clone, Debug, Serialize)]
struct Change {
    at: f64,
    kind: &'static str,
    addresses: Vec<SocketAddr>,
}

/// The service over the whole migration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Service {
    /// How often its EndpointSlices changed.
    pub changes: usize,
    /// How often of these the port did.
    pub flips: usize,
    /// Seconds for which they named each port.
    pub ports: BTreeMap<u16, f64>,
}

/// Follows the service.
pub(crate) struct Endpoints {
    stop: CancellationToken,
    tasks: TaskTracker,
    begin: Instant,
    changes: Arc<Mutex<Vec<Change>>>,
    addresses: Addresses,
}

impl Endpoints {
    /// Begins to follow it, through the API by its old name; its first addresses are there at once.
    pub(crate) async fn follow(kubeconfig: &Path) -> anyhow::Result<Self> {
        let client = api::client(kubeconfig).await?;
        let slices = Kind {
            name: "EndpointSlice",
            api: api::resource(
                &client,
                "discovery.k8s.io/v1",
                "EndpointSlice",
                Some("default"),
            )
            .await?,
            labels: Some("kubernetes.io/service-name=kubernetes".to_owned()),
            fields: None,
            read: of_slice,
        };
        let endpoints = Kind {
            name: "Endpoints",
            api: api::resource(&client, "v1", "Endpoints", Some("default")).await?,
            labels: None,
            fields: Some("metadata.name=kubernetes".to_owned()),
            read: of_endpoints,
        };
        let (sender, mut addresses) = watch::channel(Vec::new());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (begin, changes) = (Instant::now(), Arc::<Mutex<Vec<Change>>>::default());
        for kind in [slices, endpoints] {
            let sender = (kind.name == "EndpointSlice").then(|| sender.clone());
            let (changes, stop) = (Arc::clone(&changes), stop.clone());
            tasks.spawn(async move {
                let tell = |addresses: Vec<SocketAddr>| {
                    if let Some(sender) = &sender {
                        sender.send_replace(addresses.clone());
                    }
                    let mut changes = changes.lock().expect("nobody panics with the lock");
                    let last = changes.iter().rev().find(|last| last.kind == kind.name);
                    if last.is_none_or(|last| last.addresses != addresses) {
                        changes.push(Change {
                            at: begin.elapsed().as_secs_f64(),
                            kind: kind.name,
                            addresses,
                        });
                    }
                };
                stop.run_until_cancelled(kind.follow(&tell)).await;
            });
        }
        let there = addresses.wait_for(|addresses| !addresses.is_empty());
        tokio::time::timeout(Duration::from_secs(30), there)
            .await
            .context("the kubernetes service has no endpoints")??;
        Ok(Self {
            stop,
            tasks,
            begin,
            changes,
            addresses,
        })
    }

    /// For its clients.
    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// Ends it; every change goes to `file`, a line each.
    pub(crate) async fn end(self, file: PathBuf) -> anyhow::Result<Service> {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let changes =
            std::mem::take(&mut *self.changes.lock().expect("nobody panics with the lock"));
        let lines: String = changes
            .iter()
            .filter_map(|change| Some(serde_json::to_string(change).ok()? + "\n"))
            .collect();
        std::fs::write(&file, lines).with_context(|| format!("write {}", file.display()))?;
        Ok(service(&changes, self.begin.elapsed().as_secs_f64()))
    }
}

struct Kind {
    name: &'static str,
    api: Api<DynamicObject>,
    labels: Option<String>,
    fields: Option<String>,
    read: fn(&Value) -> Vec<SocketAddr>,
}

impl Kind {
    /// Never ends. What was known stays so while nobody answers, as it does on a node.
    async fn follow(&self, tell: &(impl Fn(Vec<SocketAddr>) + Sync)) {
        loop {
            if let Err(error) = self.watch(tell).await {
                tracing::debug!(kind = self.name, "a watch ended: {error:#}");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn watch(&self, tell: &(impl Fn(Vec<SocketAddr>) + Sync)) -> anyhow::Result<()> {
        let params = ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            ..ListParams::default()
        };
        let found = self.api.list(&params).await?;
        let version = found
            .metadata
            .resource_version
            .context("a list without a version")?;
        let mut known: BTreeMap<String, Vec<SocketAddr>> = found
            .items
            .iter()
            .filter_map(|object| Some((object.metadata.name.clone()?, (self.read)(&object.data))))
            .collect();
        tell(all(&known));
        let params = WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            timeout: Some(WATCH),
            ..WatchParams::default()
        };
        let mut events = pin!(self.api.watch(&params, &version).await?);
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    let name = object.metadata.name.unwrap_or_default();
                    known.insert(name, (self.read)(&object.data));
                }
                WatchEvent::Deleted(object) => {
                    known.remove(&object.metadata.name.unwrap_or_default());
                }
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(error) => bail!("{error}"),
            }
            tell(all(&known));
        }
        Ok(())
    }
}

fn all(known: &BTreeMap<String, Vec<SocketAddr>>) -> Vec<SocketAddr> {
    let all: BTreeSet<SocketAddr> = known.values().flatten().copied().collect();
    all.into_iter().collect()
}

/// Every address at every port: that is what a slice means.
fn of_slice(slice: &Value) -> Vec<SocketAddr> {
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let addresses = endpoints
        .filter(|endpoint| endpoint["conditions"]["ready"] != false)
        .flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten());
    at_ports(addresses, &slice["ports"])
}

/// The same of Endpoints.
fn of_endpoints(endpoints: &Value) -> Vec<SocketAddr> {
    let subsets = endpoints["subsets"].as_array().into_iter().flatten();
    subsets
        .flat_map(|subset| {
            let addresses = subset["addresses"].as_array().into_iter().flatten();
            at_ports(addresses.map(|address| &address["ip"]), &subset["ports"])
        })
        .collect()
}

fn at_ports<'v>(addresses: impl Iterator<Item = &'v Value>, ports: &Value) -> Vec<SocketAddr> {
    let ports: Vec<u16> = ports
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|port| u16::try_from(port["port"].as_u64()?).ok())
        .collect();
    addresses
        .filter_map(|address| address.as_str()?.parse::<IpAddr>().ok())
        .flat_map(|address| {
            ports
                .iter()
                .map(move |port| SocketAddr::new(address, *port))
        })
        .collect()
}

fn service(changes: &[Change], until: f64) -> Service {
    let slices: Vec<&Change> = changes
        .iter()
        .filter(|change| change.kind == "EndpointSlice")
        .collect();
    let ports = |change: &Change| -> BTreeSet<u16> {
        change.addresses.iter().map(SocketAddr::port).collect()
    };
    let mut service = Service {
        changes: slices.len().saturating_sub(1),
        ..Service::default()
    };
    for (n, change) in slices.iter().enumerate() {
        let next = slices.get(n + 1);
        let lasted = next.map_or(until, |next| next.at) - change.at;
        for port in ports(change) {
            *service.ports.entry(port).or_default() += lasted;
        }
        service.flips += usize::from(next.is_some_and(|next| ports(next) != ports(change)));
    }
    service
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(at: f64, kind: &'static str, addresses: &[&str]) -> Change {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        Change {
            at,
            kind,
            addresses,
        }
    }

    #[test]
    fn ports_are_told_by_how_long_they_were_named() {
        let changes = [
            change(0.0, "EndpointSlice", &["10.1.0.1:443"]),
            change(1.0, "Endpoints", &["10.1.0.1:6443"]),
            change(2.0, "EndpointSlice", &["10.1.0.1:443", "10.1.0.2:443"]),
            change(3.0, "EndpointSlice", &["10.1.0.1:6443", "10.1.0.2:6443"]),
        ];
        let expected = Service {
            changes: 2,
            flips: 1,
            ports: [(443, 3.0), (6443, 7.0)].into(),
        };
        assert_eq!(service(&changes, 10.0), expected);
    }

    #[test]
    fn slices_and_endpoints_say_the_same() {
        let slice = json!({
            "endpoints": [
                {"addresses": ["10.1.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.1.0.2"], "conditions": {"ready": false}},
            ],
            "ports": [{"name": "https", "port": 443}],
        });
        let endpoints = json!({"subsets": [{
            "addresses": [{"ip": "10.1.0.1"}], "notReadyAddresses": [{"ip": "10.1.0.2"}],
            "ports": [{"name": "https", "port": 443}],
        }]});
        assert_eq!(of_slice(&slice), ["10.1.0.1:443".parse().unwrap()]);
        assert_eq!(of_endpoints(&endpoints), of_slice(&slice));
    }
}
