//! Taking a migration back, from everywhere before the point of no return.

use std::{collections::BTreeSet, time::Duration};

use drover_sim::{ClusterState, Gap, LocalWorld, ProbeName, differences};

use crate::{
    customer::Customer,
    stage::{Migration, Town},
};

/// Jobs on nodes are deleted this long after they finished, at the latest.
const JOBS_ARE_GONE: Duration = Duration::from_secs(45 * 60);

/// What a migration that was taken back leaves behind, and why that is right: a path whose parts may be `*`, and a reason.
/// Everything else is as before, and every line is needed.
const RESIDUES: [(&str, &str); 1] = [(
    "/installations/*/region_store",
    "a snapshot harms nobody, and may be the only way back if the unwinding itself went wrong",
)];

#[tokio::test(start_paused = true)]
async fn three_masters_are_as_before_wherever_it_is_taken_back() {
    can_be_taken_back(Town::three_masters()).await;
}

#[tokio::test(start_paused = true)]
async fn a_single_master_is_as_before_wherever_it_is_taken_back() {
    can_be_taken_back(Town::generated(1, "eu-")).await;
}

async fn can_be_taken_back(town: Town) {
    let mut definition = Migration::of(town.clone()).ids();
    let pivot = definition.iter().position(|id| id == "converge-etcd");
    definition.truncate(pivot.unwrap());
    // Copies of the beginning, and not of the world as it is by then: in an older one, vintage life has gone on.
    let beginning = town.world.now().clone();
    let copy = || Town {
        world: LocalWorld::new(beginning.clone()),
        ..town.clone()
    };
    let mut left_behind = BTreeSet::new();
    for last in definition {
        let untouched = copy();
        let touched = copy();
        let customer = Customer::of(&touched).await;
        let mut migration = Migration::of(touched);
        migration.until(&last).await;
        migration.unwind().await;
        migration.wait(JOBS_ARE_GONE).await;

        let report = migration.town.report();
        assert_eq!(report.state, ClusterState::Vintage, "after {last}");
        // Nobody has been told the new name yet, and it goes with what is taken back.
        let gaps = report.gaps.into_iter();
        let gaps: Vec<Gap> = gaps.filter(|gap| gap.probe != ProbeName::NewName).collect();
        assert_eq!(gaps, [], "after {last}");
        assert_eq!(report.accidents, Vec::<String>::new(), "after {last}");
        migration.assert_ledger_is_clean();
        customer.assert_nothing_lost().await;
        let (before, after) = (untouched.world, &migration.town.world);
        for line in differences(&before.now().normalized(), &after.now().normalized()) {
            let path = line
                .split_once(": ")
                .map_or(line.as_str(), |(path, _)| path);
            let residue = RESIDUES.iter().find(|(pattern, _)| covers(pattern, path));
            let (pattern, _) = residue.unwrap_or_else(|| panic!("after {last}: {line}"));
            left_behind.insert(*pattern);
        }
    }
    let reviewed: BTreeSet<&str> = RESIDUES.iter().map(|(pattern, _)| *pattern).collect();
    assert_eq!(left_behind, reviewed, "a residue that never occurs");
}

/// Whether a path is what the pattern names, or below it.
fn covers(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    pattern.split('/').all(|wanted| {
        parts
            .next()
            .is_some_and(|part| wanted == "*" || wanted == part)
    })
}
