//! What a pool has: old nodes and new ones, told apart by their instances' groups.

use std::collections::{BTreeMap, BTreeSet};

use drover_model::{cr::keys, names};
use drover_ports::Ports;
use drover_step_api::{Context, StepError};
use serde_json::Value;

use super::Params;
use crate::support::{cluster::name, groups, looks, nodes};

/// One node of the pool.
#[derive(Clone, Debug)]
pub(super) struct PoolNode {
    /// EC2 instance id.
    pub(super) instance: String,
    /// Availability zone; empty when its Node is gone.
    pub(super) zone: String,
    /// Its Node's name; `None` when it has none (yet, or any more).
    pub(super) node: Option<String>,
    /// Its kubelet is heard of.
    pub(super) ready: bool,
}

/// What a pool has.
#[derive(Debug)]
pub(super) struct Seen {
    /// Instances of the vintage group, ordered by id.
    pub(super) old: Vec<PoolNode>,
    /// Instances of the Cluster API group that are not on their way out, ordered by id.
    pub(super) new: Vec<PoolNode>,
    /// How many the Cluster API group wants.
    pub(super) wants: u32,
}

impl Seen {
    /// New nodes that take pods.
    pub(super) fn ready(&self) -> u32 {
        let ready = self.new.iter().filter(|node| node.ready).count();
        u32::try_from(ready).unwrap_or(u32::MAX)
    }
}

/// Looks.
///
/// # Errors
/// As the port.
pub(super) async fn look(ctx: &Context<Ports>, params: &Params) -> Result<Seen, StepError> {
    looks::patient(ctx, "the pool to be read", || read(ctx, params)).await
}

async fn read(ctx: &Context<Ports>, params: &Params) -> Result<Seen, StepError> {
    let old = groups::by_tags(ctx, &params.cluster, &params.tags()).await?;
    let own = names::tag_capa_cluster(&params.cluster);
    let new = groups::by_tags(ctx, &params.cluster, &[(own.as_str(), "owned")]).await?;
    let machine_pool = params.machine_pool();
    let new = new.into_iter().find(|group| group.name == machine_pool);
    let nodes = nodes_by_instance(ctx, params).await?;
    let of = |instance: &String| {
        let node = nodes.get(instance);
        let zone = node.and_then(|node| node["metadata"]["labels"][ZONE].as_str());
        PoolNode {
            instance: instance.clone(),
            zone: zone.unwrap_or_default().to_owned(),
            node: node.map(name),
            ready: node.is_some_and(nodes::is_ready),
        }
    };
    let old: BTreeSet<&String> = old.iter().flat_map(|group| &group.instances).collect();
    let staying = new.iter().flat_map(|group| {
        let ending = |id: &&String| !group.ending.contains(id);
        group.instances.iter().filter(ending)
    });
    Ok(Seen {
        old: old.into_iter().map(of).collect(),
        new: staying.map(of).collect(),
        wants: new.as_ref().map_or(0, |group| group.desired),
    })
}

const ZONE: &str = "topology.kubernetes.io/zone";

/// Nodes of the pool, old and new: both carry its label, because workloads select by it.
async fn nodes_by_instance(
    ctx: &Context<Ports>,
    params: &Params,
) -> Result<BTreeMap<String, Value>, StepError> {
    let labels = [(keys::MACHINE_DEPLOYMENT, params.pool.name.as_str())];
    let found = nodes::workload(ctx, &params.cluster)
        .list(&crate::kinds::node(), "", &labels)
        .await?;
    let by_instance = found.into_iter().filter_map(|node| {
        let instance = node["spec"]["providerID"].as_str()?.rsplit('/').next()?;
        Some((instance.to_owned(), node))
    });
    Ok(by_instance.collect())
}
