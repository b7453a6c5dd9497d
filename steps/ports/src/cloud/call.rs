//! Calls to AWS and what they answer.

use serde::{Deserialize, Serialize};

use super::{
    AutoScalingGroup, DnsRecord, HostedZone, Instance, InstanceHealth, LifecycleHook, LoadBalancer,
    LoadBalancerAttributes, RouteTable, SecurityGroup, Stack, Subnet, Tags, Vpc,
};

/// An AWS action. Names and meanings are those of the API references of EC2, Elastic Load Balancing (classic,
/// 2012-06-01), Auto Scaling, CloudFormation, CloudWatch, Route 53 and STS.
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
    /// Hosted zones of a domain, the public ones first.
    ListHostedZones {
        /// The domain, without the dot at its end.
        domain: String,
    },
    /// Records of a hosted zone, ordered by name and type.
    ListRecords {
        /// Its id.
        zone: String,
    },
    /// Connections that were made to a classic load balancer of late.
    CountConnections {
        /// Its name.
        load_balancer: String,
        /// The time that is looked at, in seconds until now.
        seconds: u64,
    },
    /// A stack's template, as it was handed in.
    GetTemplate {
        /// The stack's name.
        stack: String,
    },
    /// Puts a record into the place of another one in the same moment.
    ReplaceRecord {
        /// The zone's id.
        zone: String,
        /// The record as it was seen; when it is another one by now, the call is refused with `Conflict`.
        seen: DnsRecord,
        /// The record that takes its place.
        record: DnsRecord,
    },
    /// Updates a stack to another template, with the parameters that it has.
    UpdateStack {
        /// The stack's name.
        stack: String,
        /// The template.
        template: String,
    },
    /// Switches a stack's termination protection.
    SetTerminationProtection {
        /// The stack's name.
        stack: String,
        /// Whether it is protected.
        enabled: bool,
    },
    /// Deletes a stack, with every resource whose deletion policy does not say otherwise.
    DeleteStack {
        /// The stack's name; one that does not exist is ignored.
        stack: String,
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
            Self::ListHostedZones { .. } => "route53:ListHostedZonesByName",
            Self::ListRecords { .. } => "route53:ListResourceRecordSets",
            Self::ReplaceRecord { .. } => "route53:ChangeResourceRecordSets",
            Self::CountConnections { .. } => "cloudwatch:GetMetricStatistics",
            Self::GetTemplate { .. } => "cloudformation:GetTemplate",
            Self::UpdateStack { .. } => "cloudformation:UpdateStack",
            Self::SetTerminationProtection { .. } => "cloudformation:UpdateTerminationProtection",
            Self::DeleteStack { .. } => "cloudformation:DeleteStack",
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
            Self::ListHostedZones { domain } => domain.clone(),
            Self::ListRecords { zone } => zone.clone(),
            Self::ReplaceRecord { zone, record, .. } => format!("{zone} {}", record.name),
            Self::CountConnections { load_balancer, .. } => load_balancer.clone(),
            Self::GetTemplate { stack }
            | Self::UpdateStack { stack, .. }
            | Self::SetTerminationProtection { stack, .. }
            | Self::DeleteStack { stack } => stack.clone(),
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
            | Self::ListHostedZones { .. }
            | Self::ListRecords { .. }
            | Self::CountConnections { .. }
            | Self::GetTemplate { .. }
            | Self::AssumeRole { .. } => false,
            Self::ReplaceRecord { .. }
            | Self::UpdateStack { .. }
            | Self::SetTerminationProtection { .. }
            | Self::DeleteStack { .. } => true,
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
    /// To `ListHostedZones`.
    Zones(Vec<HostedZone>),
    /// To `ListRecords`.
    Records(Vec<DnsRecord>),
    /// To `CountConnections`.
    Connections(u64),
    /// To `GetTemplate`.
    Template(String),
    /// To `AssumeRole`: the ARN that the role makes us.
    Identity(String),
    /// To every mutation.
    Done,
}
