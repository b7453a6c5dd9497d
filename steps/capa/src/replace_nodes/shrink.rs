//! Old nodes go: drained one at a time, ended together.

use std::collections::{BTreeMap, BTreeSet};

use drover_ports::Ports;
use drover_step_api::{Context, StepError};

use super::{
    Params,
    look::{self, PoolNode, Seen},
};
use crate::support::{
    drain::{self, Drain},
    groups::{self, Ending},
    nodes,
};

fn drain_of<'p>(params: &'p Params, node: &'p str) -> Drain<'p> {
    Drain {
        cluster: &params.cluster,
        node,
        force: &params.force,
    }
}

/// Finds pods that nobody would make again before anything has happened.
///
/// # Errors
/// `Refused` with the code `pod-unmanaged`; as the port.
pub(super) async fn refuse_unmanaged(
    ctx: &Context<Ports>,
    params: &Params,
) -> Result<(), StepError> {
    for node in look::look(ctx, params).await?.old {
        if let Some(node) = &node.node
            && let Some(why) = drain::unmanaged(ctx, &drain_of(params, node)).await?
        {
            return Err(StepError::refused("pod-unmanaged", why));
        }
    }
    Ok(())
}

/// Replaces so many old nodes. All old nodes are cordoned first, so that no pod moves twice.
///
/// # Errors
/// As [`drain::drain`] and [`groups::end`].
pub(super) async fn batch(
    ctx: &Context<Ports>,
    params: &Params,
    count: usize,
) -> Result<(), StepError> {
    let seen = look::look(ctx, params).await?;
    for node in seen.old.iter().filter_map(|old| old.node.as_ref()) {
        nodes::cordon(ctx, &params.cluster, node).await?;
    }
    let going = choose(&seen, count);
    for node in going.iter().filter_map(|old| old.node.as_ref()) {
        ctx.progress(0, 0, format!("draining {node}"));
        drain::drain(ctx, &drain_of(params, node)).await?;
    }
    let instances: BTreeSet<String> = going.iter().map(|old| old.instance.clone()).collect();
    let ending = Ending {
        cluster: &params.cluster,
        tags: &params.tags(),
        instances: &instances,
        decrement: true,
    };
    groups::end(ctx, &ending).await?;
    for node in going.iter().filter_map(|old| old.node.as_ref()) {
        nodes::delete_node(ctx, &params.cluster, node).await?;
    }
    Ok(())
}

/// Which old nodes go now: the dead first, for they only hold addresses; then those in zones that have the most new nodes for their
/// old ones, because a pod whose volume is in a zone needs a node there.
fn choose(seen: &Seen, count: usize) -> Vec<PoolNode> {
    let mut room: BTreeMap<&str, i64> = BTreeMap::new();
    for node in seen.new.iter().filter(|node| node.ready) {
        *room.entry(&node.zone).or_default() += 1;
    }
    for node in &seen.old {
        *room.entry(&node.zone).or_default() -= 1;
    }
    let mut left: Vec<&PoolNode> = seen.old.iter().collect();
    let mut chosen = Vec::new();
    while chosen.len() < count && !left.is_empty() {
        let place = (0..left.len()).min_by_key(|place| {
            let node = left[*place];
            let room = room.get(node.zone.as_str()).copied().unwrap_or(0);
            (node.ready, -room, &node.instance)
        });
        let Some(place) = place else { break };
        let node = left.remove(place);
        chosen.push(node.clone());
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(instance: &str, zone: &str, ready: bool) -> PoolNode {
        PoolNode {
            instance: instance.to_owned(),
            zone: zone.to_owned(),
            node: Some(instance.to_owned()),
            ready,
        }
    }

    #[test]
    fn the_dead_go_first_and_then_who_has_a_successor_in_its_zone() {
        let seen = Seen {
            old: vec![
                node("old-1", "a", true),
                node("old-2", "b", true),
                node("old-3", "c", true),
                node("old-4", "c", false),
            ],
            new: vec![node("new-1", "b", true), node("new-2", "c", false)],
            wants: 2,
        };
        let chosen: Vec<String> = choose(&seen, 3)
            .into_iter()
            .map(|node| node.instance)
            .collect();
        assert_eq!(chosen, ["old-4", "old-2", "old-1"]);
        assert_eq!(choose(&seen, 9).len(), 4);
    }
}
