//! The network half of the plan.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names;

/// VPC, subnets, groups, CIDRs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkPlan {
    /// VPC id.
    pub vpc: String,
    /// CIDR of the VPC.
    pub vpc_cidr: String,
    /// Internet gateway id; empty when the VPC has none.
    pub internet_gateway: String,
    /// Subnets that the vintage stacks made, ordered by id. Customers' own subnets of the VPC are not among them.
    pub subnets: Vec<SubnetPlan>,
    /// Security group `<id>-master`.
    pub master_security_group: String,
    /// Pod CIDR as the running controller manager allocates it.
    pub pod_cidr: String,
    /// Service CIDR as the running API servers use it.
    pub service_cidr: String,
    /// Mask of each node's pod CIDR, as the running controller manager allocates it.
    pub node_cidr_mask: u8,
}

/// One subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubnetPlan {
    /// Subnet id.
    pub id: String,
    /// Availability zone.
    pub zone: String,
    /// CIDR.
    pub cidr: String,
    /// True when its instances get public addresses.
    pub public: bool,
    /// Which stack made it: `tccp` or `tcnp`.
    pub stack: String,
    /// The node pool it is of; empty for subnets of the control plane.
    pub pool: String,
    /// Its explicitly associated route table; empty when it uses the VPC's main table implicitly.
    pub route_table: String,
    /// Its NAT gateway; empty for public subnets.
    pub nat_gateway: String,
}

/// Names of the classic load balancers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoadBalancers {
    /// In front of the vintage API.
    pub api: String,
    /// The same, inside the VPC.
    pub api_internal: String,
    /// In front of vintage etcd.
    pub etcd: String,
    /// CAPA's.
    pub capa: String,
}

impl LoadBalancers {
    /// All names of a cluster.
    pub fn of(id: &str) -> Self {
        Self {
            api: names::api_load_balancer(id),
            api_internal: names::internal_api_load_balancer(id),
            etcd: names::etcd_load_balancer(id),
            capa: names::capa_load_balancer(id),
        }
    }
}
