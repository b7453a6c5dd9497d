//! New nodes come up: asked for by the lower bound of the AWSMachinePool, as far as addresses allow.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use drover_ports::{ObjectRef, PortErrorKind, Ports};
use drover_step_api::{Context, Poll, StepError, Timestamp};
use serde_json::json;

use super::{
    Params,
    look::{self, Seen},
};
use crate::{
    kinds,
    support::defaults::{minutes, seconds},
};

/// An instance whose Node is not ready by then is replaced.
const COMES_UP_WITHIN: std::time::Duration = minutes(15);

/// So many instances in a row that do not come up are no accident any more.
const RENEWED_MAX: usize = 3;

/// For all of a batch, those that are replaced included.
const BATCH_WITHIN: std::time::Duration = minutes(70);

fn reference(params: &Params) -> ObjectRef {
    let name = params.machine_pool();
    ObjectRef::new(&kinds::capa_machine_pool(), &params.namespace, &name)
}

/// The lower bound of the AWSMachinePool; `None` when there is none.
///
/// # Errors
/// As the port.
pub(super) async fn least(ctx: &Context<Ports>, params: &Params) -> Result<Option<u32>, StepError> {
    let found = ctx.ports().capi_mc().find(&reference(params)).await?;
    let least = found.map(|found| found["spec"]["minSize"].as_u64().unwrap_or(0));
    Ok(least.map(|least| u32::try_from(least).unwrap_or(u32::MAX)))
}

/// Gives the AWSMachinePool a lower bound, if it still is as it was seen.
async fn set_least(
    ctx: &Context<Ports>,
    params: &Params,
    effect: &str,
    wanted: u32,
    may: impl Fn(u64) -> bool,
) -> Result<(), StepError> {
    let capi = ctx.ports().capi_mc();
    let seen = capi.get(&reference(params)).await?;
    if !may(seen["spec"]["minSize"].as_u64().unwrap_or(0)) {
        return Ok(());
    }
    let version = seen["metadata"]["resourceVersion"].as_str();
    let permit = ctx.permit_for(effect, &wanted.to_string()).await?;
    let patch = json!({"spec": {"minSize": wanted}});
    let done = capi
        .merge_patch(permit, &reference(params), patch, version)
        .await;
    match done {
        // Its controller has written to it in between: the next look tries again.
        Err(error) if error.kind == PortErrorKind::Conflict => Ok(()),
        done => Ok(done.map(drop)?),
    }
}

/// When instances were first seen, and those that were replaced because they did not come up.
#[derive(Default)]
struct Watch {
    since: BTreeMap<String, Timestamp>,
    renewed: Vec<String>,
}

/// Waits until more than `gone` new nodes take pods, `wanted` if addresses allow; answers how many do.
///
/// # Errors
/// `Failed` with the codes `node-never-came-up`, `no-free-address` and `no-capacity`; as the port.
pub(super) async fn at_least_one_more(
    ctx: &Context<Ports>,
    params: &Params,
    gone: u32,
    wanted: u32,
) -> Result<u32, StepError> {
    let watch = Mutex::new(Watch::default());
    let what = format!("new nodes of pool {}", params.pool.name);
    let done = ctx
        .wait_until(&what, seconds(15), BATCH_WITHIN, || async {
            let seen = look::look(ctx, params).await?;
            let ready = seen.ready();
            let started = u32::try_from(seen.new.len()).unwrap_or(u32::MAX);
            let free = free_addresses(ctx, params).await?;
            // Those that have started have their addresses.
            let reach = started
                .saturating_add(free)
                .min(wanted)
                .max(gone.min(wanted));
            if ready >= reach && ready > gone || ready >= wanted {
                return Ok(Poll::Ready(ready));
            }
            if reach > seen.wants {
                set_least(ctx, params, "raise-pool", reach, |least| {
                    least < u64::from(reach)
                })
                .await?;
            }
            renew(ctx, params, &seen, &watch).await?;
            Ok(Poll::Pending(format!(
                "{ready} of {wanted} are ready, {started} have started, {free} addresses are free"
            )))
        })
        .await;
    match done {
        Err(error) if error.code() == "wait-timed-out" => Err(why(ctx, params, error).await),
        done => done,
    }
}

