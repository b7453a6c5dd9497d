//! The world without times and random ids, for comparing two runs.
//!
//! Whatever has a name that chance gave it (instances, addresses, machines) is called by its role instead: `master-1`,
//! `control-plane-2`, `worker-np7k3-3`, counted among those that live. Secrets appear as digests. Two runs that did the
//! same, at other times and with other ids, look the same here.

use std::collections::BTreeMap;

use drover_model::sha256_hex;
use serde_json::{Map, Value, json};

use crate::{
    World,
    objects::{Key, Object, Store},
    rules::{apps, capi},
    state::{Cluster, Instance, InstanceRole, InstanceState, Proc},
};

/// Fields that only times, ids and controllers' bookkeeping are in.
const DROPPED: [&str; 12] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "lastTransitionTime",
    "leaseTransitions",
    "renewTime",
    "startTime",
    "completionTime",
    "availableIps",
];

impl World {
    /// The world without times and random ids. Ordered, so that equal worlds print the same.
    pub fn normalized(&self) -> Value {
        let clusters: Map<String, Value> = self
            .realm
            .clusters
            .iter()
            .map(|(id, cluster)| (id.clone(), of_cluster(cluster)))
            .collect();
        let installations: Map<String, Value> = self
            .realm
            .sites
            .iter()
            .map(|(name, site)| {
                let names = Names::default();
                let value = json!({
                    "vintage_mc": store(&site.vintage, &names),
                    "capi_mc": store(&site.capi, &names),
                    "region_store": site.region_store.keys().collect::<Vec<_>>(),
                });
                (name.clone(), value)
            })
            .collect();
        json!({"clusters": clusters, "installations": installations})
    }
}

/// What chance named, and what it is called instead.
///
/// Every string of a world is looked through, and comparing worlds is most of what tests of steps do; so a string is read
/// once, and only where three of its bytes begin a name is anything compared.
#[derive(Default)]
struct Names {
    by_start: BTreeMap<[u8; START], Vec<(String, String)>>,
    /// By the first of the three.
    begins: Vec<bool>,
}

/// No name is shorter.
const START: usize = 3;

impl Names {
    fn of(cluster: &Cluster) -> Self {
        let mut names = Vec::new();
        for instance in cluster.cloud.instances.values() {
            if let Some(role) = role_name(cluster, &instance.id) {
                names.push((instance.dns.clone(), format!("node-of-{role}")));
                names.push((instance.id.clone(), role.clone()));
                names.push((instance.address.clone(), format!("address-of-{role}")));
            }
        }
        for (n, machine) in capi::machines(cluster).into_iter().enumerate() {
            names.push((machine, format!("machine-{}", n + 1)));
        }
        for (id, group) in &cluster.cloud.security_groups {
            let pool = group.tags.get(drover_model::names::TAG_MACHINE_DEPLOYMENT);
            let suffix = pool.map(|pool| format!("-{pool}")).unwrap_or_default();
            names.push((id.clone(), format!("group-{}{suffix}", group.name)));
        }
        for elb in cluster.cloud.elbs.values() {
            names.push((
                elb.dns_name.clone(),
                format!("dns-of-{}", elb_role(&cluster.facts.id, &elb.name)),
            ));
        }
        // The longest first, so that no name hides in another.
        names.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        let mut all = Self {
            begins: vec![false; 256],
            ..Self::default()
        };
        for (random, role) in names {
            let Some(start) = random.as_bytes().first_chunk::<START>().copied() else {
                continue;
            };
            all.begins[usize::from(start[0])] = true;
            all.by_start.entry(start).or_default().push((random, role));
        }
        all
    }

    fn replace(&self, text: &str) -> String {
        if self.by_start.is_empty() {
            return text.to_owned();
        }
        let bytes = text.as_bytes();
        let mut replaced = String::new();
        let (mut copied, mut at) = (0, 0);
        while let Some(start) = bytes[at..].first_chunk::<START>() {
            if self.begins[usize::from(start[0])]
                && let Some((random, role)) = self.at_start_of(&bytes[at..], start)
            {
                replaced.push_str(&text[copied..at]);
                replaced.push_str(role);
                at += random.len();
                copied = at;
            } else {
                at += 1;
            }
        }
        replaced.push_str(&text[copied..]);
        replaced
    }

    fn at_start_of(&self, bytes: &[u8], start: &[u8; START]) -> Option<&(String, String)> {
        self.by_start
            .get(start)?
            .iter()
            .find(|(random, _)| bytes.starts_with(random.as_bytes()))
    }
}

