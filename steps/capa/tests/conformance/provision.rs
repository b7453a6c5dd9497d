//! Kinds that bring the Cluster API side into being.

use drover_sim::Fate;
use drover_step_testkit::Scenario;
use drover_steps_capa::{
    apply_objects::ApplyObjects, hold_control_plane::HoldControlPlane,
    join_first_member::JoinFirstMember,
};

use crate::{meanwhile, scenario, scenario_in, stage::Site};

pub(crate) fn scenarios() -> Vec<Scenario<Site>> {
    vec![
        scenario::<ApplyObjects>("apply-capi"),
        scenario::<HoldControlPlane>("hold-control-plane"),
        what_a_join_leaves(taken_in()),
        what_a_join_leaves(replaced()).named("a machine that never boots"),
    ]
}

/// What is left when a join is taken back goes when the step before it is: `apply-capi` takes all of it away.
fn what_a_join_leaves(scenario: Scenario<Site>) -> Scenario<Site> {
    scenario
        .residue(
            "/clusters/*/capi_mc/Cluster.cluster.x-k8s.io org-tidewater~1k7m2q/spec/paused",
            "released, the controllers would make the next machine",
        )
        .residue(
            "/clusters/*/capi_mc/AWSMachine.infrastructure.cluster.x-k8s.io org-tidewater~1machine-1",
            "a machine that has had an instance cannot be made new",
        )
        .residue(
            "/clusters/*/capi_mc/KubeadmConfig.bootstrap.cluster.x-k8s.io org-tidewater~1machine-1",
            "its bootstrap data has been made",
        )
        .residue(
            "/clusters/*/capi_mc/Machine.cluster.x-k8s.io org-tidewater~1machine-1",
            "it has had an instance and a Node",
        )
        .residue(
            "/clusters/*/capi_mc/Secret. org-tidewater~1machine-1",
            "its bootstrap data",
        )
}

fn replaced() -> Scenario<Site> {
    let scenario = scenario_in::<JoinFirstMember>("join-etcd", |site| {
        site.town.befall(&Fate::FirstMachineNeverBoots);
    });
    scenario
        .varying(
            CONTROL_PLANE_STATUS,
            "what a control plane says of itself ends at the moment in which it is paused",
        )
        .residue(CONTROL_PLANE_STATUS, "it has had another machine meanwhile")
}

const CONTROL_PLANE_STATUS: &str = "/clusters/*/capi_mc/KubeadmControlPlane.controlplane.cluster.x-k8s.io org-tidewater~1k7m2q/status";

fn taken_in() -> Scenario<Site> {
    scenario_in::<JoinFirstMember>("join-etcd", |site| {
        site.meanwhile.set(Some(|site| {
            Box::pin(meanwhile::takes_the_first_node_in(site))
        }));
    })
}