/// Addresses that are free in the pool's subnets, all together: the group takes the subnet that has one.
async fn free_addresses(ctx: &Context<Ports>, params: &Params) -> Result<u32, StepError> {
    let cloud = ctx.ports().cloud(&params.cluster);
    let subnets = cloud.describe_subnets(&params.vpc).await?;
    let own = subnets
        .iter()
        .filter(|subnet| params.pool.subnets.contains(&subnet.id));
    Ok(own.map(|subnet| subnet.available_ips).sum())
}

/// Ends instances that have had their time, so that the group starts others.
async fn renew(
    ctx: &Context<Ports>,
    params: &Params,
    seen: &Seen,
    watch: &Mutex<Watch>,
) -> Result<(), StepError> {
    let now = ctx.now();
    let late: Option<String> = {
        let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
        let mut late = None;
        for node in seen.new.iter().filter(|node| !node.ready) {
            let since = watch.since.entry(node.instance.clone()).or_insert(now);
            if now.since(*since) >= COMES_UP_WITHIN {
                late = Some(node.instance.clone());
            }
        }
        if let Some(instance) = &late {
            watch.since.remove(instance);
            watch.renewed.push(instance.clone());
            if watch.renewed.len() >= RENEWED_MAX {
                let instances = watch.renewed.join(", ");
                return Err(StepError::failed(
                    "node-never-came-up",
                    format!(
                        "{instances} of group {} did not become ready within {} minutes each; read their console output, then retry",
                        params.machine_pool(),
                        COMES_UP_WITHIN.as_secs() / 60
                    ),
                ));
            }
        }
        late
    };
    if let Some(instance) = late {
        let permit = ctx.permit_for("renew", &instance).await?;
        let cloud = ctx.ports().cloud(&params.cluster);
        cloud
            .terminate_instance_in_auto_scaling_group(permit, &instance, false)
            .await?;
    }
    Ok(())
}

/// What to tell an operator when too few new nodes came. `waited` is what to say when another look fails.
async fn why(ctx: &Context<Ports>, params: &Params, waited: StepError) -> StepError {
    let group = params.machine_pool();
    match (
        look::look(ctx, params).await,
        free_addresses(ctx, params).await,
    ) {
        (Ok(seen), Ok(0)) => StepError::failed(
            "no-free-address",
            format!(
                "subnets {} have no free address, so group {group} with its {} instances starts no other; free one (a retired network interface, say), then retry",
                params.pool.subnets.join(", "),
                seen.new.len()
            ),
        ),
        (Ok(seen), Ok(_)) => StepError::failed(
            "no-capacity",
            format!(
                "group {group} wants {} instances and has {}, {} of them ready; read its scaling activities, then retry",
                seen.wants,
                seen.new.len(),
                seen.ready()
            ),
        ),
        (Err(_), _) | (_, Err(_)) => waited,
    }
}

/// Waits until every zone has a node that takes pods, with up to `most` nodes; the group starts the next one in the zone with the
/// fewest.
///
/// # Errors
/// As [`at_least_one_more`].
pub(super) async fn cover(
    ctx: &Context<Ports>,
    params: &Params,
    zones: &BTreeSet<String>,
    most: u32,
) -> Result<(), StepError> {
    for _ in zones {
        let seen = look::look(ctx, params).await?;
        if covers(&seen, zones, most) {
            break;
        }
        let ready = seen.ready();
        at_least_one_more(ctx, params, ready, ready + 1).await?;
    }
    Ok(())
}

/// True when every zone has a node that takes pods, or the pool may have no more.
pub(super) fn covers(seen: &Seen, zones: &BTreeSet<String>, most: u32) -> bool {
    let covered = |zone: &String| {
        let mut new = seen.new.iter();
        new.any(|node| node.ready && node.zone == *zone)
    };
    seen.ready() >= most || zones.iter().all(|zone| zone.is_empty() || covered(zone))
}

/// Gives the pool the lower bound that it had as a vintage pool, and waits until it has so many nodes.
///
/// # Errors
/// As [`at_least_one_more`].
pub(super) async fn settle(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    let min = params.pool.min;
    ctx.wait_until("the pool's own bounds", seconds(5), minutes(10), || async {
        if least(ctx, params).await? == Some(min) {
            return Ok(Poll::Ready(()));
        }
        set_least(ctx, params, "settle-pool", min, |least| {
            least != u64::from(min)
        })
        .await?;
        Ok(Poll::Pending(format!("the lower bound is not {min}")))
    })
    .await?;
    if min > 0 {
        at_least_one_more(ctx, params, min - 1, min).await?;
    }
    Ok(())
}
