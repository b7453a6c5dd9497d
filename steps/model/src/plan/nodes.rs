//! The machines of the plan.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ControlPlanePlan {
    /// Id of the `G8sControlPlane`.
    pub id: String,
    /// Instance type, kept on the Cluster API side.
    pub instance_type: String,
    /// Zones of the masters, one each.
    pub zones: Vec<String>,
}

/// One vintage master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Master {
    /// EC2 instance id.
    pub instance: String,
    /// Name of its Node.
    pub node: String,
    /// Name of its etcd member.
    pub member: String,
    /// Availability zone.
    pub zone: String,
    /// Its Auto Scaling group.
    pub auto_scaling_group: String,
}

/// One node pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolPlan {
    /// Pool id.
    pub name: String,
    /// For people.
    pub description: String,
    /// Fewest nodes.
    pub min: u32,
    /// Most nodes.
    pub max: u32,
    /// Nodes at the time of the inventory.
    pub current: u32,
    /// Instance type.
    pub instance_type: String,
    /// Types that the vintage group may use besides; empty unless similar types are allowed.
    pub alike_instance_types: Vec<String>,
    /// Zones.
    pub zones: Vec<String>,
    /// Its subnets.
    pub subnets: Vec<String>,
    /// Its security group.
    pub security_group: String,
    /// Its Auto Scaling group; empty when there is none.
    pub auto_scaling_group: String,
    /// GB for containers and images.
    pub container_volume_gb: u32,
    /// GB for kubelet.
    pub kubelet_volume_gb: u32,
    /// Mix of on-demand and spot; `None` when all is on demand.
    pub spot: Option<SpotPlan>,
    /// Instance metadata requires session tokens.
    pub imds_v2: bool,
}

/// Mix of on-demand and spot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpotPlan {
    /// On-demand instances before the percentage counts.
    pub on_demand_base: u32,
    /// Share of on-demand above the base, percent.
    pub on_demand_percent: u32,
}
