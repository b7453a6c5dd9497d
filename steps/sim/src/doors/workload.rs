//! A workload cluster's API, through one of its doors, and looks at it from the outside.

use drover_model::names;
use drover_ports::{
    KubeCall, KubeReply, ObjectRef, PortError, PortErrorKind, ProbeCall, ProbeReply, ProbeResult,
    Reply, Via,
};
use drover_step_api::Timestamp;

use super::{Done, kube, tokens};
use crate::{
    objects::Store,
    rules::{api, apps, budgets, cni, dns, nodes},
    state::{Cluster, Elb, NodeState, Status},
};

/// The instance that a request through a door reaches.
fn route(cluster: &Cluster, via: &Via, nth: u64) -> Result<String, String> {
    let through = |elb: Option<&Elb>| {
        let elb = elb.ok_or_else(|| "the load balancer does not exist".to_owned())?;
        let name = &elb.name;
        let backends: Vec<&String> = elb.in_service().collect();
        let count = u64::try_from(backends.len()).unwrap_or(0);
        if count == 0 {
            return Err(format!("load balancer {name} has no backend in service"));
        }
        let pick = cluster.chance.number("route", name, nth) % count;
        Ok(backends[usize::try_from(pick).unwrap_or(0)].clone())
    };
    match via {
        Via::OldName => {
            through(dns::target(cluster).and_then(|target| dns::load_balancer(cluster, target)))
        }
        Via::NewName => {
            let name = names::capa_load_balancer(&cluster.facts.id);
            through(cluster.cloud.elbs.get(&name))
        }
        Via::Instance { id } => Ok(id.clone()),
    }
}

/// The instance behind a door, if its API server answers.
fn reach(cluster: &Cluster, via: &Via, nth: u64, action: &str) -> Result<String, PortError> {
    let id = route(cluster, via, nth)
        .map_err(|why| PortError::new(PortErrorKind::Unreachable, action, why))?;
    match api::of_host(cluster, &id) {
        Status::Ok => Ok(id),
        Status::Stalled(why) => Err(PortError::new(PortErrorKind::Unavailable, action, why)
            .with_code("etcdserver: request timed out")),
        Status::Down(why) => Err(PortError::new(PortErrorKind::Unavailable, action, why)),
        Status::Absent => Err(PortError::new(
            PortErrorKind::Unreachable,
            action,
            "no such door",
        )),
    }
}

pub(super) fn call(
    cluster: &mut Cluster,
    via: &Via,
    call: &KubeCall,
    nth: u64,
    action: &str,
    now: Timestamp,
) -> Result<Done, PortError> {
    let instance = reach(cluster, via, nth, action)?;
    if let KubeCall::Delete { object, .. } = call {
        notice(cluster, object, now);
    }
    let host = &cluster.hosts[&instance];
    let config = host.config.clone();
    let realm_name = api::realm_name(&instance, host);
    let store_name = format!("{}-{realm_name}", cluster.facts.id);
    let realm = cluster
        .realms
        .entry(realm_name)
        .or_insert_with(|| Store::new(store_name));
    let reply = match call {
        KubeCall::List {
            gvk,
            namespace,
            labels,
        } => KubeReply::Objects {
            objects: realm.list(gvk, namespace, labels),
        },
        KubeCall::PodsOn { node } => KubeReply::Objects {
            objects: realm
                .of_kind("Pod")
                .filter(|(_, pod)| pod["spec"]["nodeName"] == node.as_str())
                .map(|(_, pod)| pod.clone())
                .collect(),
        },
        KubeCall::Evict {
            namespace,
            pod,
            uid,
        } => {
            let changed = budgets::evict(realm, (namespace, pod), uid, action, now)?;
            cluster.etcd.revision += u64::from(changed);
            return Ok(Done {
                reply: Reply::Kube(KubeReply::Done),
                changed,
                touched: Some(cluster.facts.id.clone()),
            });
        }
        KubeCall::RequestToken {
            namespace,
            service_account,
        } => tokens::request(realm, &config, namespace, service_account, action)?,
        KubeCall::ReviewToken { token } => tokens::review(&config, token),
        KubeCall::GetSecret { namespace, name } => {
            let sealed = realm
                .secret(namespace, name)
                .and_then(|secret| secret.sealed.clone());
            if sealed.is_some() && sealed != config.encryption {
                return Err(PortError::new(
                    PortErrorKind::Unavailable,
                    action,
                    format!("Secret {namespace}/{name}: no matching key was found to decrypt it"),
                )
                .with_code("InternalError"));
            }
            kube::on_store(realm, call, None, action, now)?.0
        }
        _ => {
            let (reply, changed) =
                kube::on_store(realm, call, config.encryption.as_deref(), action, now)?;
            if changed {
                cluster.etcd.revision += 1;
            }
            if let (true, KubeCall::Delete { object, .. }) = (changed, call) {
                match object.gvk.kind.as_str() {
                    "Node" => nodes::forget(cluster, &object.name),
                    "Pod" => cni::pod_deleted(cluster, &object.name),
                    _ => {}
                }
            }
            return Ok(Done {
                reply: Reply::Kube(reply),
                changed,
                touched: Some(cluster.facts.id.clone()),
            });
        }
    };
    Ok(Done::read(Reply::Kube(reply)))
}

/// A deletion that takes customers' pods along unasked.
fn notice(cluster: &mut Cluster, object: &ObjectRef, now: Timestamp) {
    match object.gvk.kind.as_str() {
        "Pod" => budgets::notice_deletion(cluster, &object.namespace, &object.name, now),
        "Node" => {
            let mut instances = cluster.cloud.instances.values();
            let found = instances.find(|i| i.dns == object.name && i.node != NodeState::Absent);
            if let Some(id) = found.map(|instance| instance.id.clone()) {
                apps::notice_undrained(cluster, &id, now);
            }
        }
        _ => {}
    }
}

pub(super) fn probe(
    cluster: &Cluster,
    call: &ProbeCall,
    nth: u64,
    action: &str,
) -> Result<Done, PortError> {
    let reply = match call {
        ProbeCall::Api { via } => {
            let result = match reach(cluster, via, nth, action) {
                Ok(_) => ProbeResult {
                    ok: true,
                    detail: "readyz and a read succeeded".to_owned(),
                },
                Err(error) => ProbeResult {
                    ok: false,
                    detail: error.message,
                },
            };
            ProbeReply::Api(result)
        }
        ProbeCall::ServedCa { via } => {
            let id = route(cluster, via, nth)
                .map_err(|why| PortError::new(PortErrorKind::Unreachable, action, why))?;
            // A handshake needs no etcd.
            let host = cluster
                .hosts
                .get(&id)
                .filter(|host| host.runs(crate::state::Proc::ApiServer))
                .ok_or_else(|| {
                    PortError::new(
                        PortErrorKind::Unreachable,
                        action,
                        format!("{id} refuses the connection"),
                    )
                })?;
            ProbeReply::ServedCa {
                fingerprint: host.config.ca.clone(),
            }
        }
    };
    Ok(Done::read(Reply::Probe(reply)))
}
