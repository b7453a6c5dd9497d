//! Kinds of the after-care, in the world that a whole migration leaves.

use drover_model::target::api;
use drover_ports::{Call, Cluster, KubeCall, Ports};
use drover_step_api::Step;
use drover_step_testkit::{Scenario, Stage};
use drover_steps_capa::{clean_manifest::CleanManifest, switch_issuer::SwitchIssuer};
use serde_json::json;

use crate::{
    params, samples,
    stage::{Migration, Site, Town, care_of},
};

pub(crate) fn scenarios() -> Vec<Scenario<Site>> {
    vec![
        after::<CleanManifest>("clean-manifest"),
        after::<SwitchIssuer>("sign-as-new-issuer"),
    ]
}

/// The kind in the place that it has in the definition; Flux once applied the control plane, and is suspended.
fn after<S: Step<Ports>>(step: &'static str) -> Scenario<Site> {
    let scenario = Scenario::step::<S>(async move |stage: &Stage<Site>| {
        let town = stage.world().town.clone();
        let mut migration = Migration::without(town.clone(), &["keep-api-elb"]);
        migration.play().await;
        was_applied_by_flux(&town).await;
        let mut care = care_of(&migration);
        care.leave_out(&["watch-routes"]);
        care.before(step).await;
        params::<S>(&care, step)
    });
    samples::of::<S>(scenario)
}

async fn was_applied_by_flux(town: &Town) {
    let mut labels = json!({});
    for (group, version, kind) in [
        ("kustomize.toolkit.fluxcd.io", "v1", "Kustomization"),
        ("helm.toolkit.fluxcd.io", "v2", "HelmRelease"),
    ] {
        let name = format!("{}-all", town.cluster);
        let object = json!({
            "apiVersion": format!("{group}/{version}"),
            "kind": kind,
            "metadata": {"name": name, "namespace": town.namespace},
            "spec": {"suspend": true},
        });
        let (at, call) = (Cluster::CapiMc, KubeCall::Create { object });
        town.by_hand(Call::Kube { at, call }).await;
        labels[format!("{group}/name")] = json!(name);
        labels[format!("{group}/namespace")] = json!(town.namespace);
    }
    let object = town.object(api::CONTROL_PLANE, "KubeadmControlPlane", &town.cluster);
    let labelled = json!({"metadata": {"labels": labels}});
    town.patch(Cluster::CapiMc, object, labelled).await;
}
