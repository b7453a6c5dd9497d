//! Calls to AWS and what they answer.

use serde::{Deserialize, Serialize};

use super::{
    AutoScalingGroup, Instance, InstanceHealth, LifecycleHook, LoadBalancer,
    LoadBalancerAttributes, RouteTable, SecurityGroup, Stack, Subnet, Tags, Vpc,
};

/// An AWS action. Names and meanings are those of the API references of EC2, Elastic Load Balancing (classic,
/// 2012-06-01), Auto Scaling, CloudFormation and STS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum CloudCall {
    /// EC2 instances by tag, terminated ones left out.
    DescribeInstances {
        /// Tags that must be equal.
        tags: Tags,
    },
    /// VPCs by id.
    DescribeVpcs {
        /// VPC ids.
        ids: Vec<String>,
    },
    /// Subnets of a VPC.
    DescribeSubnets {
        /// VPC id.
        vpc: String,
    },
    /// Route tables of a VPC.
    DescribeRouteTables {
        /// VPC id.
        vpc: String,
    },
    /// Security groups of a VPC.
    DescribeSecurityGroups {
        /// VPC id.
        vpc: String,
    },
    /// Classic load balancers by name.
    DescribeLoadBalancers {
        /// Names.
        names: Vec<String>,
    },
    /// Health of the instances of a classic load balancer, as it believes it to be.
    DescribeInstanceHealth {
        /// Its name.
        load_balancer: String,
    },
    /// Attributes of a classic load balancer.
    DescribeLoadBalancerAttributes {
        /// Its name.
        load_balancer: String,
    },
    /// Auto Scaling groups by tag.
    DescribeAutoScalingGroups {
        /// Tags that must be equal.
        tags: Tags,
    },
    /// CloudFormation stacks whose name starts with a prefix.
    DescribeStacks {
        /// The prefix.
        prefix: String,
    },
    /// Who the given role would make us; proves that it can be assumed.
    AssumeRole {
        /// ARN of the role.
        role_arn: String,
    },
    /// Adds instances to a classic load balancer; those already there stay.
    RegisterInstancesWithLoadBalancer {
        /// Its name.
        load_balancer: String,
        /// Instance ids; one that does not exist fails the whole call with `InvalidInstance`.
        instances: Vec<String>,
    },
    /// Takes instances off a classic load balancer; those not there are ignored.
    DeregisterInstancesFromLoadBalancer {
        /// Its name.
        load_balancer: String,
        /// Instance ids.
        instances: Vec<String>,
    },
    /// Sets attributes of a classic load balancer.
    ModifyLoadBalancerAttributes {
        /// Its name.
        load_balancer: String,
        /// As they are to be.
        attributes: LoadBalancerAttributes,
    },
    /// Suspends processes of an Auto Scaling group.
    SuspendProcesses {
        /// Its name.
        group: String,
        /// Process names, for example `ReplaceUnhealthy`.
        processes: Vec<String>,
    },
    /// Resumes processes of an Auto Scaling group.
    ResumeProcesses {
        /// Its name.
        group: String,
        /// Process names.
        processes: Vec<String>,
    },
    /// Lifecycle hooks of an Auto Scaling group.
    DescribeLifecycleHooks {
        /// The group's name.
        group: String,
    },
    /// Sets the lower bound of an Auto Scaling group, and nothing else.
    UpdateAutoScalingGroup {
        /// Its name.
        group: String,
        /// Fewest instances.
        min: u32,
    },
    /// Ends an instance of an Auto Scaling group. One that is ending already, or is in no group, fails the call with
    /// `ValidationError` or `ScalingActivityInProgress`.
    TerminateInstanceInAutoScalingGroup {
        /// Its id.
        instance: String,
        /// True when the group is to want one instance less; else it starts another.
        decrement: bool,
    },
    /// Lets an instance go on whose end a lifecycle hook holds up.
    CompleteLifecycleAction {
        /// The group's name.
        group: String,
        /// The hook's name.
        hook: String,
        /// Instance id.
        instance: String,
    },
    /// Deletes an Auto Scaling group that has no instances; with some it fails with `ResourceInUse`. Never forced.
    DeleteAutoScalingGroup {
        /// Its name.
        group: String,
    },
    /// Sets tags on EC2 resources.
    CreateTags {
        /// Resource ids.
        resources: Vec<String>,
        /// Tags to set.
        tags: Tags,
    },
    /// Removes tags from EC2 resources.
    DeleteTags {
        /// Resource ids.
        resources: Vec<String>,
        /// Keys to remove.
        keys: Vec<String>,
    },
    /// Terminates instances; those already terminated are ignored.
    TerminateInstances {
        /// Instance ids.
        instances: Vec<String>,
    },
    /// Deletes a classic load balancer; one that does not exist is ignored.
    DeleteLoadBalancer {
        /// Its name.
        load_balancer: String,
    },
    /// Deletes a security group.
    DeleteSecurityGroup {
        /// Its id; one in use fails the call with `DependencyViolation`.
        id: String,
    },
}

