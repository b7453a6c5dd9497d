//! Kinds that let the Cluster API side take over.

use drover_step_testkit::Scenario;
use drover_steps_capa::{
    converge_etcd::ConvergeEtcd, move_api_traffic::MoveApiTraffic,
    stop_control_plane::StopControlPlane, stop_etcd::StopEtcd,
};

use crate::{scenario, stage::Site};

pub(crate) fn scenarios() -> Vec<Scenario<Site>> {
    vec![
        scenario::<MoveApiTraffic>("move-api-traffic").residue(
            "/clusters/*/load_balancers/*/control-plane-1",
            "the node serves beside the masters until its join is taken back",
        ),
        scenario::<StopControlPlane>("stop-vintage-control-plane")
            .residue(
                "/clusters/*/workload/*/Lease.coordination.k8s.io kube-system~1kube-controller-manager",
                LEADERSHIP,
            )
            .residue(
                "/clusters/*/workload/*/Lease.coordination.k8s.io kube-system~1kube-scheduler",
                LEADERSHIP,
            ),
        scenario::<ConvergeEtcd>("converge-etcd"),
        scenario::<StopEtcd>("retire-vintage-etcd"),
    ]
}

const LEADERSHIP: &str =
    "who leads goes on leading; the masters lead again when the node is taken back";
