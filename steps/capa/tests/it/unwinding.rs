//! Taking a migration back, from everywhere before the point of no return.

use std::time::Duration;

use drover_sim::ClusterState;

use crate::{customer::Customer, migration::Migration, town::Town};

/// Jobs on nodes are deleted this long after they finished, at the latest.
const JOBS_ARE_GONE: Duration = Duration::from_secs(45 * 60);

async fn can_be_taken_back(town: Town) {
    let mut definition = Migration::of(town.clone()).ids();
    let pivot = definition.iter().position(|id| id == "converge-etcd");
    definition.truncate(pivot.unwrap());
    for last in definition {
        let copy = Town {
            world: town.world.fork(),
            ..town.clone()
        };
        let untouched = Town {
            world: town.world.fork(),
            ..town.clone()
        };
        let customer = Customer::of(&copy).await;
        let mut migration = Migration::of(copy);
        migration.until(&last).await;
        migration.unwind().await;
        migration.wait(JOBS_ARE_GONE).await;

        let report = migration.town.report();
        assert_eq!(report.state, ClusterState::Vintage, "after {last}");
        assert_eq!(report.gaps, [], "after {last}");
        assert_eq!(report.accidents, Vec::<String>::new(), "after {last}");
        migration.assert_ledger_is_clean();
        customer.assert_nothing_lost().await;
        let (after, before) = (&migration.town.world, &untouched.world);
        let differences = differences(&before.now().normalized(), &after.now().normalized());
        assert_eq!(differences, Vec::<String>::new(), "after {last}");
    }
}

#[tokio::test(start_paused = true)]
async fn three_masters_are_as_before_wherever_it_is_taken_back() {
    can_be_taken_back(Town::three_masters()).await;
}

#[tokio::test(start_paused = true)]
async fn a_single_master_is_as_before_wherever_it_is_taken_back() {
    can_be_taken_back(Town::generated(1, "eu-")).await;
}

/// Paths at which two worlds differ.
fn differences(before: &serde_json::Value, after: &serde_json::Value) -> Vec<String> {
    fn walk(path: &str, a: &serde_json::Value, b: &serde_json::Value, into: &mut Vec<String>) {
        match (a.as_object(), b.as_object()) {
            (Some(x), Some(y)) => {
                for key in x.keys().chain(y.keys().filter(|key| !x.contains_key(*key))) {
                    walk(&format!("{path}/{key}"), &a[key], &b[key], into);
                }
            }
            _ if a != b => into.push(format!("{path}: {a} became {b}")),
            _ => {}
        }
    }
    let mut into = Vec::new();
    walk("", before, after, &mut into);
    into
}
