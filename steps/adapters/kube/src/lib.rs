//! Kubernetes APIs through the port interfaces: the two management clusters, and workload clusters through each of
//! their doors. The only package that names the `kube` crate, and it keeps that to itself.
//!
//! * Requests are plain HTTP with JSON, sent through `kube`'s client for its credentials and TLS. So nothing has to be
//!   known about kinds, bodies with key material stay in buffers that are wiped, and each failure is classified once
//!   (`error`).
//! * Who we are to a workload cluster stands in its kubeconfig, a Secret in the vintage management cluster, whichever
//!   door is used (`doors`).
//! * Nothing is tried again here: steps know better what a second attempt would mean.

mod adapter;
mod asked;
mod clients;
mod config;
mod connection;
mod credentials;
mod doors;
mod error;
mod forwarded;
mod kinds;
mod paths;
mod pods;
mod probe;
mod secrets;
mod served_ca;
mod tokens;
mod tunnel;
mod verbs;

pub use adapter::KubeAdapter;
pub use config::{KubeAdapterError, KubeConfig};
