//! The three classic load balancers of a vintage cluster.

use std::collections::BTreeMap;

use anyhow::Context as _;
use aws_sdk_elasticloadbalancing::types::{
    ConnectionSettings, HealthCheck, Instance, Listener, LoadBalancerAttributes, Tag,
};
use drover_model::{NetworkPlan, names};

use super::{GenesisMaster, GenesisPlan, SecurityGroups, stack_tags};
use crate::cloud::sdk::Clients;

/// Seconds after which a silent connection through a vintage load balancer ends.
const IDLE_SECONDS: i32 = 1200;

struct Kind<'a> {
    name: String,
    internal: bool,
    port: i32,
    check: &'static str,
    group: &'a str,
}

/// Makes them; gives their DNS names.
pub(super) async fn make(
    clients: &Clients,
    plan: &GenesisPlan,
    network: &NetworkPlan,
    groups: &SecurityGroups,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut made = BTreeMap::new();
    for (name, internal, port, check, group) in [
        (
            names::api_load_balancer(&plan.id),
            false,
            443,
            "HTTP:8089/healthz",
            &groups.master,
        ),
        (
            names::internal_api_load_balancer(&plan.id),
            true,
            443,
            "HTTP:8089/healthz",
            &groups.internal_api,
        ),
        (
            names::etcd_load_balancer(&plan.id),
            true,
            2379,
            "TCP:2379",
            &groups.etcd,
        ),
    ] {
        let kind = Kind {
            name,
            internal,
            port,
            check,
            group,
        };
        let dns_name = create(clients, plan, network, &kind)
            .await
            .with_context(|| kind.name.clone())?;
        made.insert(kind.name, dns_name);
    }
    Ok(made)
}

async fn create(
    clients: &Clients,
    plan: &GenesisPlan,
    network: &NetworkPlan,
    kind: &Kind<'_>,
) -> anyhow::Result<String> {
    let listener = Listener::builder()
        .protocol("TCP")
        .load_balancer_port(kind.port)
        .instance_protocol("TCP")
        .instance_port(kind.port)
        .build()?;
    let tags = stack_tags(plan, names::STACK_NETWORK, &kind.name)
        .into_iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect::<Result<Vec<_>, _>>()?;
    let subnets = network
        .subnets
        .iter()
        .filter(|subnet| subnet.public != kind.internal)
        .map(|subnet| subnet.id.clone());
    let made = clients
        .elb
        .create_load_balancer()
        .load_balancer_name(&kind.name)
        .listeners(listener)
        .set_subnets(Some(subnets.collect()))
        .security_groups(kind.group)
        .set_scheme(kind.internal.then(|| "internal".to_owned()))
        .set_tags(Some(tags))
        .send()
        .await?;
    let check = HealthCheck::builder()
        .target(kind.check)
        .interval(5)
        .timeout(3)
        .healthy_threshold(2)
        .unhealthy_threshold(2)
        .build()?;
    clients
        .elb
        .configure_health_check()
        .load_balancer_name(&kind.name)
        .health_check(check)
        .send()
        .await?;
    let settings = ConnectionSettings::builder().idle_timeout(IDLE_SECONDS);
    let attributes = LoadBalancerAttributes::builder().connection_settings(settings.build()?);
    clients
        .elb
        .modify_load_balancer_attributes()
        .load_balancer_name(&kind.name)
        .load_balancer_attributes(attributes.build())
        .send()
        .await?;
    let dns_name = made.dns_name().context("it has no DNS name")?;
    Ok(dns_name.to_owned())
}

/// Registers the masters with all of them. At AWS their Auto Scaling groups do so; what moto's groups have registered
/// nobody can deregister again.
pub(super) async fn register(
    clients: &Clients,
    load_balancers: impl Iterator<Item = &String>,
    masters: &[GenesisMaster],
) -> anyhow::Result<()> {
    let instances: Vec<Instance> = masters
        .iter()
        .map(|master| Instance::builder().instance_id(&master.instance).build())
        .collect();
    for name in load_balancers {
        clients
            .elb
            .register_instances_with_load_balancer()
            .load_balancer_name(name)
            .set_instances(Some(instances.clone()))
            .send()
            .await
            .with_context(|| name.clone())?;
    }
    Ok(())
}
