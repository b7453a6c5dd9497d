//! A control-plane host: manifests and units on its disk, processes that run, and what they were configured with.

use std::collections::{BTreeMap, BTreeSet};

use drover_model::node_job::{MANIFESTS, PARKED};

/// Units of vintage masters that a migration has to do with.
pub(crate) mod units {
    /// etcd.
    pub(crate) const ETCD: &str = "etcd3.service";
    /// Hourly defragmentation.
    pub(crate) const DEFRAGMENTATION: &str = "etcd3-defragmentation.timer";
    /// Condemns its own instance when this node's components are down and the cluster's are not.
    pub(crate) const HEALTHCHECK: &str = "master-instance-healthcheck.timer";
    /// Puts role labels back.
    pub(crate) const LABEL_NODE: &str = "k8s-label-node.timer";
}

/// Which kind of host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// A vintage master, counted from 1.
    Vintage(u32),
    /// The node of a Machine.
    Capi {
        /// Its Machine.
        machine: String,
    },
}

/// A process on a control-plane host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Proc {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    ApiHealthz,
}

impl Proc {
    pub(crate) const ALL: [Self; 5] = [
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::ApiHealthz,
    ];

    /// The static pod's manifest on a host of this flavour; `None` where a unit runs it.
    pub(crate) fn manifest(self, flavour: &Flavour) -> Option<&'static str> {
        let vintage = matches!(flavour, Flavour::Vintage(_));
        Some(match self {
            Self::Etcd if vintage => return None,
            Self::Etcd => "etcd.yaml",
            Self::ApiServer if vintage => "k8s-api-server.yaml",
            Self::ApiServer => "kube-apiserver.yaml",
            Self::ControllerManager if vintage => "k8s-controller-manager.yaml",
            Self::ControllerManager => "kube-controller-manager.yaml",
            Self::Scheduler if vintage => "k8s-scheduler.yaml",
            Self::Scheduler => "kube-scheduler.yaml",
            Self::ApiHealthz => "k8s-api-healthz.yaml",
        })
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "api-server",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
            Self::ApiHealthz => "api-healthz",
        }
    }
}

/// What an API server and its controller manager were started with, by fingerprints and flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ApiConfig {
    /// CA that its serving certificate chains to, and that its clients' certificates must chain to.
    pub(crate) ca: String,
    /// Keys that verify tokens.
    pub(crate) verifies: BTreeSet<String>,
    /// The key that signs tokens.
    pub(crate) signs: String,
    /// Issuers; the first one signs.
    pub(crate) issuers: Vec<String>,
    /// The encryption configuration; `None` writes and reads plain text only.
    pub(crate) encryption: Option<String>,
    pub(crate) etcd_prefix: String,
    /// Names in its serving certificate besides its own.
    pub(crate) names: BTreeSet<String>,
    pub(crate) port: u16,
    /// Ports that lead to others on the host: from, to.
    pub(crate) redirects: BTreeMap<u16, u16>,
    /// Controller manager: mask of nodes' pod CIDRs.
    pub(crate) node_cidr_mask: u8,
    /// Controller manager: pod CIDR.
    pub(crate) cluster_cidr: String,
    /// Controller manager: signs kubelets' certificate requests.
    pub(crate) signs_kubelets: bool,
}

impl ApiConfig {
    /// Whether somebody who connects to this port reaches the API server.
    pub(crate) fn answers(&self, port: u16) -> bool {
        self.redirects.get(&port).copied().unwrap_or(port) == self.port
    }
}

/// A control-plane host whose system has booted.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) flavour: Flavour,
    /// Name of its node.
    pub(crate) node: String,
    /// Manifests, by path.
    files: BTreeSet<String>,
    /// Units: true while active.
    pub(crate) units: BTreeMap<&'static str, bool>,
    /// Processes that run now.
    pub(crate) running: BTreeSet<Proc>,
    pub(crate) config: ApiConfig,
    /// Static pods that its kubelet has published in the API.
    pub(crate) published: BTreeSet<Proc>,
    /// False once its kubelet is broken.
    pub(crate) kubelet: bool,
    /// Its etcd was initialised as a cluster of its own instead of joining.
    pub(crate) lone_etcd: bool,
    /// Its `kubeadm join` has failed, and is not tried again.
    pub(crate) join_failed: bool,
}

impl Host {
    /// A host with nothing on its disk.
    pub(crate) fn new(flavour: Flavour, node: &str, config: ApiConfig) -> Self {
        let vintage = matches!(flavour, Flavour::Vintage(_));
        let units = [
            units::ETCD,
            units::DEFRAGMENTATION,
            units::HEALTHCHECK,
            units::LABEL_NODE,
        ];
        Self {
            flavour,
            node: node.to_owned(),
            files: BTreeSet::new(),
            units: units
                .into_iter()
                .filter(|_| vintage)
                .map(|unit| (unit, true))
                .collect(),
            running: BTreeSet::new(),
            config,
            published: BTreeSet::new(),
            kubelet: true,
            lone_etcd: false,
            join_failed: false,
        }
    }

    pub(crate) fn is_vintage(&self) -> bool {
        matches!(self.flavour, Flavour::Vintage(_))
    }

    /// Puts a process's manifest in place.
    pub(crate) fn place(&mut self, proc: Proc) {
        if let Some(manifest) = proc.manifest(&self.flavour) {
            self.files.insert(format!("{MANIFESTS}/{manifest}"));
        }
    }

    /// Moves a manifest from one folder to the other, if it is there. Gives back whether it was.
    pub(crate) fn park(&mut self, manifest: &str, back: bool) -> bool {
        let (from, to) = if back {
            (PARKED, MANIFESTS)
        } else {
            (MANIFESTS, PARKED)
        };
        let moved = self.files.remove(&format!("{from}/{manifest}"));
        if moved {
            self.files.insert(format!("{to}/{manifest}"));
        }
        moved
    }

    /// Whether the host wants a process to run: its manifest is in place, or its unit active.
    pub(crate) fn wants(&self, proc: Proc) -> bool {
        match proc.manifest(&self.flavour) {
            Some(manifest) => {
                self.kubelet && self.files.contains(&format!("{MANIFESTS}/{manifest}"))
            }
            None => self.units.get(units::ETCD).copied().unwrap_or(false),
        }
    }

    pub(crate) fn runs(&self, proc: Proc) -> bool {
        self.running.contains(&proc)
    }

    /// Manifests by path, for comparing worlds.
    pub(crate) fn files(&self) -> impl Iterator<Item = &String> {
        self.files.iter()
    }
}
