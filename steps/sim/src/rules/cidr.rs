//! Pod CIDRs of nodes, as the leading controller manager hands them out.
//!
//! Its allocator keeps blocks of its own mask only. A node whose block is smaller occupies the whole block it lies in; and
//! when that node goes, the whole block becomes free, although a sibling may still live in it. The next node then gets
//! addresses that are in use: two pods with one IP.

use ipnet::Ipv4Net;
use serde_json::json;

use super::nodes;
use crate::state::Cluster;

/// What a new leader does first: it reads all nodes and marks their blocks.
pub(super) fn rebuild(cluster: &mut Cluster) {
    let Some((mask, range)) = leader(cluster) else {
        return;
    };
    cluster.pod_cidrs.mask = mask;
    cluster.pod_cidrs.used = cluster
        .cloud
        .instances
        .values()
        .filter_map(|instance| instance.pod_cidr)
        .flat_map(|cidr| blocks(cidr, mask, range))
        .collect();
}

fn leader(cluster: &Cluster) -> Option<(u8, Ipv4Net)> {
    let holder = cluster
        .leases
        .get("kube-controller-manager")?
        .holder
        .as_ref()?;
    let config = &cluster.hosts.get(holder)?.config;
    Some((config.node_cidr_mask, config.cluster_cidr.parse().ok()?))
}

/// Blocks of the allocator that a CIDR touches.
fn blocks(cidr: Ipv4Net, mask: u8, range: Ipv4Net) -> Vec<u32> {
    let size = 1u32 << (32 - mask);
    let base = u32::from(range.network());
    let first = u32::from(cidr.network()).saturating_sub(base) / size;
    let last = u32::from(cidr.broadcast()).saturating_sub(base) / size;
    (first..=last).collect()
}

/// Gives a Node its block, if a controller manager leads and has one left.
pub(super) fn assign(cluster: &mut Cluster, instance: &str) -> bool {
    let Some((mask, range)) = leader(cluster) else {
        return false;
    };
    if cluster.pod_cidrs.mask != mask {
        rebuild(cluster);
    }
    let size = 1u32 << (32 - mask);
    let count = (1u64 << (32 - range.prefix_len())) / u64::from(size);
    let used = &cluster.pod_cidrs.used;
    let Some(free) = (0..u32::try_from(count).unwrap_or(u32::MAX)).find(|n| !used.contains(n))
    else {
        return false;
    };
    let address = u32::from(range.network()) + free * size;
    let cidr = Ipv4Net::new_assert(address.into(), mask);
    cluster.pod_cidrs.used.insert(free);
    notice_overlaps(cluster, instance, cidr);
    let Some(machine) = cluster.cloud.instances.get_mut(instance) else {
        return false;
    };
    machine.pod_cidr = Some(cidr);
    let node = nodes::key(&machine.dns);
    nodes::edit(cluster, &node, |object| {
        object["spec"]["podCIDR"] = json!(cidr.to_string());
        object["spec"]["podCIDRs"] = json!([cidr.to_string()]);
    });
    true
}

/// A Node is gone: its blocks are free, whoever else may be in them.
pub(super) fn release(cluster: &mut Cluster, cidr: Ipv4Net) {
    if let Some((mask, range)) = leader(cluster) {
        for block in blocks(cidr, mask, range) {
            cluster.pod_cidrs.used.remove(&block);
        }
    }
}

fn notice_overlaps(cluster: &mut Cluster, instance: &str, cidr: Ipv4Net) {
    let shared: Vec<String> = cluster
        .cloud
        .instances
        .values()
        .filter(|other| other.id != instance)
        .filter_map(|other| Some((other, other.pod_cidr?)))
        .filter(|(_, theirs)| theirs.contains(&cidr) || cidr.contains(theirs))
        .map(|(other, theirs)| {
            let role = |id: &str| {
                crate::normalized::role_name(cluster, id).unwrap_or_else(|| id.to_owned())
            };
            format!(
                "{} has {cidr} and {} has {theirs}",
                role(instance),
                role(&other.id)
            )
        })
        .collect();
    cluster.probes.shared_pod_cidrs.extend(shared);
}
