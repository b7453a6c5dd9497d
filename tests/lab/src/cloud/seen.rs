//! What moto says there is: load balancers and instances, as far as the lab follows them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use anyhow::Context as _;
use aws_sdk_ec2::types::Filter;
use aws_sdk_elasticloadbalancing::types::LoadBalancerDescription;
use drover_model::Partition;

use super::{health::HealthCheck, sdk::Clients};

/// A classic load balancer.
#[derive(Clone, Debug)]
pub(super) struct LoadBalancer {
    /// Its name.
    pub(super) name: String,
    /// The name that its clients look up.
    pub(super) dns_name: String,
    /// Pairs of its own port and the instances' port.
    pub(super) listeners: BTreeSet<(u16, u16)>,
    /// How it looks after its instances.
    pub(super) check: HealthCheck,
    /// Instances registered with it.
    pub(super) instances: BTreeSet<String>,
}

/// An EC2 instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    /// Instance id.
    pub(crate) id: String,
    /// Private address; terminated instances may have none.
    pub(crate) private_ip: Option<Ipv4Addr>,
    /// Private DNS name as the region gives it: the name of its Node.
    pub(crate) private_dns: String,
    /// `pending`, `running`, `stopping`, `stopped`, `shutting-down` or `terminated`.
    pub(crate) state: String,
    /// Availability zone.
    pub(crate) zone: String,
    /// Tags.
    pub(crate) tags: BTreeMap<String, String>,
}

/// All classic load balancers of the region.
pub(super) async fn load_balancers(clients: &Clients) -> anyhow::Result<Vec<LoadBalancer>> {
    let pages = clients.elb.describe_load_balancers().into_paginator();
    let described: Vec<LoadBalancerDescription> = pages
        .items()
        .send()
        .collect::<Result<_, _>>()
        .await
        .context("cannot list load balancers")?;
    described.iter().map(load_balancer).collect()
}

fn load_balancer(seen: &LoadBalancerDescription) -> anyhow::Result<LoadBalancer> {
    let name = seen.load_balancer_name().unwrap_or_default().to_owned();
    let listeners: BTreeSet<(u16, u16)> = seen
        .listener_descriptions()
        .iter()
        .filter_map(|description| description.listener())
        .filter_map(|listener| {
            let own = u16::try_from(listener.load_balancer_port()).ok()?;
            Some((own, u16::try_from(listener.instance_port()).ok()?))
        })
        .collect();
    let check = match seen.health_check() {
        Some(check) => HealthCheck::new(
            check.target(),
            check.interval(),
            check.timeout(),
            check.healthy_threshold(),
            check.unhealthy_threshold(),
        )
        .with_context(|| format!("health check of load balancer {name}"))?,
        None => HealthCheck::default_of(listeners.first().map_or(0, |(_, port)| *port)),
    };
    Ok(LoadBalancer {
        dns_name: seen.dns_name().unwrap_or_default().to_owned(),
        check,
        instances: seen
            .instances()
            .iter()
            .filter_map(|instance| instance.instance_id().map(str::to_owned))
            .collect(),
        listeners,
        name,
    })
}

/// Instances that pass all filters: pairs of a filter's name (`instance-id`, `tag:<key>`, …) and its values.
pub(super) async fn instances(
    clients: &Clients,
    region: &str,
    filters: &[(String, Vec<String>)],
) -> anyhow::Result<Vec<Instance>> {
    let filters = filters.iter().map(|(name, values)| {
        Filter::builder()
            .name(name)
            .set_values(Some(values.clone()))
            .build()
    });
    let request = clients
        .ec2
        .describe_instances()
        .set_filters(Some(filters.collect()));
    let reservations: Vec<_> = request
        .into_paginator()
        .items()
        .send()
        .collect::<Result<_, _>>()
        .await
        .context("cannot list instances")?;
    let domain = Partition::of_region(region).compute_domain(region);
    Ok(reservations
        .iter()
        .flat_map(|reservation| reservation.instances())
        .map(|seen| instance(seen, &domain))
        .collect())
}

/// moto calls every instance `ip-….ec2.internal`; AWS does so in one region only, and so does the front.
fn instance(seen: &aws_sdk_ec2::types::Instance, domain: &str) -> Instance {
    let name = seen.private_dns_name().unwrap_or_default();
    let host = name.split('.').next().unwrap_or_default();
    Instance {
        id: seen.instance_id().unwrap_or_default().to_owned(),
        private_ip: seen.private_ip_address().and_then(|ip| ip.parse().ok()),
        private_dns: if host.is_empty() {
            String::new()
        } else {
            format!("{host}.{domain}")
        },
        state: seen
            .state()
            .and_then(|state| state.name())
            .map_or("", |name| name.as_str())
            .to_owned(),
        zone: seen
            .placement()
            .and_then(|placement| placement.availability_zone())
            .unwrap_or_default()
            .to_owned(),
        tags: seen
            .tags()
            .iter()
            .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())))
            .collect(),
    }
}
