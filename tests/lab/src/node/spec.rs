//! What a node is begun with: written by the supervisor, read by the node's own process.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::machines::JoinFails;

/// A node of the lab: an EC2 instance with a network, a process tree and a file system of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeSpec {
    /// EC2 instance id.
    pub instance: String,
    /// Name of its Node: the instance's private DNS name.
    pub name: String,
    /// Private address.
    pub address: Ipv4Addr,
    /// `aws:///ZONE/INSTANCE`.
    pub provider_id: String,
    /// Labels that its kubelet registers it with.
    pub labels: BTreeMap<String, String>,
    /// Its folder: file system and logs.
    pub folder: PathBuf,
    /// The lab's hosts file.
    pub hosts: PathBuf,
    /// Programs that can run on it.
    pub programs: PathBuf,
    /// This program.
    pub lab: PathBuf,
    /// Kubeconfig of its kubelet, within its own root.
    pub kubeconfig: String,
    /// What it serves the Kubernetes API's requests to its kubelet with, within its own root: certificate and key.
    pub kubelet_serving: Option<(String, String)>,
    /// Services that systemd runs, by unit name: program and arguments.
    pub units: BTreeMap<String, Vec<String>>,
    /// Bootstrap data of a Cluster API machine: Ignition, as its Secret has it.
    pub bootstrap: Option<PathBuf>,
    /// Port that its API server binds instead of the one in its bootstrap data.
    pub bind: Option<u16>,
    /// How its `kubeadm join` fails.
    pub join_fails: Option<JoinFails>,
}

impl NodeSpec {
    /// What is written over the file system that all nodes share.
    pub(crate) fn upper(&self) -> PathBuf {
        self.folder.join("upper")
    }

    /// The node's root, seen from outside of it.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// A path of the node, seen from outside of it.
    pub(crate) fn inside(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// The log of one of its programs.
    pub(crate) fn log(&self, program: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{program}.log"))
    }

    /// Where the specification itself lies.
    pub(crate) fn file(folder: &Path) -> PathBuf {
        folder.join("node.json")
    }
}

/// Folder in which the node's small tools and its kubelet leave each other word.
pub(crate) const RUN: &str = "/run/drover-lab";

/// Where kubelet looks for static pods.
pub(crate) const MANIFESTS: &str = "/etc/kubernetes/manifests";
