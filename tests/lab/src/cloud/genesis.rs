//! A vintage cluster's part of AWS, as its CloudFormation stacks would have made it.
//!
//! Names, tags and listeners are those of aws-operator. Left out, because nothing in the lab looks at it: the rules of
//! security groups, lifecycle hooks, the S3 endpoint, peering, CloudFormation itself, the masters' ENIs and volumes.

mod identity;
mod masters;
mod network;
mod traffic;

use std::{collections::BTreeMap, net::Ipv4Addr};

use anyhow::Context as _;
use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
use drover_model::{NetworkPlan, names};
use ipnet::Ipv4Net;

use super::sdk::Clients;

/// What is made.
#[derive(Clone, Debug)]
pub(crate) struct GenesisPlan {
    /// Cluster id.
    pub(crate) id: String,
    /// Installation of the management cluster whose CAPA will have the cluster.
    pub(crate) installation: String,
    /// Organization.
    pub(crate) organization: String,
    /// Region.
    pub(crate) region: String,
    /// Account; moto's own has to be the same (`MOTO_ACCOUNT_ID`).
    pub(crate) account: String,
    /// CIDR of the VPC, for example `10.1.0.0/16`; no longer than /24.
    pub(crate) vpc_cidr: Ipv4Net,
    /// How many availability zones. A region with fewer is used up to what it has.
    pub(crate) zones: usize,
    /// 1 or 3. They take turns in the zones.
    pub(crate) masters: usize,
}

/// What was made.
#[derive(Clone, Debug)]
pub(crate) struct Genesis {
    /// VPC, gateway, subnets, the masters' group. What AWS does not know is left empty: pod and service CIDR, node mask.
    pub(crate) network: NetworkPlan,
    /// Masters, in the order of their numbers.
    pub(crate) masters: Vec<GenesisMaster>,
    /// DNS names of the load balancers, by name.
    pub(crate) load_balancers: BTreeMap<String, String>,
}

/// Ids of the security groups.
#[derive(Clone, Debug)]
pub(crate) struct SecurityGroups {
    /// `<id>-master`
    pub(crate) master: String,
    /// `<id>-internal-api`
    pub(crate) internal_api: String,
    /// `<id>-etcd-elb`
    pub(crate) etcd: String,
}

/// A vintage master.
#[derive(Clone, Debug)]
pub(crate) struct GenesisMaster {
    /// Instance id.
    pub(crate) instance: String,
    /// Private address.
    pub(crate) private_ip: Ipv4Addr,
    /// Private DNS name: the name of its Node.
    pub(crate) private_dns: String,
    /// Availability zone.
    pub(crate) zone: String,
    /// Its Auto Scaling group.
    pub(crate) auto_scaling_group: String,
}

/// Makes it, by calls to an endpoint. It is no step: a second call makes a second network and fails at its names.
pub(super) async fn make(endpoint: &str, plan: &GenesisPlan) -> anyhow::Result<Genesis> {
    let clients = Clients::new(endpoint, &plan.region);
    identity::make(endpoint, plan)
        .await
        .context("roles and profiles")?;
    let (network, groups) = network::make(&clients.ec2, plan).await.context("network")?;
    let load_balancers = traffic::make(&clients, plan, &network, &groups)
        .await
        .context("load balancers")?;
    let ami = masters::image(&clients.ec2).await.context("image")?;
    let masters = masters::make(&clients, plan, &network, &groups, &ami)
        .await
        .context("masters")?;
    traffic::register(&clients, load_balancers.keys(), &masters)
        .await
        .context("registration")?;
    Ok(Genesis {
        network,
        masters,
        load_balancers,
    })
}

/// Tags that every resource of a stack carries.
fn stack_tags(plan: &GenesisPlan, stack: &str, name: &str) -> BTreeMap<String, String> {
    let owned = format!("kubernetes.io/cluster/{}", plan.id);
    [
        ("Name", name),
        (names::TAG_CLUSTER, &plan.id),
        (names::TAG_STACK, stack),
        ("giantswarm.io/installation", &plan.installation),
        ("giantswarm.io/organization", &plan.organization),
        (&owned, "owned"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// Tags as EC2 takes them when it makes something.
fn specification(kind: ResourceType, tags: &BTreeMap<String, String>) -> TagSpecification {
    let tags = tags
        .iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build());
    TagSpecification::builder()
        .resource_type(kind)
        .set_tags(Some(tags.collect()))
        .build()
}
