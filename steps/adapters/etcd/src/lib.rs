//! etcd of workload clusters through the port interfaces.
//!
//! etcd's own load balancer is internal to the customer's VPC, so members are reached through a
//! [`Tunnel`](drover_ports::Tunnel) to the hosts that they run on: one connection a host, TLS and HTTP/2 inside. Which
//! member a host runs is not known by any name; the member says so itself, with its id in the reply to a status request.
//!
//! Every call begins with such a survey of all hosts at once, and then asks the member that the call is about, or any
//! that has a vote. Learners answer nothing but status requests.

mod adapter;
mod connections;
mod error;
mod member;
mod members;
mod rpc;
mod sidecar;
mod snapshot;
mod survey;
mod tls;

pub use adapter::EtcdAdapter;
