//! Every node's pod CIDR has the mask that the new controller manager will use. Allocators of different masks hand out
//! overlapping blocks, and pods share addresses.

use ipnet::Ipv4Net;

use super::{Findings, Look, blocker, warning};
use crate::kinds;

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let network = &look.plan.network;
    let mask = network.node_cidr_mask;
    let mut found = Vec::new();
    let mut blocks = Vec::new();
    for node in look.workload().list(&kinds::node(), "", &[]).await? {
        let name = node["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let cidr = node["spec"]["podCIDR"].as_str().unwrap_or_default();
        match cidr.parse::<Ipv4Net>() {
            Ok(block) if block.prefix_len() == mask => blocks.push((name, block)),
            Ok(block) => found.push(blocker(
                "node-cidr-mask",
                format!("node {name} has {block}, and the Cluster API side will hand out /{mask}; both must have one mask"),
            )),
            Err(_) => found.push(warning("node-cidr-missing", format!("node {name} has no pod CIDR"))),
        }
    }
    for (n, (name, block)) in blocks.iter().enumerate() {
        for (other, same) in &blocks[n + 1..] {
            if block.contains(same) || same.contains(block) {
                found.push(blocker(
                    "node-cidrs-overlap",
                    format!("nodes {name} and {other} share the pod CIDR {block}"),
                ));
            }
        }
    }
    if let Ok(range) = network.pod_cidr.parse::<Ipv4Net>() {
        let all = 1u64 << mask.saturating_sub(range.prefix_len());
        // Every node is doubled for a while, and three come on top.
        let needed = blocks.len() as u64 * 2 + 3;
        if all < needed {
            found.push(blocker(
                "node-cidrs-exhausted",
                format!("{range} has {all} blocks of /{mask}, and {needed} are needed while old and new nodes run"),
            ));
        }
    }
    Ok(found)
}
