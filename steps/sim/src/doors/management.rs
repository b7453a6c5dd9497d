//! The two management clusters. Their APIs are always there; what belongs to one cluster lies in that cluster's stores.

use drover_model::cr::keys;
use drover_ports::{KubeCall, KubeReply, PortError, PortErrorKind, Reply};
use drover_step_api::Timestamp;
use serde_json::Value;

use super::{Done, kube, refused, unknown_installation};
use crate::{
    objects::{Key, Store, StoreError},
    rules,
    world::Realm,
};

/// Which management cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Vintage,
    Capi,
}

pub(super) fn call(
    realm: &mut Realm,
    installation: &str,
    side: Side,
    call: &KubeCall,
    action: &str,
    now: Timestamp,
) -> Result<Done, PortError> {
    match call {
        KubeCall::List {
            gvk,
            namespace,
            labels,
        } => {
            let objects = list(realm, installation, side, |store| {
                store.list(gvk, namespace, labels)
            });
            Ok(Done::read(Reply::Kube(KubeReply::Objects { objects })))
        }
        KubeCall::RequestToken { .. }
        | KubeCall::ReviewToken { .. }
        | KubeCall::PodsOn { .. }
        | KubeCall::Evict { .. } => Err(PortError::new(
            PortErrorKind::Invalid,
            action,
            "tokens and nodes of management clusters are not simulated",
        )),
        _ => {
            let key = kube::key_of(call)
                .ok_or_else(|| refused(StoreError::Invalid("no object".to_owned()), action, ""))?;
            let owner = owner_of(realm, installation, side, &key, labels_of(call));
            let store = match &owner {
                Some(id) => cluster_store(realm, id, side),
                None => shared_store(realm, installation, side),
            }
            .ok_or_else(|| unknown_installation(installation, action))?;
            let (reply, changed) = kube::on_store(store, call, None, action, now)?;
            if let (true, Some(id)) = (changed, &owner) {
                after_change(realm, id, &key, now);
            }
            Ok(Done {
                reply: Reply::Kube(reply),
                changed,
                touched: owner,
            })
        }
    }
}

/// A change of a KubeadmConfig wakes its controller.
fn after_change(realm: &mut Realm, id: &str, key: &Key, now: Timestamp) {
    if let Some(cluster) = realm.clusters.get_mut(id)
        && key.kind == "KubeadmConfig"
    {
        cluster
            .timers
            .hasten(rules::LOOK_AT_BOOTSTRAP, &key.name, now);
    }
}

fn labels_of(call: &KubeCall) -> Option<&Value> {
    match call {
        KubeCall::Apply { object } | KubeCall::Create { object } => {
            Some(&object["metadata"]["labels"])
        }
        _ => None,
    }
}

/// The cluster whose store holds an object, or would.
fn owner_of(
    realm: &Realm,
    installation: &str,
    side: Side,
    key: &Key,
    labels: Option<&Value>,
) -> Option<String> {
    let here = |id: &str| {
        realm
            .clusters
            .get(id)
            .is_some_and(|cluster| cluster.facts.installation == installation)
    };
    let labelled = labels
        .into_iter()
        .flat_map(|labels| [&labels[keys::CLUSTER], &labels[keys::CLUSTER_NAME]])
        .filter_map(Value::as_str)
        .find(|id| here(id));
    if let Some(id) = labelled {
        return Some(id.to_owned());
    }
    // Names of what a cluster has begin with its id, if not with something of its own.
    let prefix = key.name.split('-').next().unwrap_or_default();
    if here(prefix) {
        return Some(prefix.to_owned());
    }
    if here(&key.namespace) {
        return Some(key.namespace.clone());
    }
    realm
        .clusters
        .values()
        .filter(|cluster| cluster.facts.installation == installation)
        .find(|cluster| match side {
            Side::Vintage => cluster.vintage.contains(key),
            Side::Capi => cluster.capi.contains(key),
        })
        .map(|cluster| cluster.facts.id.clone())
}

fn cluster_store<'r>(realm: &'r mut Realm, id: &str, side: Side) -> Option<&'r mut Store> {
    let cluster = realm.clusters.get_mut(id)?;
    Some(match side {
        Side::Vintage => &mut cluster.vintage,
        Side::Capi => &mut cluster.capi,
    })
}

fn shared_store<'r>(realm: &'r mut Realm, installation: &str, side: Side) -> Option<&'r mut Store> {
    let site = realm.sites.get_mut(installation)?;
    Some(match side {
        Side::Vintage => &mut site.vintage,
        Side::Capi => &mut site.capi,
    })
}

fn list(
    realm: &Realm,
    installation: &str,
    side: Side,
    of: impl Fn(&Store) -> Vec<Value>,
) -> Vec<Value> {
    let shared = realm.sites.get(installation).map(|site| match side {
        Side::Vintage => &site.vintage,
        Side::Capi => &site.capi,
    });
    let own = realm
        .clusters
        .values()
        .filter(|cluster| cluster.facts.installation == installation)
        .map(|cluster| match side {
            Side::Vintage => &cluster.vintage,
            Side::Capi => &cluster.capi,
        });
    let mut objects: Vec<Value> = shared.into_iter().chain(own).flat_map(of).collect();
    let name = |object: &Value, field: &str| {
        object["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    objects.sort_by_key(|object| (name(object, "namespace"), name(object, "name")));
    objects
}
