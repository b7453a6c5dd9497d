//! The doors through which steps reach the outside.
//!
//! A step sees typed ports ([`Kube`], [`Cloud`], [`Etcd`], [`CaSource`], [`RegionStore`], [`Probe`]), each with one
//! method per action; every mutating method takes a [`Permit`](drover_step_api::Permit) by value. All of them end at
//! one [`Door`], which passes a [`Call`] to the outside and brings a [`Reply`] back. Whatever has to see every outside
//! call stands at that door once: the adapters of the real world, the simulated world, the testkit's fault injection,
//! the ledger, the check of declared permissions.
//!
//! No SDK appears here. Adapters depend on this crate, never the other way round.

mod ca;
mod call;
mod cloud;
mod error;
mod etcd;
mod kube;
mod ports;
mod probe;
mod region_store;
mod secret;
mod tunnel;

pub use ca::{CaBundle, CaCall, CaReply, CaSource};
pub use call::{Call, Caller, Door, Reply};
pub use cloud::{
    AutoScalingGroup, Cloud, CloudCall, CloudReply, DnsRecord, HostedZone, Instance,
    InstanceHealth, LifecycleHook, LoadBalancer, LoadBalancerAttributes, Route, RouteTable,
    SecurityGroup, Stack, Subnet, Tags, Vpc,
};
pub use error::{PortError, PortErrorKind};
pub use etcd::{Etcd, EtcdCall, EtcdReply, Member, MemberStatus, Snapshot};
pub use kube::{
    Cluster, DISRUPTION_BUDGET, Gvk, Kube, KubeCall, KubeReply, ObjectRef, SecretObject, Via,
};
pub use ports::Ports;
pub use probe::{Probe, ProbeCall, ProbeReply, ProbeResult};
pub use region_store::{RegionStore, StoreCall, StoreReply};
pub use secret::{SecretBytes, SecretRef};
pub use tunnel::{Addresses, EtcdIdentity, Host, ObjectStore, Tunnel, TunnelStream};