/// What an instance is called by its role; `None` when it is not remembered.
pub(crate) fn role_name(cluster: &Cluster, id: &str) -> Option<String> {
    let instance = cluster.cloud.instances.get(id)?;
    let rank = |same: &dyn Fn(&InstanceRole) -> bool| {
        1 + cluster
            .cloud
            .instances
            .values()
            .filter(|other| same(&other.role) && (other.lives() || !instance.lives()))
            .filter(|other| other.ordinal < instance.ordinal)
            .count()
    };
    let name = match &instance.role {
        InstanceRole::Master(n) => format!("master-{n}"),
        InstanceRole::Worker(pool) => {
            let rank = rank(&|role| *role == InstanceRole::Worker(pool.clone()));
            format!("worker-{pool}-{rank}")
        }
        InstanceRole::PoolNode(pool) => {
            let rank = rank(&|role| *role == InstanceRole::PoolNode(pool.clone()));
            format!("pool-node-{pool}-{rank}")
        }
        InstanceRole::ControlPlane(_) => {
            let rank = rank(&|role| matches!(role, InstanceRole::ControlPlane(_)));
            format!("control-plane-{rank}")
        }
    };
    Some(if instance.lives() {
        name
    } else {
        format!("former-{name}")
    })
}

/// What a load balancer is called without the cluster's id: `api`, `api-internal`, `etcd`, `apiserver`, `ingress`.
pub(crate) fn elb_role(id: &str, name: &str) -> String {
    name.strip_prefix(&format!("{id}-"))
        .unwrap_or("ingress")
        .to_owned()
}

fn of_cluster(cluster: &Cluster) -> Value {
    let names = Names::of(cluster);
    let realms: Map<String, Value> = cluster
        .realms
        .iter()
        .map(|(name, realm)| (names.replace(name), Value::Object(store(realm, &names))))
        .collect();
    let stacks: Map<String, Value> = cluster
        .cloud
        .stacks
        .iter()
        .map(|(name, status)| (name.clone(), stack(cluster, name, status)))
        .collect();
    json!({
        "vintage_mc": store(&cluster.vintage, &names),
        "capi_mc": store(&cluster.capi, &names),
        "workload": realms,
        "apps": apps::serving(cluster),
        "instances": instances(cluster, &names),
        "load_balancers": load_balancers(cluster),
        "auto_scaling_groups": groups(cluster),
        "security_groups": sorted(cluster.cloud.security_groups.values().map(|group| {
            scrub(&json!({"name": group.name, "tags": group.tags}), &names)
        })),
        "vpc": cluster.cloud.vpc.as_ref().map(|vpc| scrub(&json!(vpc.tags), &names)),
        "routes": sorted(cluster.cloud.route_tables.values().map(|table| {
            json!({"table": table.tags.get("Name"), "routes": table.routes})
        })),
        "stacks": stacks,
        "zones": cluster.cloud.zones.iter().map(|zone| {
            scrub(&json!({"private": zone.zone.private, "records": zone.records}), &names)
        }).collect::<Vec<_>>(),
        "etcd": etcd(cluster, &names),
        "hosts": hosts(cluster),
        "endpoints": sorted(cluster.endpoints.keys().map(|id| {
            json!(role_name(cluster, id))
        })),
        "demolished": cluster.demolished,
    })
}

fn sorted(values: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut values: Vec<Value> = values.collect();
    values.sort_by_key(drover_model::canonical);
    values
}

fn instances(cluster: &Cluster, names: &Names) -> Map<String, Value> {
    let mut instances: BTreeMap<String, Value> = BTreeMap::new();
    let shown = |instance: &&Instance| {
        !matches!(
            instance.state,
            InstanceState::Terminated | InstanceState::ShuttingDown
        )
    };
    for instance in cluster.cloud.instances.values().filter(shown) {
        let subnet = cluster.cloud.subnets.get(&instance.subnet);
        let value = json!({
            "state": instance.state.word(),
            "healthy": instance.healthy,
            "zone": instance.zone,
            "subnet": subnet.and_then(|subnet| subnet.tags.get("Name")),
            "security_groups": sorted(instance.security_groups.iter().map(|id| json!(names.replace(id)))),
            "tags": scrub(&json!(instance.tags), names),
        });
        instances.insert(role_name(cluster, &instance.id).unwrap_or_default(), value);
    }
    instances.into_iter().collect()
}

fn load_balancers(cluster: &Cluster) -> Map<String, Value> {
    cluster
        .cloud
        .elbs
        .values()
        .map(|elb| {
            let backends: BTreeMap<String, bool> = elb
                .backends
                .iter()
                .filter_map(|(id, backend)| Some((role_name(cluster, id)?, backend.in_service)))
                .collect();
            let mut seen = json!(backends);
            if let Some(seconds) = elb.connection_draining {
                seen["drains"] = json!(seconds);
            }
            (elb_role(&cluster.facts.id, &elb.name), seen)
        })
        .collect()
}

