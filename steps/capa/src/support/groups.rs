//! Auto Scaling groups that come to their end, instance by instance.

use std::collections::BTreeSet;

use drover_model::names;
use drover_ports::{AutoScalingGroup, PortErrorKind, Ports};
use drover_step_api::{Context, Poll, StepError};

use super::defaults::{minutes, seconds};

/// From being asked to end to having ended: a shutdown takes a minute, rarely five.
const ENDS_WITHIN: std::time::Duration = minutes(15);

/// What hooks are for whose instances end.
const TERMINATING: &str = "autoscaling:EC2_INSTANCE_TERMINATING";

/// Groups by tag, ordered by name.
///
/// # Errors
/// As the port.
pub(crate) async fn by_tags(
    ctx: &Context<Ports>,
    cluster: &str,
    tags: &[(&str, &str)],
) -> Result<Vec<AutoScalingGroup>, StepError> {
    let cloud = ctx.ports().cloud(cluster);
    Ok(cloud.describe_auto_scaling_groups(tags).await?)
}

/// Lets a group have no instances, under the effect `lower-group`; one that is gone is left alone.
///
/// # Errors
/// As the port.
pub(crate) async fn lower(
    ctx: &Context<Ports>,
    cluster: &str,
    group: &AutoScalingGroup,
) -> Result<(), StepError> {
    if group.min == 0 {
        return Ok(());
    }
    let permit = ctx.permit_for("lower-group", &group.name).await?;
    let cloud = ctx.ports().cloud(cluster);
    match cloud.set_least_instances(permit, &group.name, 0).await {
        Err(error) if error.is_not_found() => Ok(()),
        done => Ok(done?),
    }
}

/// Instances that are to end, and where they are found.
pub(crate) struct Ending<'e> {
    pub(crate) cluster: &'e str,
    /// Tags of their group and of themselves.
    pub(crate) tags: &'e [(&'e str, &'e str)],
    pub(crate) instances: &'e BTreeSet<String>,
    /// True when the group is to want that many less.
    pub(crate) decrement: bool,
}

/// Ends instances of groups, under the effects `terminate` and `complete-hook`, and waits until they have ended and left
/// their group: then their addresses are free.
///
/// # Errors
/// `Transient` with the code `wait-timed-out` when they do not; as the port.
pub(crate) async fn end(ctx: &Context<Ports>, ending: &Ending<'_>) -> Result<(), StepError> {
    let cloud = ctx.ports().cloud(ending.cluster);
    ctx.wait_until("instances to end", seconds(10), ENDS_WITHIN, || async {
        let mut left = BTreeSet::new();
        for group in by_tags(ctx, ending.cluster, ending.tags).await? {
            for instance in &group.instances {
                if ending.instances.contains(instance) {
                    advance(ctx, ending, &group, instance).await?;
                    left.insert(instance.clone());
                }
            }
        }
        let known = cloud.describe_instances(ending.tags).await?;
        let known = known.into_iter().map(|instance| instance.id);
        left.extend(known.filter(|id| ending.instances.contains(id)));
        Ok(match left.len() {
            0 => Poll::Ready(()),
            n => Poll::Pending(format!("{n} of {} are there", ending.instances.len())),
        })
    })
    .await
}

async fn advance(
    ctx: &Context<Ports>,
    ending: &Ending<'_>,
    group: &AutoScalingGroup,
    instance: &String,
) -> Result<(), StepError> {
    let cloud = ctx.ports().cloud(ending.cluster);
    if group.waiting.contains(instance) {
        for hook in cloud.describe_lifecycle_hooks(&group.name).await? {
            if hook.transition == TERMINATING {
                let item = format!("{}/{instance}", hook.name);
                let permit = ctx.permit_for("complete-hook", &item).await?;
                cloud
                    .complete_lifecycle_action(permit, &group.name, &hook.name, instance)
                    .await?;
            }
        }
        return Ok(());
    }
    if group.ending.contains(instance) {
        return Ok(());
    }
    let permit = ctx.permit_for("terminate", instance).await?;
    let done = cloud
        .terminate_instance_in_auto_scaling_group(permit, instance, ending.decrement)
        .await;
    match done {
        // It is on its way already.
        Err(error) if error.kind == PortErrorKind::Conflict => Ok(()),
        done => Ok(done?),
    }
}

/// Deletes a group without instances, under the effect `delete-group`, and waits until it is gone.
///
/// # Errors
/// `Transient` with the code `wait-timed-out` when it does not go; as the port.
pub(crate) async fn delete(
    ctx: &Context<Ports>,
    cluster: &str,
    tags: &[(&str, &str)],
    group: &str,
) -> Result<(), StepError> {
    let what = format!("group {group} to be deleted");
    ctx.wait_until(&what, seconds(10), minutes(10), || async {
        let groups = by_tags(ctx, cluster, tags).await?;
        if !groups.iter().any(|known| known.name == group) {
            return Ok(Poll::Ready(()));
        }
        let permit = ctx.permit_for("delete-group", group).await?;
        let cloud = ctx.ports().cloud(cluster);
        match cloud.delete_auto_scaling_group(permit, group).await {
            Err(error) if error.kind == PortErrorKind::Conflict => Ok(Poll::Pending(error.message)),
            done => {
                done?;
                Ok(Poll::Pending("it is asked to go".to_owned()))
            }
        }
    })
    .await
}

/// Tags of a vintage node pool's group and of its instances.
pub(crate) fn tags_of_pool<'p>(cluster: &'p str, pool: &'p str) -> [(&'p str, &'p str); 3] {
    [
        (names::TAG_CLUSTER, cluster),
        (names::TAG_STACK, names::STACK_POOL),
        (names::TAG_MACHINE_DEPLOYMENT, pool),
    ]
}
