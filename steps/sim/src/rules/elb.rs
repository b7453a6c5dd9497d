//! Classic load balancers check their instances every few seconds, and believe a change after a few checks in a row.
//! Until then they send traffic to an instance that does not answer.
//!
//! The vintage health endpoint calls an API server healthy as soon as any HTTP exchange with it completes, whatever the
//! answer: one without etcd stays in service.

use std::time::Duration;

use drover_step_api::Timestamp;

use super::api;
use crate::state::{Backend, Cluster, Elb, Proc};

/// How CAPA has its load balancer check API servers: by itself, and with `healthCheckProtocol: HTTPS`.
/// Source: `getHealthCheckTarget` in CAPA 2.13.
pub(crate) const CAPA_CONNECTS: &str = "TCP:6443";
pub(crate) const CAPA_ASKS: &str = "HTTPS:6443/readyz";

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let mut acted = false;
    let names: Vec<String> = cluster.cloud.elbs.keys().cloned().collect();
    for name in names {
        let elb = &cluster.cloud.elbs[&name];
        let checks: Vec<(String, bool, Backend)> = elb
            .backends
            .iter()
            .map(|(id, backend)| (id.clone(), passes(cluster, elb, id), *backend))
            .collect();
        let (interval, healthy, unhealthy) = elb.timing;
        for (id, passes, backend) in checks {
            let of = format!("{name}/{id}");
            let flips = passes != backend.in_service;
            let phase = cluster.chance.below(interval * 1000, "elb-phase", &name);
            let needed = if passes { healthy } else { unhealthy };
            if cluster.timers.hold("elb-health", &of, flips, now, || {
                until_check(now, interval, phase, needed)
            }) {
                if let Some(elb) = cluster.cloud.elbs.get_mut(&name) {
                    let backend = Backend {
                        in_service: passes,
                        fresh: backend.fresh && !passes,
                    };
                    elb.backends.insert(id, backend);
                }
                acted = true;
            }
        }
    }
    acted
}

/// Time until the `needed`th check from now. `interval` is in seconds, `phase` in milliseconds.
fn until_check(now: Timestamp, interval: u64, phase: u64, needed: u64) -> Duration {
    let interval = i64::try_from(interval * 1_000_000).unwrap_or(i64::MAX);
    let phase = i64::try_from(phase * 1000).unwrap_or(0);
    let into = (now.0 - phase).rem_euclid(interval);
    let first = interval - into;
    let rest = interval * i64::try_from(needed.saturating_sub(1)).unwrap_or(0);
    Duration::from_micros((first + rest).unsigned_abs())
}

/// What a check of an instance finds.
fn passes(cluster: &Cluster, elb: &Elb, id: &str) -> bool {
    let runs = cluster
        .cloud
        .instances
        .get(id)
        .is_some_and(|instance| instance.runs());
    let Some(host) = cluster.hosts.get(id).filter(|_| runs) else {
        return false;
    };
    match elb.health_check {
        "HTTP:8089/healthz" => {
            host.runs(Proc::ApiHealthz) && host.runs(Proc::ApiServer) && host.config.answers(443)
        }
        "TCP:2379" => host.runs(Proc::Etcd),
        CAPA_CONNECTS => host.runs(Proc::ApiServer) && host.config.answers(6443),
        CAPA_ASKS => api::serves(cluster, id) && host.config.answers(6443),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_check_is_one_interval_after_the_next() {
        let at = |micros| until_check(Timestamp(micros), 5, 0, 2);
        assert_eq!(at(0), Duration::from_secs(10));
        assert_eq!(at(1), Duration::from_micros(9_999_999));
        assert_eq!(at(4_999_999), Duration::from_micros(5_000_001));
    }
}
