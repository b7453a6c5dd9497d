//! The network of pods.

use std::collections::BTreeMap;

/// Cilium's agents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cni {
    /// False once its release has been uninstalled.
    pub(crate) installed: bool,
    /// True once the Cluster API side manages all basic apps.
    pub(crate) adopted: bool,
    /// The name of the API that agents are started with.
    pub(crate) api: String,
    /// The name of the API that a running agent talks to, by instance.
    pub(crate) agents: BTreeMap<String, String>,
}
