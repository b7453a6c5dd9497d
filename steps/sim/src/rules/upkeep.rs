//! Those who keep objects as they should be. They look at many objects and seldom have anything to do, so they look only when one
//! has changed, or while they are waiting.

use drover_step_api::Timestamp;

use super::{autoscaler, charts, deployments, gitops};
use crate::state::{Cluster, VINTAGE_REALM};

/// Names of their timers.
const TIMERS: [&str; 5] = [
    gitops::TIMER,
    deployments::TIMER,
    charts::OPERATOR,
    charts::INSTALLER,
    autoscaler::NAME,
];

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let before = changes(cluster);
    if cluster.upkeep.at_rest == Some(before) {
        return false;
    }
    let acted = gitops::run(cluster, now)
        | deployments::run(cluster, now)
        | charts::run(cluster, now)
        | autoscaler::run(cluster, now);
    let waits = TIMERS.iter().any(|timer| cluster.timers.has(timer));
    cluster.upkeep.at_rest = (!acted && !waits).then_some(before);
    acted
}

fn changes(cluster: &Cluster) -> (u64, u64) {
    let realm = cluster.realms.get(VINTAGE_REALM);
    (
        cluster.vintage.changes(),
        realm.map_or(0, |realm| realm.changes()),
    )
}
