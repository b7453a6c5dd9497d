//! Classic load balancers: who is registered, and who is in service.

use std::collections::BTreeSet;

use drover_ports::{Ports, Via};
use drover_step_api::{Context, Poll, StepError};

use super::defaults::seconds;

/// Instances registered at a load balancer.
///
/// # Errors
/// As the port.
pub(crate) async fn registered(
    ctx: &Context<Ports>,
    cluster: &str,
    load_balancer: &str,
) -> Result<BTreeSet<String>, StepError> {
    let found = ctx
        .ports()
        .cloud(cluster)
        .describe_load_balancer(load_balancer)
        .await?;
    Ok(found.instances.into_iter().collect())
}

/// Instances that a load balancer believes to be in service.
///
/// # Errors
/// As the port.
pub(crate) async fn in_service(
    ctx: &Context<Ports>,
    cluster: &str,
    load_balancer: &str,
) -> Result<BTreeSet<String>, StepError> {
    let health = ctx
        .ports()
        .cloud(cluster)
        .describe_instance_health(load_balancer)
        .await?;
    Ok(health
        .into_iter()
        .filter(|health| health.state == "InService")
        .map(|health| health.instance)
        .collect())
}

/// Waits until all of these instances are in service.
///
/// # Errors
/// `Transient` when they are not within `within`.
pub(crate) async fn wait_in_service(
    ctx: &Context<Ports>,
    cluster: &str,
    load_balancer: &str,
    instances: &[String],
    within: std::time::Duration,
) -> Result<(), StepError> {
    let what = format!(
        "{load_balancer} to send traffic to {}",
        instances.join(", ")
    );
    ctx.wait_until(&what, seconds(5), within, async || {
        let in_service = in_service(ctx, cluster, load_balancer).await?;
        let missing: Vec<&String> = instances
            .iter()
            .filter(|id| !in_service.contains(*id))
            .collect();
        Ok(match missing.first() {
            None => Poll::Ready(()),
            Some(id) => Poll::Pending(format!("{id} is not in service")),
        })
    })
    .await
}

/// Whether the API of one instance answers our own look; what it found.
///
/// # Errors
/// Only when the look could not be taken.
pub(crate) async fn answers(
    ctx: &Context<Ports>,
    cluster: &str,
    via: Via,
) -> Result<Result<(), String>, StepError> {
    let found = ctx.ports().probe(cluster).api(via).await?;
    Ok(if found.ok { Ok(()) } else { Err(found.detail) })
}

/// Looks in a row that must find somebody silent.
const LOOKS: u32 = 3;

/// From one look to the next.
const BETWEEN_LOOKS: std::time::Duration = seconds(4);

/// As [`answers`], but silent only when three looks in a row find it so: a connection may be cut just when a load balancer
/// loses the instance that it led to, and while etcd elects a leader every API is silent for some seconds.
///
/// # Errors
/// As [`answers`].
pub(crate) async fn answers_at_last(
    ctx: &Context<Ports>,
    cluster: &str,
    via: Via,
) -> Result<Result<(), String>, StepError> {
    let mut found = answers(ctx, cluster, via.clone()).await?;
    for _ in 1..LOOKS {
        if found.is_ok() {
            break;
        }
        ctx.sleep(BETWEEN_LOOKS).await?;
        found = answers(ctx, cluster, via.clone()).await?;
    }
    Ok(found)
}
