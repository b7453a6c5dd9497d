//! Kinds that keep others from acting, and what is kept in case all goes wrong.

use drover_step_testkit::Scenario;
use drover_steps_capa::{
    disarm_node_killers::DisarmNodeKillers, drain_connections::DrainConnections,
    pause_operators::PauseOperators, save_snapshot::SaveSnapshot,
};

use crate::{scenario, stage::Site};

pub(crate) fn scenarios() -> Vec<Scenario<Site>> {
    vec![
        scenario::<PauseOperators>("pause-operators"),
        scenario::<DisarmNodeKillers>("disarm-node-killers"),
        scenario::<DrainConnections>("drain-connections"),
        scenario::<SaveSnapshot>("snapshot-etcd"),
    ]
}
