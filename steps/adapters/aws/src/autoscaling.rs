//! Auto Scaling.

use aws_sdk_autoscaling::{
    Client,
    types::{AutoScalingGroup as AwsGroup, Filter, LifecycleState},
};
use drover_ports::{
    AutoScalingGroup, CloudCall, CloudReply, LifecycleHook, PortError, PortErrorKind, Tags,
};

use crate::error::{Asked, sort};

/// How many groups a page holds: the most that the API allows.
const PAGE: i32 = 100;

/// Carries a call out.
pub(crate) async fn call(
    client: &Client,
    asked: Asked,
    call: &CloudCall,
) -> Result<CloudReply, PortError> {
    match call {
        CloudCall::DescribeAutoScalingGroups { tags } => groups(client, asked, tags).await,
        // No request for no processes: that would be about all of them.
        CloudCall::SuspendProcesses { processes, .. }
        | CloudCall::ResumeProcesses { processes, .. }
            if processes.is_empty() =>
        {
            Ok(CloudReply::Done)
        }
        CloudCall::SuspendProcesses { group, processes } => {
            let request = client
                .suspend_processes()
                .auto_scaling_group_name(group)
                .set_scaling_processes(Some(processes.clone()));
            let answer = request.send().await.map_err(|error| sort(asked, error));
            answer.map(|_| CloudReply::Done)
        }
        CloudCall::ResumeProcesses { group, processes } => {
            let request = client
                .resume_processes()
                .auto_scaling_group_name(group)
                .set_scaling_processes(Some(processes.clone()));
            let answer = request.send().await.map_err(|error| sort(asked, error));
            answer.map(|_| CloudReply::Done)
        }
        CloudCall::DescribeLifecycleHooks { group } => hooks(client, asked, group).await,
        _ => ending(client, asked, call).await,
    }
}

/// Calls with which groups and their instances come to their end.
async fn ending(client: &Client, asked: Asked, call: &CloudCall) -> Result<CloudReply, PortError> {
    match call {
        CloudCall::UpdateAutoScalingGroup { group, min } => {
            let request = client
                .update_auto_scaling_group()
                .auto_scaling_group_name(group)
                .min_size(i32::try_from(*min).unwrap_or(i32::MAX));
            let answer = request.send().await.map_err(|error| sort(asked, error));
            answer.map(|_| CloudReply::Done)
        }
        CloudCall::TerminateInstanceInAutoScalingGroup {
            instance,
            decrement,
        } => {
            let request = client
                .terminate_instance_in_auto_scaling_group()
                .instance_id(instance)
                .should_decrement_desired_capacity(*decrement);
            let answer = request.send().await.map_err(|error| sort(asked, error));
            answer.map(|_| CloudReply::Done)
        }
        CloudCall::CompleteLifecycleAction {
            group,
            hook,
            instance,
        } => {
            let request = client
                .complete_lifecycle_action()
                .auto_scaling_group_name(group)
                .lifecycle_hook_name(hook)
                .instance_id(instance)
                .lifecycle_action_result("CONTINUE");
            let answer = request.send().await.map_err(|error| sort(asked, error));
            answer.map(|_| CloudReply::Done)
        }
        CloudCall::DeleteAutoScalingGroup { group } => {
            let request = client
                .delete_auto_scaling_group()
                .auto_scaling_group_name(group)
                .force_delete(false);
            let answer = request.send().await.map_err(|error| sort(asked, error));
            answer.map(|_| CloudReply::Done)
        }
        _ => {
            let why = "this is not Auto Scaling's";
            Err(PortError::new(PortErrorKind::Bug, asked.action, why))
        }
    }
}

/// A group has few hooks: the API answers all of them at once.
async fn hooks(client: &Client, asked: Asked, group: &str) -> Result<CloudReply, PortError> {
    let request = client
        .describe_lifecycle_hooks()
        .auto_scaling_group_name(group);
    let answer = request.send().await.map_err(|error| sort(asked, error))?;
    let mut found: Vec<_> = answer
        .lifecycle_hooks()
        .iter()
        .map(|hook| LifecycleHook {
            name: text(hook.lifecycle_hook_name()),
            transition: text(hook.lifecycle_transition()),
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(CloudReply::Hooks(found))
}

async fn groups(client: &Client, asked: Asked, tags: &Tags) -> Result<CloudReply, PortError> {
    let filters = tags
        .iter()
        .map(|(key, value)| {
            let filter = Filter::builder().name(format!("tag:{key}"));
            filter.values(value).build()
        })
        .collect();
    let answer = client
        .describe_auto_scaling_groups()
        .set_filters(Some(filters))
        .into_paginator()
        .page_size(PAGE)
        .items()
        .send()
        .try_collect()
        .await
        .map_err(|error| sort(asked, error))?;
    let mut found: Vec<_> = answer.iter().map(group).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(CloudReply::Groups(found))
}

fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}

fn count(value: Option<i32>) -> u32 {
    value
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or_default()
}

fn sorted<'s>(texts: impl Iterator<Item = Option<&'s str>>) -> Vec<String> {
    let mut texts: Vec<String> = texts.flatten().map(ToOwned::to_owned).collect();
    texts.sort();
    texts
}

/// Instances in such a state of their life in the group.
fn in_state(from: &AwsGroup, is_so: impl Fn(&LifecycleState) -> bool) -> Vec<String> {
    let instances = from.instances().iter();
    sorted(
        instances
            .filter(|instance| instance.lifecycle_state().is_some_and(&is_so))
            .map(|instance| instance.instance_id()),
    )
}

fn group(from: &AwsGroup) -> AutoScalingGroup {
    let suspended = from.suspended_processes().iter();
    AutoScalingGroup {
        name: text(from.auto_scaling_group_name()),
        desired: count(from.desired_capacity()),
        min: count(from.min_size()),
        max: count(from.max_size()),
        instances: sorted(
            from.instances()
                .iter()
                .map(|instance| instance.instance_id()),
        ),
        ending: in_state(from, |state| state.as_str().starts_with("Terminating")),
        waiting: in_state(from, |state| *state == LifecycleState::TerminatingWait),
        suspended: sorted(suspended.map(|process| process.process_name())),
        load_balancers: from.load_balancer_names().to_vec(),
        tags: from
            .tags()
            .iter()
            .map(|tag| (text(tag.key()), text(tag.value())))
            .collect(),
    }
}