fn groups(cluster: &Cluster) -> Vec<Value> {
    sorted(cluster.cloud.groups.values().map(|group| {
        let role = match &group.role {
            InstanceRole::Master(n) => format!("master-{n}"),
            InstanceRole::Worker(pool) => format!("worker-{pool}"),
            InstanceRole::PoolNode(pool) => format!("pool-node-{pool}"),
            InstanceRole::ControlPlane(_) => "control-plane".to_owned(),
        };
        json!({
            "role": role,
            "desired": group.desired,
            "instances": group.instances.len(),
            "suspended": group.suspended,
        })
    }))
}

/// Its status, and how it has been changed.
fn stack(cluster: &Cluster, name: &str, status: &str) -> Value {
    let details = cluster.cloud.stack_details.get(name);
    let template = details.and_then(|details| details.template.as_ref());
    json!({
        "status": status,
        "protected": details.is_some_and(|details| details.protected),
        "template": template.map(|template| sha256_hex(template.as_bytes())),
    })
}

fn etcd(cluster: &Cluster, names: &Names) -> Value {
    let members = sorted(cluster.etcd.members.iter().map(|member| {
        json!({
            "name": names.replace(&member.name),
            "started": member.started,
            "learner": member.learner,
        })
    }));
    json!({
        "members": members,
        "alarms": cluster.etcd.alarms,
        "corrupted": cluster.etcd.corrupted,
    })
}

fn hosts(cluster: &Cluster) -> Map<String, Value> {
    let hosts: BTreeMap<String, Value> = cluster
        .hosts
        .iter()
        .filter_map(|(id, host)| {
            let running: Vec<&str> = Proc::ALL
                .into_iter()
                .filter(|proc| host.runs(*proc))
                .map(Proc::word)
                .collect();
            let value = json!({
                "running": running,
                "files": host.files().collect::<Vec<_>>(),
                "units": host.units,
            });
            Some((role_name(cluster, id)?, value))
        })
        .collect();
    hosts.into_iter().collect()
}

fn store(store: &Store, names: &Names) -> Map<String, Value> {
    let objects: BTreeMap<String, Value> = store
        .iter()
        .filter(|(key, object)| !by_chance(key, &object.value))
        .map(|(key, object)| (names.replace(&words(key)), of_object(object, names)))
        .collect();
    objects.into_iter().collect()
}

/// Where customers' pods run, and what they are called, is chance; how many serve is told elsewhere.
fn by_chance(key: &Key, object: &Value) -> bool {
    match key.kind.as_str() {
        "Pod" => object["metadata"]["labels"]["app"].is_string(),
        kind => kind == "VolumeAttachment",
    }
}

fn words(key: &Key) -> String {
    format!("{}.{} {}/{}", key.kind, key.group, key.namespace, key.name)
}

fn of_object(object: &Object, names: &Names) -> Value {
    let mut value = scrub(&object.value, names);
    if let Some(secret) = &object.secret {
        let digests: Map<String, Value> = secret
            .data
            .iter()
            .map(|(key, data)| (key.clone(), json!(sha256_hex(data.expose()))))
            .collect();
        value["data"] = Value::Object(digests);
    }
    // Which controller manager led when the node came is chance.
    if value["kind"] == "Node" {
        value["spec"]["podCIDR"] = Value::Null;
        value["spec"]["podCIDRs"] = Value::Null;
    }
    // So is which of several candidates leads now.
    if value["kind"] == "Lease" {
        let holder = value["spec"]["holderIdentity"].as_str().unwrap_or_default();
        value["spec"]["holderIdentity"] = json!(if holder.contains("master") {
            "a master"
        } else {
            "a control-plane node"
        });
    }
    value
}

fn scrub(value: &Value, names: &Names) -> Value {
    match value {
        Value::String(text) => Value::String(names.replace(text)),
        Value::Array(items) => Value::Array(items.iter().map(|item| scrub(item, names)).collect()),
        Value::Object(map) => {
            let sorted: BTreeMap<String, Value> = map
                .iter()
                .filter(|(key, _)| !DROPPED.contains(&key.as_str()))
                .map(|(key, value)| (names.replace(key), scrub(value, names)))
                .collect();
            Value::Object(sorted.into_iter().collect())
        }
        scalar => scalar.clone(),
    }
}

/// What differs between two worlds as [`World::normalized`] gives them: one line a place, `path: this became that`.
pub fn differences(before: &Value, after: &Value) -> Vec<String> {
    fn walk(path: &str, a: &Value, b: &Value, into: &mut Vec<String>) {
        match (a.as_object(), b.as_object()) {
            (Some(x), Some(y)) => {
                for key in x.keys().chain(y.keys().filter(|key| !x.contains_key(*key))) {
                    walk(&format!("{path}/{key}"), &a[key], &b[key], into);
                }
            }
            _ if a != b => into.push(format!("{path}: {a} became {b}")),
            _ => {}
        }
    }
    let mut into = Vec::new();
    walk("", before, after, &mut into);
    into
}
