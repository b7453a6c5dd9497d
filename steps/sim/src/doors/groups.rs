//! Auto Scaling groups and their instances that come to their end.

use drover_ports::{AutoScalingGroup, CloudCall, LifecycleHook, PortError, PortErrorKind};
use drover_step_api::Timestamp;

use crate::{
    rules::{apps, asg},
    state::{Cluster, Group, Held},
};

/// A group as its API shows it.
pub(super) fn shown(group: &Group) -> AutoScalingGroup {
    let waiting = group.ending.iter().filter(|(_, held)| **held == Held::Up);
    AutoScalingGroup {
        name: group.name.clone(),
        desired: group.desired,
        min: group.min,
        max: group.max,
        instances: group.instances.iter().cloned().collect(),
        ending: group.ending.keys().cloned().collect(),
        waiting: waiting.map(|(id, _)| id.clone()).collect(),
        suspended: group.suspended.iter().cloned().collect(),
        load_balancers: group.load_balancers.clone(),
        tags: group.tags.clone(),
    }
}

fn no_group(group: &str, action: &str) -> PortError {
    absent(action, format!("there is no group {group}"))
}

fn absent(action: &str, why: String) -> PortError {
    PortError::new(PortErrorKind::NotFound, action, why).with_code("ValidationError")
}

pub(super) fn hooks(
    cluster: &Cluster,
    group: &str,
    action: &str,
) -> Result<Vec<LifecycleHook>, PortError> {
    let found = cluster.cloud.groups.get(group);
    let found = found.ok_or_else(|| no_group(group, action))?;
    let hooks = found.hooks.iter().map(|name| LifecycleHook {
        name: name.clone(),
        transition: "autoscaling:EC2_INSTANCE_TERMINATING".to_owned(),
    });
    Ok(hooks.collect())
}

/// True when something changed; calls that are about other things change nothing.
pub(super) fn change(
    cluster: &mut Cluster,
    call: &CloudCall,
    action: &str,
    now: Timestamp,
) -> Result<bool, PortError> {
    match call {
        CloudCall::UpdateAutoScalingGroup { group, min } => {
            let found = cluster.cloud.groups.get_mut(group);
            let found = found.ok_or_else(|| no_group(group, action))?;
            if *min > found.max {
                let why = format!("the group wants at most {}", found.max);
                return Err(PortError::new(PortErrorKind::Invalid, action, why)
                    .with_code("ValidationError"));
            }
            found.desired = found.desired.max(*min);
            Ok(std::mem::replace(&mut found.min, *min) != *min)
        }
        CloudCall::TerminateInstanceInAutoScalingGroup {
            instance,
            decrement,
        } => end(cluster, instance, *decrement, action, now),
        CloudCall::CompleteLifecycleAction {
            group, instance, ..
        } => {
            let found = cluster.cloud.groups.get(group);
            let found = found.ok_or_else(|| no_group(group, action))?;
            if found.ending.get(instance) != Some(&Held::Up) {
                let why = format!("No active Lifecycle Action found with instance ID {instance}");
                return Err(absent(action, why));
            }
            asg::let_end(cluster, group, instance);
            Ok(true)
        }
        CloudCall::DeleteAutoScalingGroup { group } => {
            let found = cluster.cloud.groups.get(group);
            let found = found.ok_or_else(|| no_group(group, action))?;
            if !found.instances.is_empty() {
                let why = format!("the group {group} has instances");
                return Err(
                    PortError::new(PortErrorKind::Conflict, action, why).with_code("ResourceInUse")
                );
            }
            Ok(cluster.cloud.groups.remove(group).is_some())
        }
        _ => Ok(false),
    }
}

fn end(
    cluster: &mut Cluster,
    instance: &str,
    decrement: bool,
    action: &str,
    now: Timestamp,
) -> Result<bool, PortError> {
    let lives = cluster
        .cloud
        .instances
        .get(instance)
        .is_some_and(crate::state::Instance::lives);
    let mut groups = cluster.cloud.groups.values_mut();
    let Some(group) = groups.find(|group| group.instances.contains(instance)) else {
        let why = format!("No managed instance found for instance ID: {instance}");
        return Err(absent(action, why));
    };
    if !lives || group.ending.contains_key(instance) {
        let why = format!("{instance} is not InService");
        return Err(PortError::new(PortErrorKind::Conflict, action, why)
            .with_code("ScalingActivityInProgress"));
    }
    if decrement && group.desired <= group.min {
        let why = format!(
            "Currently, desiredSize equals minSize ({}). Terminating instance without replacement will violate group's min size constraint",
            group.min
        );
        return Err(
            PortError::new(PortErrorKind::Invalid, action, why).with_code("ValidationError")
        );
    }
    group.desired -= u32::from(decrement);
    let (name, held) = (group.name.clone(), !group.hooks.is_empty());
    group.ending.insert(instance.to_owned(), Held::Up);
    apps::notice_undrained(cluster, instance, now);
    if !held {
        asg::let_end(cluster, &name, instance);
    }
    Ok(true)
}
