//! AWS, as far as one cluster has a part in it.

use std::collections::{BTreeMap, BTreeSet};

use drover_ports::{RouteTable, SecurityGroup, Subnet, Tags, Vpc};
use drover_step_api::Timestamp;
use ipnet::Ipv4Net;

use super::{StackDetails, Zone};

/// The cluster's part of AWS.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cloud {
    pub(crate) vpc: Option<Vpc>,
    pub(crate) subnets: BTreeMap<String, Subnet>,
    pub(crate) route_tables: BTreeMap<String, RouteTable>,
    pub(crate) security_groups: BTreeMap<String, SecurityGroup>,
    pub(crate) instances: BTreeMap<String, Instance>,
    pub(crate) elbs: BTreeMap<String, Elb>,
    pub(crate) groups: BTreeMap<String, Group>,
    /// CloudFormation stacks: name and status.
    pub(crate) stacks: BTreeMap<String, String>,
    /// What CloudFormation knows of stacks beside their status, by name.
    pub(crate) stack_details: BTreeMap<String, StackDetails>,
    /// Hosted zones of the cluster's vintage domain, the public one first.
    pub(crate) zones: Vec<Zone>,
    /// Until when somebody goes on using what a name used to point to, by DNS name.
    pub(crate) lingering: BTreeMap<String, Timestamp>,
    /// Whether the role for CAPA exists and trusts the right identity.
    pub(crate) capa_role_trusted: bool,
    /// Addresses handed out, by subnet.
    pub(crate) addresses: BTreeMap<String, u32>,
    /// Instances ever started, for ids.
    pub(crate) launches: u64,
}

/// What an instance is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InstanceRole {
    /// A vintage master, counted from 1.
    Master(u32),
    /// A vintage worker of a pool.
    Worker(String),
    /// The instance of a Machine.
    ControlPlane(String),
    /// An instance of the MachinePool of a vintage pool, by that pool's id.
    PoolNode(String),
}

/// An instance's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InstanceState {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
}

impl InstanceState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
        }
    }
}

/// An EC2 instance.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) role: InstanceRole,
    /// Counts instances in the order in which they were started.
    pub(crate) ordinal: u64,
    pub(crate) state: InstanceState,
    pub(crate) launched: Timestamp,
    pub(crate) address: String,
    pub(crate) dns: String,
    pub(crate) zone: String,
    pub(crate) subnet: String,
    pub(crate) security_groups: Vec<String>,
    pub(crate) tags: Tags,
    /// What its Auto Scaling group believes of it.
    pub(crate) healthy: bool,
    /// How far a booting machine has come; see the rule of the same name.
    pub(crate) boot: u8,
    /// False once its kubelet is broken.
    pub(crate) kubelet: bool,
    /// Its Node.
    pub(crate) node: NodeState,
    /// Its Node's pod CIDR, once it has one.
    pub(crate) pod_cidr: Option<Ipv4Net>,
}

/// An instance's Node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeState {
    /// Not registered, or deleted.
    Absent,
    Ready,
    /// Its kubelet has not been heard of.
    Unknown,
}

impl Instance {
    pub(crate) fn runs(&self) -> bool {
        self.state == InstanceState::Running
    }

    pub(crate) fn lives(&self) -> bool {
        matches!(self.state, InstanceState::Pending | InstanceState::Running)
    }
}

/// A classic load balancer.
#[derive(Clone, Debug)]
pub(crate) struct Elb {
    pub(crate) name: String,
    pub(crate) dns_name: String,
    pub(crate) scheme: &'static str,
    pub(crate) zones: BTreeSet<String>,
    pub(crate) health_check: &'static str,
    /// Seconds between health checks, checks until healthy, checks until unhealthy.
    pub(crate) timing: (u64, u64, u64),
    pub(crate) backends: BTreeMap<String, Backend>,
    /// Seconds that connections to a deregistered instance live on; `None`: they are cut at once.
    pub(crate) connection_draining: Option<u32>,
    pub(crate) tags: Tags,
}

/// What a load balancer believes of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backend {
    pub(crate) in_service: bool,
    /// Never yet InService since it was registered.
    pub(crate) fresh: bool,
}

impl Elb {
    /// What its clients would notice if it lost this instance now; `None` when nothing.
    pub(crate) fn cut_by_losing(&self, id: &str) -> Option<String> {
        let serves = self.backends.get(id)?.in_service;
        (serves && self.connection_draining.is_none()).then(|| {
            let name = &self.name;
            format!("{name} cut the connections of an instance in service")
        })
    }

    /// Instances that it sends traffic to.
    pub(crate) fn in_service(&self) -> impl Iterator<Item = &String> {
        self.backends
            .iter()
            .filter(|(_, backend)| backend.in_service)
            .map(|(id, _)| id)
    }

    /// True when it was not there before.
    pub(crate) fn register(&mut self, instance: &str) -> bool {
        if self.backends.contains_key(instance) {
            return false;
        }
        let backend = Backend {
            in_service: false,
            fresh: true,
        };
        self.backends.insert(instance.to_owned(), backend);
        true
    }
}

/// An Auto Scaling group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) role: InstanceRole,
    pub(crate) min: u32,
    pub(crate) desired: u32,
    pub(crate) max: u32,
    pub(crate) zones: Vec<String>,
    pub(crate) instances: BTreeSet<String>,
    pub(crate) suspended: BTreeSet<String>,
    /// Hooks that hold up the end of its instances.
    pub(crate) hooks: Vec<String>,
    /// Instances that it ends; those of them that a hook holds up still run.
    pub(crate) ending: BTreeMap<String, Held>,
    /// Where its instances start; empty when tags say so.
    pub(crate) subnets: Vec<String>,
    pub(crate) load_balancers: Vec<String>,
    pub(crate) tags: Tags,
}

/// Whether a lifecycle hook holds up an instance's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// `Terminating:Wait`
    Up,
    /// It ends.
    NoMore,
}

impl Group {
    /// True while a process of it acts.
    pub(crate) fn does(&self, process: &str) -> bool {
        !self.suspended.contains(process)
    }
}
