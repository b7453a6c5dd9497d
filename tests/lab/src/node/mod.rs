//! One node: a process of its own in namespaces of its own (network, mounts, processes, host name), which does what an
//! instance does from its first boot on. kwok beside it plays the kubelet's API: status, heartbeats, port-forward.

mod boot;
mod forward;
mod healthz;
mod ignition;
mod jobs;
mod kubelet;
mod register;
mod root;
mod spec;
mod static_pods;
mod units;
mod wait_api;

pub(crate) use healthz::{HealthzArgs, serve as serve_healthz};
pub(crate) use kubelet::run;
pub(crate) use spec::{MANIFESTS, NodeSpec};
pub(crate) use wait_api::{WaitApiArgs, wait as wait_api};
