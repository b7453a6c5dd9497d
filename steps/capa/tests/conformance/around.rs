//! Kinds that deal with what surrounds the cluster: GitOps, apps, DNS, stacks, custom resources.

use drover_sim::Fate;
use drover_step_testkit::Scenario;
use drover_steps_capa::{
    disown_stacks::DisownStacks, freeze_mutators::FreezeMutators, give_back::GiveBack,
    hand_over_dns::HandOverDns, quiesce_apps::QuiesceApps,
    remove_custom_resources::RemoveCustomResources,
    retire_api_load_balancers::RetireApiLoadBalancers, suspend_gitops::SuspendGitops,
    switch_over_cni::SwitchOverCni,
};

use crate::{scenario, scenario_in, stage::Site};

pub(crate) fn scenarios() -> Vec<Scenario<Site>> {
    vec![
        scenario::<SuspendGitops>("suspend-gitops"),
        scenario_in::<QuiesceApps>("quiesce-apps", the_migrator_has_run).residue(
            "/installations/*/region_store",
            "a copy of the Charts harms nobody",
        ),
        scenario::<FreezeMutators>("freeze-mutators"),
        scenario::<SwitchOverCni>("switch-over-cni"),
        scenario::<HandOverDns>("hand-over-dns"),
        scenario::<RetireApiLoadBalancers>("retire-api-load-balancers"),
        scenario::<DisownStacks>("disown-stacks"),
        scenario::<RemoveCustomResources>("remove-custom-resources"),
        scenario::<GiveBack>("give-back"),
    ]
}

fn the_migrator_has_run(site: &Site) {
    site.town.befall(&Fate::MigratorWakes);
}
