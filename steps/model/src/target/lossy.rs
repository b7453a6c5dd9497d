//! What a vintage cluster has and its target has not: shown to a person before anything is applied, never dropped
//! silently.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ClusterPlan;

/// One setting that the target does not carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lossy {
    /// Where it stands and what it says.
    pub setting: String,
    /// What becomes of it.
    pub consequence: String,
}

pub(super) fn of(plan: &ClusterPlan) -> Vec<Lossy> {
    let mut lossy = Vec::new();
    let mut add = |setting: String, consequence: &str| {
        lossy.push(Lossy {
            setting,
            consequence: consequence.to_owned(),
        });
    };
    for pool in &plan.node_pools {
        if pool.container_volume_gb > 0 && pool.kubelet_volume_gb > 0 {
            add(
                format!(
                    "pool {}: {} GB for containers and {} GB for kubelet",
                    pool.name, pool.container_volume_gb, pool.kubelet_volume_gb
                ),
                "the two volumes become one root volume of their sum",
            );
        }
        if !pool.alike_instance_types.is_empty() && pool.spot.is_none() {
            add(
                format!(
                    "pool {}: similar instance types allowed ({})",
                    pool.name,
                    pool.alike_instance_types.join(", ")
                ),
                "on-demand pools use one instance type only",
            );
        }
    }
    for setting in &plan.other_settings {
        add(setting.clone(), "nothing on the Cluster API side reads it");
    }
    lossy
}
