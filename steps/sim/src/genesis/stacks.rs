//! CloudFormation stacks as the vintage operator made them.

use std::fmt::Write as _;

use drover_model::{VintageCluster, names};

use crate::state::{Cloud, Facts, StackDetails};

pub(super) fn add(cloud: &mut Cloud, vintage: &VintageCluster, facts: &Facts) {
    let pools = vintage.pools.iter();
    let pools = pools.map(|pool| format!("{}-{}", names::STACK_POOL, pool.id));
    let own = [
        names::STACK_NETWORK.to_owned(),
        names::STACK_MASTERS.to_owned(),
    ];
    for suffix in own.into_iter().chain(pools) {
        let name = format!("{}{suffix}", names::stack_prefix(&facts.id));
        let details = StackDetails {
            protected: true,
            ..StackDetails::default()
        };
        cloud.stack_details.insert(name.clone(), details);
        cloud.stacks.insert(name, "UPDATE_COMPLETE".to_owned());
    }
}

/// Logical ids and types of resources, the ones that matter to what happens when a stack is deleted.
const NETWORK: &[(&str, &str)] = &[
    ("VPC", "AWS::EC2::VPC"),
    ("InternetGateway", "AWS::EC2::InternetGateway"),
    ("PublicSubnet", "AWS::EC2::Subnet"),
    ("PrivateSubnet", "AWS::EC2::Subnet"),
    ("NATGateway", "AWS::EC2::NatGateway"),
    ("PrivateRouteTable", "AWS::EC2::RouteTable"),
    ("MasterSecurityGroup", "AWS::EC2::SecurityGroup"),
    ("EtcdELBSecurityGroup", "AWS::EC2::SecurityGroup"),
    ("ApiLoadBalancer", "AWS::ElasticLoadBalancing::LoadBalancer"),
    (
        "EtcdLoadBalancer",
        "AWS::ElasticLoadBalancing::LoadBalancer",
    ),
    ("HostedZone", "AWS::Route53::HostedZone"),
];
const MASTERS: &[(&str, &str)] = &[
    (
        "ControlPlaneNodeAutoScalingGroup",
        "AWS::AutoScaling::AutoScalingGroup",
    ),
    ("ControlPlaneNodeLaunchTemplate", "AWS::EC2::LaunchTemplate"),
    ("MasterEtcdVolume", "AWS::EC2::Volume"),
];
const POOL: &[(&str, &str)] = &[
    (
        "NodePoolAutoScalingGroup",
        "AWS::AutoScaling::AutoScalingGroup",
    ),
    ("NodePoolLaunchTemplate", "AWS::EC2::LaunchTemplate"),
    ("NodePoolSubnet", "AWS::EC2::Subnet"),
    ("NodePoolSecurityGroup", "AWS::EC2::SecurityGroup"),
];

/// The template that the operator made for a stack.
pub(crate) fn template(id: &str, stack: &str) -> String {
    let suffix = stack.strip_prefix(&names::stack_prefix(id));
    let resources = match suffix {
        Some(names::STACK_NETWORK) => NETWORK,
        Some(names::STACK_MASTERS) => MASTERS,
        _ => POOL,
    };
    let mut text = "AWSTemplateFormatVersion: 2010-09-09\nResources:\n".to_owned();
    for (logical, type_) in resources {
        write!(
            text,
            "  {logical}:\n    Type: {type_}\n    Properties:\n      Tags:\n      - Key: Name\n        Value: !Sub {id}-${{AWS::StackName}}\n"
        )
        .expect("a String takes everything");
    }
    text
}
