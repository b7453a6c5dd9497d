//! CloudFormation does what it was called to: an update takes a minute or two, and a deletion takes every resource along
//! whose deletion policy is not `Retain`.

use std::time::Duration;

use drover_model::stack_template;
use drover_step_api::Timestamp;

use super::{deletion, ec2};
use crate::{
    genesis::stack_template as made_by_operator,
    state::{Cluster, StackWork},
};

const UPDATE: Duration = Duration::from_secs(90);
const DELETION: Duration = Duration::from_secs(120);

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let details = cluster.cloud.stack_details.iter();
    let busy: Vec<(String, StackWork)> = details
        .filter_map(|(name, details)| Some((name.clone(), details.work?)))
        .collect();
    let mut acted = false;
    for (name, work) in busy {
        let takes = match work {
            StackWork::Update => UPDATE,
            StackWork::Delete => DELETION,
        };
        if !cluster.timers.hold("stack", &name, true, now, || takes) {
            continue;
        }
        acted = true;
        match work {
            StackWork::Update => {
                let status = "UPDATE_COMPLETE".to_owned();
                cluster.cloud.stacks.insert(name.clone(), status);
                if let Some(details) = cluster.cloud.stack_details.get_mut(&name) {
                    details.work = None;
                }
            }
            StackWork::Delete => delete(cluster, &name, now),
        }
    }
    acted
}

fn delete(cluster: &mut Cluster, name: &str, now: Timestamp) {
    cluster.cloud.stacks.remove(name);
    let details = cluster.cloud.stack_details.remove(name);
    let template = details
        .and_then(|details| details.template)
        .unwrap_or_else(|| made_by_operator(&cluster.facts.id, name));
    let resources = stack_template::resources(&template).unwrap_or_default();
    for resource in resources.iter().filter(|resource| !resource.retained) {
        match resource.type_.as_str() {
            "AWS::EC2::VPC" => {
                let why = "CloudFormation deleted the VPC with its stack";
                return deletion::demolish(cluster, now, why);
            }
            "AWS::EC2::Subnet"
            | "AWS::EC2::SecurityGroup"
            | "AWS::Route53::HostedZone"
            | "AWS::ElasticLoadBalancing::LoadBalancer" => {
                let why = format!("CloudFormation deleted {} with stack {name}", resource.id);
                cluster.accident(now, why);
            }
            "AWS::AutoScaling::AutoScalingGroup" => delete_groups(cluster, name),
            _ => {}
        }
    }
}

/// Auto Scaling groups of a stack carry its name, and take their instances along.
fn delete_groups(cluster: &mut Cluster, stack: &str) {
    let prefix = format!("{stack}-");
    let groups = cluster.cloud.groups.values();
    let own: Vec<(String, Vec<String>)> = groups
        .filter(|group| group.name.starts_with(&prefix))
        .map(|group| {
            (
                group.name.clone(),
                group.instances.iter().cloned().collect(),
            )
        })
        .collect();
    for (group, instances) in own {
        cluster.cloud.groups.remove(&group);
        for instance in instances {
            ec2::terminate(cluster, &instance);
        }
    }
}
