//! What is in the toy world, and its rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use drover_ports::{
    AutoScalingGroup, CaBundle, CaCall, CaReply, Call, CloudCall, CloudReply, KubeCall, KubeReply,
    LoadBalancer, PortErrorKind, Reply, SecretBytes, StoreCall, StoreReply,
};
use drover_step_api::Timestamp;
use drover_step_testkit::LedgerEntry;
use serde_json::{Map, Value, json};

/// A key as a CA source gives it; no real one.
pub(crate) const CA_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIToyToyToyToyToyToyToyToyToyToyToyToyToyToy\n-----END PRIVATE KEY-----\n";

/// How long the controller takes to see that a cluster is held. Longer than the kit's grace after a signal.
pub(super) const SEEN_AFTER: Duration = Duration::from_secs(60);
#[derive(Clone, Default)]
pub(crate) struct State {
    /// By `Kind/name`.
    pub(crate) objects: BTreeMap<String, Value>,
    pub(crate) held_since: BTreeMap<String, Timestamp>,
    pub(crate) instances: BTreeSet<String>,
    pub(crate) suspended: BTreeSet<String>,
    pub(crate) registered: BTreeSet<String>,
    pub(crate) kept: BTreeMap<String, Vec<u8>>,
    pub(crate) generated: u32,
    pub(crate) ledger: Vec<LedgerEntry>,
    /// A world that keeps no books.
    pub(crate) forgets_ledger: bool,
    /// Copies that are one and the same world.
    pub(crate) copies_share: bool,
    /// A clock that nothing moves.
    pub(crate) clock_stands: bool,
}

impl State {
    pub(super) fn reconcile(&mut self, now: Timestamp) {
        for (name, object) in &mut self.objects {
            if object["metadata"]["annotations"].get("held").is_none() {
                self.held_since.remove(name);
                object
                    .as_object_mut()
                    .expect("objects are objects")
                    .remove("status");
                continue;
            }
            let since = *self.held_since.entry(name.clone()).or_insert(now);
            if now.since(since) >= SEEN_AFTER {
                object["status"] = json!({ "seen": true });
            }
        }
    }

    fn kube(&mut self, call: KubeCall) -> Result<(KubeReply, bool), PortErrorKind> {
        let key = |kind: &str, name: &str| format!("{kind}/{name}");
        let found = |object: Value, changed| Ok((KubeReply::Object { object }, changed));
        match call {
            KubeCall::Get { object } => {
                let name = key(&object.gvk.kind, &object.name);
                let object = self.objects.get(&name).ok_or(PortErrorKind::NotFound)?;
                found(object.clone(), false)
            }
            KubeCall::Apply { object } => {
                let name = key(word(&object["kind"]), word(&object["metadata"]["name"]));
                let old = self.objects.insert(name, object.clone());
                found(object.clone(), old.as_ref() != Some(&object))
            }
            KubeCall::Create { object } => {
                self.generated += 1;
                let name = format!(
                    "{}{}",
                    word(&object["metadata"]["generateName"]),
                    self.generated
                );
                self.objects
                    .insert(key(word(&object["kind"]), &name), object.clone());
                found(object, true)
            }
            KubeCall::MergePatch { object, patch, .. } => {
                let name = key(&object.gvk.kind, &object.name);
                let object = self.objects.get_mut(&name).ok_or(PortErrorKind::NotFound)?;
                let before = object.clone();
                merge(object, &patch);
                found(object.clone(), *object != before)
            }
            KubeCall::Delete { object, .. } => {
                let old = self.objects.remove(&key(&object.gvk.kind, &object.name));
                old.map(|_| (KubeReply::Done, true))
                    .ok_or(PortErrorKind::NotFound)
            }
            _ => Err(PortErrorKind::Invalid),
        }
    }

    fn cloud(&mut self, call: CloudCall) -> Result<(CloudReply, bool), PortErrorKind> {
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
        let change = |set: &mut BTreeSet<String>, items: Vec<String>, add: bool| {
            let before = set.len();
            for item in items {
                if add {
                    set.insert(item)
                } else {
                    set.remove(&item)
                };
            }
            Ok((CloudReply::Done, set.len() != before))
        };
        match call {
            CloudCall::DescribeAutoScalingGroups { .. } => {
                let group = AutoScalingGroup {
                    name: "workers".to_owned(),
                    desired: 1,
                    min: 1,
                    max: 1,
                    instances: list(&self.instances),
                    suspended: list(&self.suspended),
                    load_balancers: Vec::new(),
                    tags: BTreeMap::new(),
                    ending: Vec::new(),
                    waiting: Vec::new(),
                };
                Ok((CloudReply::Groups(vec![group]), false))
            }
            CloudCall::DescribeLoadBalancers { names } => {
                let balancer = LoadBalancer {
                    name: names.concat(),
                    dns_name: String::new(),
                    scheme: String::new(),
                    instances: list(&self.registered),
                    zones: Vec::new(),
                    health_check: String::new(),
                };
                Ok((CloudReply::LoadBalancers(vec![balancer]), false))
            }
            CloudCall::SuspendProcesses { processes, .. } => {
                change(&mut self.suspended, processes, true)
            }
            CloudCall::ResumeProcesses { processes, .. } => {
                change(&mut self.suspended, processes, false)
            }
            CloudCall::RegisterInstancesWithLoadBalancer { instances, .. } => {
                change(&mut self.registered, instances, true)
            }
            CloudCall::DeregisterInstancesFromLoadBalancer { instances, .. } => {
                change(&mut self.registered, instances, false)
            }
            _ => Err(PortErrorKind::Invalid),
        }
    }

    fn store(&mut self, call: StoreCall) -> Result<(StoreReply, bool), PortErrorKind> {
        let digest = |data: &[u8]| StoreReply::Digest {
            sha256: format!("len-{}", data.len()),
        };
        match call {
            StoreCall::Head { key } => {
                let data = self.kept.get(&key).ok_or(PortErrorKind::NotFound)?;
                Ok((digest(data), false))
            }
            StoreCall::Put { key, data } => {
                self.kept.insert(key, data.expose().to_vec());
                // A bucket with versions: every write is another one.
                Ok((digest(data.expose()), true))
            }
            StoreCall::Get { .. } => Err(PortErrorKind::Invalid),
        }
    }

    pub(super) fn pass(&mut self, call: Call) -> Result<(Reply, bool), PortErrorKind> {
        match call {
            Call::Kube { call, .. } => self.kube(call).map(|(reply, c)| (Reply::Kube(reply), c)),
            Call::Cloud { call, .. } => self.cloud(call).map(|(reply, c)| (Reply::Cloud(reply), c)),
            Call::RegionStore { call } => self
                .store(call)
                .map(|(reply, c)| (Reply::RegionStore(reply), c)),
            Call::Ca {
                call: CaCall::Fetch,
                ..
            } => {
                let bundle = CaBundle {
                    certificate_pem: String::new(),
                    private_key_pem: SecretBytes::new(CA_KEY.as_bytes().to_vec()),
                };
                Ok((Reply::Ca(CaReply::Bundle(bundle)), false))
            }
            _ => Err(PortErrorKind::Invalid),
        }
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let target = target.as_object_mut().expect("it was made one above");
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
