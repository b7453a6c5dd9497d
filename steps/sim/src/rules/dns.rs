//! Names of the vintage domain, and who believes them.
//!
//! A record is one answer from the moment in which it is changed, but nobody is told: resolvers keep what they heard for the
//! record's time to live, and some clients (those that resolve once and keep their connection) far longer. For so long both
//! answers have to serve.

use std::time::Duration;

use drover_step_api::Timestamp;

use crate::{
    chance::Chance,
    state::{Cluster, Elb},
};

/// The slowest clients notice within this time, milliseconds.
const SLOWEST: (u64, u64) = (600_000, 2_400_000);

/// What the vintage name of the API points to.
pub(crate) fn target(cluster: &Cluster) -> Option<&str> {
    cluster.cloud.zones.first()?.answer(&cluster.facts.old_name)
}

/// The load balancer with a DNS name.
pub(crate) fn load_balancer<'c>(cluster: &'c Cluster, dns_name: &str) -> Option<&'c Elb> {
    let mut elbs = cluster.cloud.elbs.values();
    elbs.find(|elb| elb.dns_name == dns_name)
}

/// Whatever some customer takes the vintage name for, now.
pub(crate) fn believed(cluster: &Cluster, now: Timestamp) -> impl Iterator<Item = &str> {
    let lingering = cluster.cloud.lingering.iter();
    let lingering = lingering.filter(move |(_, until)| now < **until);
    target(cluster)
        .into_iter()
        .chain(lingering.map(|(dns_name, _)| dns_name.as_str()))
}

/// Until when somebody believes what a record of this time to live said.
pub(crate) fn until(chance: &Chance, ttl: u32, was: &str, now: Timestamp) -> Timestamp {
    let slowest = chance.millis(SLOWEST.0, SLOWEST.1, "slow-client", was);
    now.after(slowest.max(Duration::from_secs(ttl.into())))
}

/// Nothing happens when the last one has noticed, but probes have to look.
pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let (lingering, timers) = (&cluster.cloud.lingering, &mut cluster.timers);
    for (dns_name, until) in lingering {
        timers.hold("clients-linger", dns_name, now < *until, now, || {
            until.since(now)
        });
    }
    false
}