impl CloudCall {
    /// As IAM names it.
    pub fn action(&self) -> &'static str {
        match self {
            Self::DescribeInstances { .. } => "ec2:DescribeInstances",
            Self::DescribeVpcs { .. } => "ec2:DescribeVpcs",
            Self::DescribeSubnets { .. } => "ec2:DescribeSubnets",
            Self::DescribeRouteTables { .. } => "ec2:DescribeRouteTables",
            Self::DescribeSecurityGroups { .. } => "ec2:DescribeSecurityGroups",
            Self::DescribeLoadBalancers { .. } => "elasticloadbalancing:DescribeLoadBalancers",
            Self::DescribeInstanceHealth { .. } => "elasticloadbalancing:DescribeInstanceHealth",
            Self::DescribeLoadBalancerAttributes { .. } => {
                "elasticloadbalancing:DescribeLoadBalancerAttributes"
            }
            Self::ModifyLoadBalancerAttributes { .. } => {
                "elasticloadbalancing:ModifyLoadBalancerAttributes"
            }
            Self::DescribeAutoScalingGroups { .. } => "autoscaling:DescribeAutoScalingGroups",
            Self::DescribeStacks { .. } => "cloudformation:DescribeStacks",
            Self::AssumeRole { .. } => "sts:AssumeRole",
            Self::RegisterInstancesWithLoadBalancer { .. } => {
                "elasticloadbalancing:RegisterInstancesWithLoadBalancer"
            }
            Self::DeregisterInstancesFromLoadBalancer { .. } => {
                "elasticloadbalancing:DeregisterInstancesFromLoadBalancer"
            }
            Self::SuspendProcesses { .. } => "autoscaling:SuspendProcesses",
            Self::ResumeProcesses { .. } => "autoscaling:ResumeProcesses",
            Self::DescribeLifecycleHooks { .. } => "autoscaling:DescribeLifecycleHooks",
            Self::UpdateAutoScalingGroup { .. } => "autoscaling:UpdateAutoScalingGroup",
            Self::TerminateInstanceInAutoScalingGroup { .. } => {
                "autoscaling:TerminateInstanceInAutoScalingGroup"
            }
            Self::CompleteLifecycleAction { .. } => "autoscaling:CompleteLifecycleAction",
            Self::DeleteAutoScalingGroup { .. } => "autoscaling:DeleteAutoScalingGroup",
            Self::CreateTags { .. } => "ec2:CreateTags",
            Self::DeleteTags { .. } => "ec2:DeleteTags",
            Self::TerminateInstances { .. } => "ec2:TerminateInstances",
            Self::DeleteLoadBalancer { .. } => "elasticloadbalancing:DeleteLoadBalancer",
            Self::DeleteSecurityGroup { .. } => "ec2:DeleteSecurityGroup",
        }
    }

    /// What it is about, in words: names and ids.
    pub fn target(&self) -> String {
        match self {
            Self::DescribeInstances { tags } | Self::DescribeAutoScalingGroups { tags } => {
                let tags: Vec<String> = tags
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                tags.join(",")
            }
            Self::DescribeVpcs { ids } => ids.join(","),
            Self::DescribeSubnets { vpc }
            | Self::DescribeRouteTables { vpc }
            | Self::DescribeSecurityGroups { vpc } => vpc.clone(),
            Self::DescribeLoadBalancers { names } => names.join(","),
            Self::DescribeInstanceHealth { load_balancer }
            | Self::DescribeLoadBalancerAttributes { load_balancer }
            | Self::ModifyLoadBalancerAttributes { load_balancer, .. }
            | Self::DeleteLoadBalancer { load_balancer } => load_balancer.clone(),
            Self::DescribeStacks { prefix } => prefix.clone(),
            Self::AssumeRole { role_arn } => role_arn.clone(),
            Self::RegisterInstancesWithLoadBalancer {
                load_balancer,
                instances,
            }
            | Self::DeregisterInstancesFromLoadBalancer {
                load_balancer,
                instances,
            } => format!("{load_balancer} {}", instances.join(",")),
            Self::SuspendProcesses { group, processes }
            | Self::ResumeProcesses { group, processes } => {
                format!("{group} {}", processes.join(","))
            }
            Self::DescribeLifecycleHooks { group }
            | Self::UpdateAutoScalingGroup { group, .. }
            | Self::DeleteAutoScalingGroup { group } => group.clone(),
            Self::TerminateInstanceInAutoScalingGroup { instance, .. } => instance.clone(),
            Self::CompleteLifecycleAction {
                group, instance, ..
            } => format!("{group} {instance}"),
            Self::CreateTags { resources, .. } | Self::DeleteTags { resources, .. } => {
                resources.join(",")
            }
            Self::TerminateInstances { instances } => instances.join(","),
            Self::DeleteSecurityGroup { id } => id.clone(),
        }
    }

    /// True when it changes something.
    pub fn mutates(&self) -> bool {
        match self {
            Self::DescribeInstances { .. }
            | Self::DescribeVpcs { .. }
            | Self::DescribeSubnets { .. }
            | Self::DescribeRouteTables { .. }
            | Self::DescribeSecurityGroups { .. }
            | Self::DescribeLoadBalancers { .. }
            | Self::DescribeInstanceHealth { .. }
            | Self::DescribeLoadBalancerAttributes { .. }
            | Self::DescribeAutoScalingGroups { .. }
            | Self::DescribeLifecycleHooks { .. }
            | Self::DescribeStacks { .. }
            | Self::AssumeRole { .. } => false,
            Self::RegisterInstancesWithLoadBalancer { .. }
            | Self::DeregisterInstancesFromLoadBalancer { .. }
            | Self::ModifyLoadBalancerAttributes { .. }
            | Self::SuspendProcesses { .. }
            | Self::ResumeProcesses { .. }
            | Self::UpdateAutoScalingGroup { .. }
            | Self::TerminateInstanceInAutoScalingGroup { .. }
            | Self::CompleteLifecycleAction { .. }
            | Self::DeleteAutoScalingGroup { .. }
            | Self::CreateTags { .. }
            | Self::DeleteTags { .. }
            | Self::TerminateInstances { .. }
            | Self::DeleteLoadBalancer { .. }
            | Self::DeleteSecurityGroup { .. } => true,
        }
    }
}

