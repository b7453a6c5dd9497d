//! What the world is made of. Plain data: rules change it, doors read it.

mod apps;
mod cloud;
mod cluster;
mod etcd;
mod host;
mod probes;

pub(crate) use apps::{App, Apps};
pub(crate) use cloud::{
    Backend, Cloud, Elb, Group, Held, Instance, InstanceRole, InstanceState, NodeState,
};
pub(crate) use cluster::{Bootstrap, Cluster, Facts, Lease, NodeFaults, PodCidrs, VINTAGE_REALM};
pub(crate) use etcd::{Etcd, EtcdMember};
pub(crate) use host::{ApiConfig, Flavour, Host, Proc, units};
pub use probes::{Gap, ProbeName};
pub(crate) use probes::{Probes, Status};
