//! Preflight: nothing against a healthy cluster, and each check finds what it is there for, and that alone.
//!
//! Each check has a case, but not each of its codes: in the simulated world no CA source refuses and no CA ends soon, no
//! stack fails, no VPC goes alone, and vintage API servers always listen on 443.

use std::{collections::BTreeSet, sync::Arc};

use drover_model::ClusterPlan;
use drover_step_testkit::{Driver, End};
use drover_steps_capa::inventory::{self, Inventory};
use drover_steps_checks::preflight::{self, Preflight, Severity};

use crate::{
    stage::{Town, kinds},
    unfit::{CASES, Unfit},
};

/// What was found: how much it weighs, and its code.
type Found = BTreeSet<(Severity, String)>;

/// What a healthy sample is told: harmless settings that no object carries.
fn always() -> Found {
    [(Severity::Warning, "setting-not-carried".to_owned())].into()
}

#[tokio::test(start_paused = true)]
async fn nothing_blocks_a_healthy_cluster() {
    for town in [
        Town::three_masters(),
        Town::generated(3, "eu-"),
        Town::generated(3, "cn-"),
    ] {
        let id = town.cluster.clone();
        let found = look(&town, |_| {}).await;
        assert!(found.is_subset(&always()), "{id}: {found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_check_finds_what_it_is_there_for_and_nothing_else_does() {
    let mut wrong = Vec::new();
    for case in CASES {
        let town = Town::three_masters();
        let found = match case.unfit {
            Unfit::World(befalls) => {
                befalls(&town).await;
                look(&town, |_| {}).await
            }
            Unfit::Plan(change) => look(&town, change).await,
        };
        let more: Vec<_> = found.difference(&always()).cloned().collect();
        let expected: Vec<_> = case
            .finds
            .iter()
            .map(|(severity, code)| (*severity, (*code).to_owned()))
            .collect();
        if more != expected {
            wrong.push(format!("{}, {}: {more:?}", case.check, case.what));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn every_check_has_a_case() {
    let town = Town::three_masters();
    let driver = driver(&town);
    let plan = plan(&driver, &town).await;
    let output = driver
        .play::<Preflight>("preflight", &preflight::Params { plan })
        .await;
    let mut cases: BTreeSet<&str> = CASES.iter().map(|case| case.check).collect();
    // Has a test of its own: the sample always has such settings.
    cases.insert("fidelity");
    let checks: BTreeSet<&str> = output.checks.iter().map(String::as_str).collect();
    assert_eq!(cases, checks);
}

#[tokio::test(start_paused = true)]
async fn a_setting_that_the_target_does_not_carry_is_told() {
    let town = Town::three_masters();
    let plain = |plan: &mut ClusterPlan| {
        plan.node_pools.clear();
        plan.other_settings.clear();
    };
    assert_eq!(look(&town, plain).await, Found::new());
    let with_more = |plan: &mut ClusterPlan| {
        plain(plan);
        plan.other_settings.push("one more".to_owned());
    };
    assert_eq!(look(&town, with_more).await, always());
}

#[tokio::test(start_paused = true)]
async fn a_single_master_is_a_warning() {
    let found = look(&Town::generated(1, "eu-"), |_| {}).await;
    assert!(
        found.contains(&(Severity::Warning, "single-master".to_owned())),
        "{found:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn all_findings_are_told_at_once() {
    let town = Town::three_masters();
    for case in CASES {
        if let (Unfit::World(befalls), "gitops" | "stacks" | "node-cidrs") =
            (case.unfit, case.check)
        {
            befalls(&town).await;
        }
    }
    let found = look(&town, |_| {}).await;
    for code in ["gitops-active", "stack-updates", "node-cidrs-overlap"] {
        let blocker = (Severity::Blocker, code.to_owned());
        assert!(found.contains(&blocker), "{code}: {found:?}");
    }
}

fn driver(town: &Town) -> Driver {
    Driver::new(
        Arc::new(kinds()),
        Arc::new(town.world.door()),
        Arc::new(town.world.clock()),
        town.installation.as_str(),
        "preflight",
    )
}

async fn plan(driver: &Driver, town: &Town) -> ClusterPlan {
    let params = inventory::Params {
        installation: town.installation.clone(),
        cluster: town.cluster.clone(),
    };
    driver.play::<Inventory>("inventory", &params).await
}

/// What preflight finds, with this change to the plan.
async fn look(town: &Town, change: impl Fn(&mut ClusterPlan)) -> Found {
    let driver = driver(town);
    let mut plan = plan(&driver, town).await;
    change(&mut plan);
    let step = driver.step::<Preflight>("preflight", &preflight::Params { plan });
    match step.run().await.end {
        End::Done(output) => {
            let output: preflight::Output = serde_json::from_value(output).unwrap();
            let warnings = output.warnings.into_iter();
            warnings
                .map(|finding| (finding.severity, finding.code))
                .collect()
        }
        End::Stopped(error) if error.code() == "preflight-blocked" => {
            let (blockers, warnings) = error
                .message()
                .split_once(" warning(s): ")
                .unwrap_or((error.message(), ""));
            let of = |severity: Severity, text: &str| -> Vec<(Severity, String)> {
                codes(text).map(|code| (severity, code)).collect()
            };
            [
                of(Severity::Blocker, blockers),
                of(Severity::Warning, warnings),
            ]
            .concat()
            .into_iter()
            .collect()
        }
        other => panic!("{other}"),
    }
}

/// The codes in what an operator is told: each stands in brackets at the end of its sentence.
fn codes(text: &str) -> impl Iterator<Item = String> {
    text.split('[')
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(']')?.0.to_owned()))
}
