//! There is room: for the control plane's new nodes, for a load balancer, and for each pool's first new node.

use drover_model::names;
use drover_ports::Subnet;

use super::{Findings, Look, blocker, warning};

/// Two nodes may be in one zone during a rollout, with two addresses each.
const FOR_CONTROL_PLANE: u32 = 4;
/// What a load balancer wants to find in each of its subnets.
const FOR_LOAD_BALANCER: u32 = 8;

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let plan = look.plan;
    let subnets = look
        .ports()
        .cloud(&plan.id)
        .describe_subnets(&plan.network.vpc)
        .await?;
    let mut found = Vec::new();
    for planned in &plan.network.subnets {
        let Some(subnet) = subnets.iter().find(|subnet| subnet.id == planned.id) else {
            found.push(blocker(
                "subnet-missing",
                format!("subnet {} does not exist any more", planned.id),
            ));
            continue;
        };
        let of_control_plane = planned.stack == names::STACK_NETWORK
            && plan.control_plane.zones.contains(&planned.zone);
        let needed = match (of_control_plane, planned.public) {
            (true, true) => FOR_LOAD_BALANCER,
            (true, false) => FOR_CONTROL_PLANE,
            (false, _) => 0,
        };
        if subnet.available_ips < needed {
            found.push(blocker("addresses-exhausted", too_few(subnet, needed)));
        }
    }
    for pool in plan.node_pools.iter().filter(|pool| pool.current > 0) {
        let free: u32 = subnets
            .iter()
            .filter(|subnet| pool.subnets.contains(&subnet.id))
            .map(|subnet| subnet.available_ips)
            .sum();
        if free == 0 {
            found.push(blocker(
                "addresses-exhausted",
                format!("the subnets of pool {} have no free address, so not even one node can be added", pool.name),
            ));
        } else if free < pool.current {
            found.push(warning(
                "addresses-scarce",
                format!(
                    "pool {} has {} nodes and {free} free addresses; it will move in small batches",
                    pool.name, pool.current
                ),
            ));
        }
    }
    Ok(found)
}

fn too_few(subnet: &Subnet, needed: u32) -> String {
    format!(
        "subnet {} in {} has {} free addresses, and {needed} are needed",
        subnet.id, subnet.zone, subnet.available_ips
    )
}
