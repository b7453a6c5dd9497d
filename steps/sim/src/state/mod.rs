//! What the world is made of. Plain data: rules change it, doors read it.

mod apps;
mod cloud;
mod cluster;
mod cni;
mod dns;
mod etcd;
mod host;
mod probes;
mod stack;
mod upkeep;

pub(crate) use apps::{App, Apps};
pub(crate) use cloud::{
    Backend, Cloud, Elb, Group, Held, Instance, InstanceRole, InstanceState, NodeState,
};
pub(crate) use cluster::{
    Bootstrap, Cluster, ClusterFaults, Facts, Lease, PodCidrs, VINTAGE_REALM,
};
pub(crate) use cni::Cni;
pub(crate) use dns::Zone;
pub(crate) use etcd::{Etcd, EtcdMember};
pub(crate) use host::{ApiConfig, Flavour, Host, Proc, units};
pub use probes::{Gap, ProbeName};
pub(crate) use probes::{Probes, Status};
pub(crate) use stack::{StackDetails, StackWork};
pub(crate) use upkeep::Upkeep;