/// The answer to a [`CloudCall`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "items", rename_all = "kebab-case")]
pub enum CloudReply {
    /// To `DescribeInstances`, ordered by id.
    Instances(Vec<Instance>),
    /// To `DescribeVpcs`.
    Vpcs(Vec<Vpc>),
    /// To `DescribeSubnets`, ordered by id.
    Subnets(Vec<Subnet>),
    /// To `DescribeRouteTables`, ordered by id.
    RouteTables(Vec<RouteTable>),
    /// To `DescribeSecurityGroups`, ordered by id.
    SecurityGroups(Vec<SecurityGroup>),
    /// To `DescribeLoadBalancers`.
    LoadBalancers(Vec<LoadBalancer>),
    /// To `DescribeInstanceHealth`, ordered by instance id.
    Health(Vec<InstanceHealth>),
    /// To `DescribeLoadBalancerAttributes`.
    Attributes(LoadBalancerAttributes),
    /// To `DescribeAutoScalingGroups`, ordered by name.
    Groups(Vec<AutoScalingGroup>),
    /// To `DescribeLifecycleHooks`, ordered by name.
    Hooks(Vec<LifecycleHook>),
    /// To `DescribeStacks`, ordered by name.
    Stacks(Vec<Stack>),
    /// To `AssumeRole`: the ARN that the role makes us.
    Identity(String),
    /// To every mutation.
    Done,
}
