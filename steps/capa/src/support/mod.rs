//! What several kinds need: each file one small duty.

pub(crate) mod applied;
pub(crate) mod cluster;
pub(crate) mod control_plane;
pub(crate) mod defaults;
pub(crate) mod drain;
pub(crate) mod etcd;
pub(crate) mod gitops;
pub(crate) mod groups;
pub(crate) mod looks;
pub(crate) mod node_jobs;
pub(crate) mod nodes;
pub(crate) mod replicas;
pub(crate) mod rollout;
pub(crate) mod secrets;
pub(crate) mod static_pods;
pub(crate) mod traffic;
