//! What there is in AWS, as far as steps look at it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Tags, or tags that must be equal.
pub type Tags = BTreeMap<String, String>;

/// An EC2 instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    /// `pending`, `running`, `shutting-down`, `stopping`, `stopped`.
    pub state: String,
    /// Private DNS name; CAPI nodes are named so.
    pub private_dns: String,
    /// Private IPv4 address.
    pub private_ip: String,
    /// Availability zone.
    pub zone: String,
    /// Subnet id.
    pub subnet: String,
    /// Security group ids.
    pub security_groups: Vec<String>,
    /// Tags.
    pub tags: Tags,
}

/// A VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// `vpc-…`
    pub id: String,
    /// Primary CIDR.
    pub cidr: String,
    /// Tags.
    pub tags: Tags,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// `subnet-…`
    pub id: String,
    /// Availability zone.
    pub zone: String,
    /// CIDR.
    pub cidr: String,
    /// `AvailableIpAddressCount`.
    pub available_ips: u32,
    /// Tags.
    pub tags: Tags,
}

/// A route table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// `rtb-…`
    pub id: String,
    /// Explicitly associated subnets.
    pub subnets: Vec<String>,
    /// True for the VPC's main table.
    pub main: bool,
    /// Routes, ordered by destination.
    pub routes: Vec<Route>,
    /// Tags.
    pub tags: Tags,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// CIDR or prefix-list id.
    pub destination: String,
    /// `local`, `igw-…`, `nat-…`, `pcx-…`, `tgw-…`, `vpce-…`.
    pub target: String,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// `sg-…`
    pub id: String,
    /// Group name.
    pub name: String,
    /// Tags.
    pub tags: Tags,
}

/// A classic load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Its name.
    pub name: String,
    /// Its DNS name.
    pub dns_name: String,
    /// `internet-facing` or `internal`.
    pub scheme: String,
    /// Registered instances, ordered.
    pub instances: Vec<String>,
    /// Zones it is enabled in, ordered.
    pub zones: Vec<String>,
    /// Health check target, for example `HTTP:8089/healthz`.
    pub health_check: String,
}

/// Attributes of a classic load balancer, as far as steps look at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerAttributes {
    /// Seconds that connections to a deregistered instance live on; `None`: they are cut at once.
    pub connection_draining: Option<u32>,
}

/// What a classic load balancer believes of one of its instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceHealth {
    /// Instance id.
    pub instance: String,
    /// `InService`, `OutOfService` or `Unknown`.
    pub state: String,
    /// Why, when it is out of service.
    pub reason: String,
}

/// An Auto Scaling group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoScalingGroup {
    /// Its name.
    pub name: String,
    /// Wanted instances.
    pub desired: u32,
    /// Lower bound.
    pub min: u32,
    /// Upper bound.
    pub max: u32,
    /// Instance ids, ordered.
    pub instances: Vec<String>,
    /// Those of them that are on their way out (`Terminating` and what follows), ordered.
    #[serde(default)]
    pub ending: Vec<String>,
    /// Those of `ending` that a lifecycle hook holds up (`Terminating:Wait`), ordered.
    #[serde(default)]
    pub waiting: Vec<String>,
    /// Suspended processes, ordered.
    pub suspended: Vec<String>,
    /// Load balancers that its instances join.
    pub load_balancers: Vec<String>,
    /// Tags.
    pub tags: Tags,
}

/// What holds up the start or the end of an Auto Scaling group's instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleHook {
    /// Its name.
    pub name: String,
    /// `autoscaling:EC2_INSTANCE_LAUNCHING` or `autoscaling:EC2_INSTANCE_TERMINATING`.
    pub transition: String,
}

/// A CloudFormation stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Its name.
    pub name: String,
    /// `CREATE_COMPLETE`, `UPDATE_IN_PROGRESS`, …
    pub status: String,
    /// Whether it cannot be deleted before that is switched off.
    #[serde(default)]
    pub termination_protection: bool,
}

/// A hosted zone of Route 53.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostedZone {
    /// `Z…`
    pub id: String,
    /// Its domain, without the dot at its end.
    pub domain: String,
    /// True when only the VPC asks it.
    pub private: bool,
}

/// A record of a hosted zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsRecord {
    /// The name, without the dot at its end.
    pub name: String,
    /// `A`, `CNAME`, `TXT`, …
    pub type_: String,
    /// Seconds for which whoever asked may go on using the answer. An alias has those of what it points to: 60 for a load
    /// balancer.
    pub ttl: u32,
    /// True when Route 53 answers with the addresses of what it points to.
    pub alias: bool,
    /// What it says; the DNS name that it points to when it is an alias.
    pub values: Vec<String>,
}
