//! Who serves the cluster's API, and what a request through each of its doors would see.

use drover_model::names;
use drover_step_api::Timestamp;

use super::{
    dns,
    elb::{CAPA_ASKS, CAPA_CONNECTS},
    etcd,
};
use crate::{
    objects::Store,
    state::{Cluster, Elb, Host, Proc, Status, VINTAGE_REALM},
};

/// The realm in which the vintage cluster's objects lie.
pub(crate) fn realm(cluster: &Cluster) -> Option<&Store> {
    cluster.realms.get(VINTAGE_REALM)
}

/// The name of the realm that an API server on this host reads and writes.
pub(crate) fn realm_name(id: &str, host: &Host) -> String {
    if host.lone_etcd {
        format!("{id}/{}", host.config.etcd_prefix)
    } else {
        host.config.etcd_prefix.clone()
    }
}

/// What a request to one host's API server would see.
pub(crate) fn of_host(cluster: &Cluster, id: &str) -> Status {
    let Some(host) = cluster.hosts.get(id) else {
        return Status::Down(format!("{} is not there", who(cluster, id)));
    };
    if !host.runs(Proc::ApiServer) {
        return Status::Down(format!(
            "the API server of {} does not run",
            who(cluster, id)
        ));
    }
    match etcd::reach(cluster, id, host) {
        Status::Ok => Status::Ok,
        Status::Stalled(why) => Status::Stalled(why),
        Status::Down(why) => Status::Down(format!(
            "the API server of {} has no etcd: {why}",
            who(cluster, id)
        )),
        Status::Absent => Status::Absent,
    }
}

/// True when a request to this host's API server would succeed, for something other than an empty cluster.
pub(crate) fn serves(cluster: &Cluster, id: &str) -> bool {
    of_host(cluster, id) == Status::Ok
}

/// True when some API server serves the cluster's own realm.
pub(crate) fn somebody_serves(cluster: &Cluster) -> bool {
    cluster
        .hosts
        .iter()
        .any(|(id, host)| realm_name(id, host) == VINTAGE_REALM && serves(cluster, id))
}

fn who(cluster: &Cluster, id: &str) -> String {
    crate::normalized::role_name(cluster, id).unwrap_or_else(|| id.to_owned())
}

/// What a customer with an old kubeconfig sees of one host: also the wrong certificate, and the wrong cluster.
fn for_customers(cluster: &Cluster, id: &str, name: &str, port: u16) -> Status {
    let status = of_host(cluster, id);
    let (Status::Ok, Some(host)) = (&status, cluster.hosts.get(id)) else {
        return status;
    };
    let wrong = if !host.config.answers(port) {
        Some(format!("does not listen on port {port}"))
    } else if host.config.ca != cluster.identities.ca {
        Some("serves a certificate of another CA".to_owned())
    } else if !name.is_empty() && !host.config.names.contains(name) {
        Some(format!("serves a certificate that does not name {name}"))
    } else if realm_name(id, host) != VINTAGE_REALM {
        Some("shows an empty cluster".to_owned())
    } else {
        None
    };
    match wrong {
        Some(what) => Status::Down(format!("{} {what}", who(cluster, id))),
        None => Status::Ok,
    }
}

/// The worst that a request may meet, since a load balancer may send it anywhere.
fn worst(statuses: impl Iterator<Item = Status>) -> Status {
    statuses.fold(Status::Ok, |worst, status| match (&worst, &status) {
        (Status::Down(_), _) => worst,
        (_, Status::Down(_)) => status,
        (Status::Stalled(_), _) => worst,
        _ => status,
    })
}

/// A request through a load balancer.
fn through(cluster: &Cluster, elb: &Elb, name: &str) -> Status {
    let mut backends = elb.in_service().peekable();
    if backends.peek().is_none() {
        let role = crate::normalized::elb_role(&cluster.facts.id, &elb.name);
        return Status::Down(format!("load balancer {role} has no backend in service"));
    }
    let port = instance_port(elb);
    worst(backends.map(|id| for_customers(cluster, id, name, port)))
}

/// The port of its instances that a load balancer of an API sends to: CAPA's is the one that it checks.
fn instance_port(elb: &Elb) -> u16 {
    if matches!(elb.health_check, CAPA_CONNECTS | CAPA_ASKS) {
        6443
    } else {
        443
    }
}

/// A request through the vintage name, by somebody who has just asked what it points to.
pub(crate) fn through_old_name(cluster: &Cluster) -> Status {
    match dns::target(cluster) {
        Some(target) => through_old_target(cluster, target),
        None => Status::Down("the vintage name points to nothing".to_owned()),
    }
}

/// A request through the vintage name by a customer, who may have asked a while ago.
pub(crate) fn through_believed_old_name(cluster: &Cluster, now: Timestamp) -> Status {
    let mut believed = dns::believed(cluster, now).peekable();
    if believed.peek().is_none() {
        return through_old_name(cluster);
    }
    worst(believed.map(|target| through_old_target(cluster, target)))
}

fn through_old_target(cluster: &Cluster, target: &str) -> Status {
    match dns::load_balancer(cluster, target) {
        Some(elb) => through(cluster, elb, &cluster.facts.old_name),
        None => Status::Down("the load balancer behind the vintage name is gone".to_owned()),
    }
}

/// A request through the Cluster API load balancer; absent until it first had a healthy backend, and once the last one
/// has been withdrawn.
pub(crate) fn through_new_name(cluster: &Cluster) -> Status {
    match cluster
        .cloud
        .elbs
        .get(&names::capa_load_balancer(&cluster.facts.id))
    {
        Some(elb) if elb.backends.values().any(|backend| !backend.fresh) => {
            through(cluster, elb, &cluster.facts.new_name)
        }
        _ => Status::Absent,
    }
}

/// A request to the `kubernetes` service inside the cluster.
pub(crate) fn in_cluster(cluster: &Cluster) -> Status {
    let Some(port) = cluster
        .endpoint_port
        .filter(|_| !cluster.endpoints.is_empty())
    else {
        return Status::Down("the kubernetes service has no endpoint".to_owned());
    };
    worst(
        cluster
            .endpoints
            .keys()
            .map(|id| for_customers(cluster, id, "", port)),
    )
}
