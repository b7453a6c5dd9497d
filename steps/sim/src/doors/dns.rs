//! Route 53, and connections as CloudWatch counts them.

use drover_ports::{DnsRecord, HostedZone, PortError, PortErrorKind};
use drover_step_api::Timestamp;

use super::cloud::not_found;
use crate::{
    rules::dns,
    state::{Cluster, Zone},
};

/// What clients that use a load balancer make of connections in any stretch of time.
const CONNECTIONS: u64 = 40;

pub(super) fn zones(cluster: &Cluster, domain: &str) -> Vec<HostedZone> {
    let zones = cluster.cloud.zones.iter();
    zones
        .filter(|zone| zone.zone.domain == domain)
        .map(|zone| zone.zone.clone())
        .collect()
}

pub(super) fn records(
    cluster: &Cluster,
    id: &str,
    action: &str,
) -> Result<Vec<DnsRecord>, PortError> {
    let zone = cluster.cloud.zones.iter().find(|zone| zone.zone.id == id);
    zone.map(|zone| zone.records.clone())
        .ok_or_else(|| not_found(action, "NoSuchHostedZone", &format!("hosted zone {id}")))
}

pub(super) fn replace(
    cluster: &mut Cluster,
    id: &str,
    (seen, record): (&DnsRecord, &DnsRecord),
    action: &str,
    now: Timestamp,
) -> Result<bool, PortError> {
    records(cluster, id, action)?;
    let zone = cluster.cloud.zones.iter_mut().find(|z| z.zone.id == id);
    let place = zone.and_then(|zone| zone.records.iter_mut().find(|known| *known == seen));
    let Some(place) = place else {
        let why = format!(
            "Tried to delete resource record set [name='{}'] but the values provided do not match",
            seen.name
        );
        return Err(
            PortError::new(PortErrorKind::Conflict, action, why).with_code("InvalidChangeBatch")
        );
    };
    if place == record {
        return Ok(false);
    }
    *place = record.clone();
    for was in &seen.values {
        let until = dns::until(&cluster.chance, seen.ttl, was, now);
        cluster.cloud.lingering.insert(was.clone(), until);
    }
    for is in &record.values {
        cluster.cloud.lingering.remove(is);
    }
    Ok(true)
}

/// Connections made to a load balancer in the last seconds.
pub(super) fn connections(cluster: &Cluster, name: &str, seconds: u64, now: Timestamp) -> u64 {
    let Some(elb) = cluster.cloud.elbs.get(name) else {
        return 0;
    };
    let points = |zone: &Zone| {
        // Nobody asks for etcd's name but the masters' API servers.
        let names = zone.records.iter();
        names
            .filter(|record| !record.name.starts_with("etcd."))
            .flat_map(|record| &record.values)
            .any(|value| *value == elb.dns_name)
    };
    let lingered = |until: &Timestamp| now.since(*until).as_secs() < seconds;
    let used = cluster.cloud.zones.iter().any(points)
        || cluster
            .cloud
            .lingering
            .get(&elb.dns_name)
            .is_some_and(lingered);
    if used { CONNECTIONS } else { 0 }
}
