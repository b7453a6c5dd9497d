//! Node pools, each kind played by hand per pool.

use std::time::Duration;

use drover_sim::Fate;
use drover_step_api::{Certainty, StepError};
use drover_step_testkit::{End, Outcome};
use serde_json::{Value, json};

use crate::stage::{Migration, Town, pools};

/// The sample's pool of four nodes in three zones, at least three.
const FOUR: &str = "g5t1c";
/// The sample's pool without nodes.
const NONE: &str = "x2r6z";
const ALL: [&str; 3] = [FOUR, "h9b4n", NONE];

/// The budget of what customers run there.
const BUDGET: &str = "shop/web";

async fn without_masters() -> Migration {
    let mut migration = Migration::of(Town::three_masters());
    migration.until("retire-masters").await;
    migration
}

fn id(pool: &str, step: &str) -> String {
    format!("workers[{pool}]/{step}")
}

async fn apply(migration: &mut Migration, pool: &str) {
    let params = pools::apply(migration, &pools::pool(migration, pool));
    let id = id(pool, "apply");
    let done = migration.extra(&id, "capi.apply_node_pool", params);
    done.await.unwrap_or_else(|what| panic!("{pool}: {what}"));
}

async fn replace(migration: &mut Migration, pool: &str, more: Value) -> Result<Value, Outcome> {
    let mut params = pools::replace(migration, &pools::pool(migration, pool));
    for (key, value) in more.as_object().unwrap() {
        params[key] = value.clone();
    }
    let id = id(pool, "replace");
    migration.extra(&id, "vintage.replace_nodes", params).await
}

async fn retire(migration: &mut Migration, pool: &str) -> Result<Value, Outcome> {
    let params = pools::retire(migration, &pools::pool(migration, pool));
    let id = id(pool, "retire");
    migration
        .extra(&id, "vintage.retire_node_pool", params)
        .await
}

fn error(outcome: Result<Value, Outcome>) -> StepError {
    match outcome.unwrap_err().end {
        End::Stopped(error) => error,
        other => panic!("{other}"),
    }
}

/// The cluster without times and random ids.
fn shown(migration: &Migration) -> Value {
    let world = migration.town.world.now().normalized();
    world["clusters"][&migration.town.cluster].clone()
}

/// Running instances whose role begins like this.
fn count(migration: &Migration, role: &str) -> usize {
    let shown = shown(migration);
    let instances = shown["instances"].as_object().unwrap();
    instances
        .keys()
        .filter(|name| name.starts_with(role))
        .count()
}

fn assert_nobody_noticed(migration: &Migration) {
    let report = migration.town.report();
    assert_eq!(report.gaps, []);
    assert_eq!(report.accidents, Vec::<String>::new());
    assert_eq!(report.shared_pod_cidrs, Vec::<String>::new());
    migration.assert_ledger_is_clean();
}

#[tokio::test(start_paused = true)]
async fn all_pools_are_replaced_and_nobody_notices() {
    let mut migration = without_masters().await;
    let apps = shown(&migration)["apps"].clone();
    for pool in ALL {
        apply(&mut migration, pool).await;
        replace(&mut migration, pool, json!({}))
            .await
            .unwrap_or_else(|what| panic!("{what}"));
        retire(&mut migration, pool)
            .await
            .unwrap_or_else(|what| panic!("{what}"));
    }
    migration.wait(Duration::from_secs(3600)).await;

    for (pool, nodes) in ALL.into_iter().zip([4, 2, 0]) {
        assert_eq!(
            count(&migration, &format!("pool-node-{pool}-")),
            nodes,
            "{pool}"
        );
    }
    assert_eq!(count(&migration, "worker-"), 0);
    let after = shown(&migration);
    assert_eq!(after["apps"], apps, "everything serves again");
    for group in after["auto_scaling_groups"].as_array().unwrap() {
        assert!(
            group["role"].as_str().unwrap().starts_with("pool-node-"),
            "{group}"
        );
    }
    let pool = "AWSMachinePool.infrastructure.cluster.x-k8s.io org-tidewater/k7m2q-g5t1c";
    assert_eq!(
        after["capi_mc"][pool]["spec"]["minSize"], 3,
        "the pool's own bound"
    );
    assert_nobody_noticed(&migration);
}

/// With one address to spare there is one node more than before, and never two.
#[tokio::test(start_paused = true)]
async fn few_addresses_make_small_batches() {
    let mut migration = without_masters().await;
    apply(&mut migration, FOUR).await;
    migration.town.befall(&Fate::SubnetsFilled(0));
    let subnet = pools::pool(&migration, FOUR)["subnets"][0]
        .as_str()
        .unwrap()
        .to_owned();
    migration.town.befall(&Fate::AddressFreed(subnet));
    replace(&mut migration, FOUR, json!({}))
        .await
        .unwrap_or_else(|what| panic!("{what}"));

    let raised: Vec<String> = migration
        .town
        .world
        .now()
        .ledger(0)
        .filter_map(|entry| Some(entry.stamp.as_ref()?.effect.clone()))
        .filter(|effect| effect.starts_with("raise-pool"))
        .collect();
    assert_eq!(
        raised,
        [
            "raise-pool/1",
            "raise-pool/2",
            "raise-pool/3",
            "raise-pool/4"
        ]
    );
    assert_eq!(count(&migration, &format!("pool-node-{FOUR}-")), 4);
    assert_eq!(count(&migration, &format!("worker-{FOUR}-")), 0);
    assert_nobody_noticed(&migration);
}

#[tokio::test(start_paused = true)]
async fn without_an_address_an_operator_is_told_which_subnets_are_full() {
    let mut migration = without_masters().await;
    apply(&mut migration, FOUR).await;
    migration.town.befall(&Fate::SubnetsFilled(0));
    let error = error(replace(&mut migration, FOUR, json!({})).await);
    assert_eq!(
        (error.code(), error.certainty()),
        ("no-free-address", Certainty::Failed)
    );
    let subnet = pools::pool(&migration, FOUR)["subnets"][0]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(error.message().contains(&subnet), "{error}");
    assert_eq!(
        count(&migration, &format!("worker-{FOUR}-")),
        4,
        "nothing has ended"
    );

    migration.town.befall(&Fate::AddressFreed(subnet));
    replace(&mut migration, FOUR, json!({}))
        .await
        .unwrap_or_else(|what| panic!("{what}"));
    assert_nobody_noticed(&migration);
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_blocks_leaves_old_and_new_nodes_side_by_side() {
    let mut migration = without_masters().await;
    let town = migration.town.clone();
    apply(&mut migration, FOUR).await;
    apply(&mut migration, "h9b4n").await;
    town.befall(&Fate::BudgetAllows(BUDGET.to_owned(), 0));
    let mut blocked = Vec::new();
    for pool in [FOUR, "h9b4n"] {
        if let Err(outcome) = replace(&mut migration, pool, json!({})).await {
            let error = error(Err(outcome));
            assert_eq!(
                (error.code(), error.certainty()),
                ("pdb-blocking", Certainty::Failed)
            );
            assert!(error.message().contains(BUDGET), "{error}");
            blocked.push(pool);
        }
    }
    assert!(!blocked.is_empty(), "pods of {BUDGET} run in one of them");
    assert!(count(&migration, "worker-") > 0 && count(&migration, "pool-node-") > 0);
    let pool = blocked[0];
    let refused = error(retire(&mut migration, pool).await);
    assert_eq!(
        (refused.code(), refused.certainty()),
        ("pool-not-empty", Certainty::Refused)
    );
    assert_nobody_noticed(&migration);

    town.befall(&Fate::BudgetAllows(BUDGET.to_owned(), 1));
    for pool in blocked {
        replace(&mut migration, pool, json!({}))
            .await
            .unwrap_or_else(|what| panic!("{what}"));
    }
    assert_eq!(count(&migration, "pool-node-"), 6);
    assert_nobody_noticed(&migration);
}

#[tokio::test(start_paused = true)]
async fn an_operator_may_override_the_budget_and_no_node_is_missing_then() {
    let mut migration = without_masters().await;
    let town = migration.town.clone();
    apply(&mut migration, FOUR).await;
    town.befall(&Fate::BudgetAllows(BUDGET.to_owned(), 0));
    town.befall(&Fate::BudgetAllows("shop/store".to_owned(), 0));
    let first = error(replace(&mut migration, FOUR, json!({"batch": 1})).await);
    assert_eq!(first.code(), "pdb-blocking");
    migration.renew(&id(FOUR, "replace"));
    let force = json!({"batch": 1, "force": [BUDGET, "shop/store"]});
    replace(&mut migration, FOUR, force)
        .await
        .unwrap_or_else(|what| panic!("{what}"));
    assert!(count(&migration, &format!("pool-node-{FOUR}-")) >= 4);
    let accidents = town.report().accidents;
    assert!(
        accidents
            .iter()
            .all(|what| what.contains("against its budget")),
        "{accidents:?}"
    );
    assert!(!accidents.is_empty(), "the world has seen it");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_never_comes_up_is_replaced() {
    let mut migration = without_masters().await;
    apply(&mut migration, FOUR).await;
    migration.town.befall(&Fate::PoolNodesNeverComeUp(1));
    replace(&mut migration, FOUR, json!({}))
        .await
        .unwrap_or_else(|what| panic!("{what}"));
    assert_eq!(count(&migration, &format!("pool-node-{FOUR}-")), 4);
    assert_nobody_noticed(&migration);
}

#[tokio::test(start_paused = true)]
async fn a_pool_whose_instances_never_come_up_stays_as_it_is() {
    let mut migration = without_masters().await;
    apply(&mut migration, FOUR).await;
    migration.town.befall(&Fate::PoolNodesNeverComeUp(100));
    let error = error(replace(&mut migration, FOUR, json!({"batch": 1})).await);
    assert_eq!(
        (error.code(), error.certainty()),
        ("node-never-came-up", Certainty::Failed)
    );
    assert_eq!(count(&migration, &format!("worker-{FOUR}-")), 4);
    assert_nobody_noticed(&migration);
}

/// A dead node is ended first: it only holds an address, and nobody can drain it.
#[tokio::test(start_paused = true)]
async fn a_dead_node_does_not_hold_up_the_others() {
    let mut migration = without_masters().await;
    apply(&mut migration, FOUR).await;
    let dead = vintage_instances(&migration, FOUR).await.remove(0);
    migration.town.befall(&Fate::KubeletBreaks(dead));
    migration.wait(Duration::from_secs(400)).await;
    replace(&mut migration, FOUR, json!({}))
        .await
        .unwrap_or_else(|what| panic!("{what}"));
    migration.wait(Duration::from_secs(600)).await;
    assert_eq!(count(&migration, &format!("worker-{FOUR}-")), 0);
    assert_eq!(shown(&migration)["apps"]["shop/store"], 2);
    assert_eq!(migration.town.report().accidents, Vec::<String>::new());
}

async fn vintage_instances(migration: &Migration, pool: &str) -> Vec<String> {
    use drover_ports::{CloudCall, CloudReply};
    let tags = [(
        "giantswarm.io/machine-deployment".to_owned(),
        pool.to_owned(),
    )];
    let call = CloudCall::DescribeInstances { tags: tags.into() };
    match migration.town.cloud(call).await {
        CloudReply::Instances(found) => found.into_iter().map(|instance| instance.id).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_not_replaced_before_it_is_applied() {
    let mut migration = without_masters().await;
    let error = error(replace(&mut migration, FOUR, json!({})).await);
    assert_eq!(
        (error.code(), error.certainty()),
        ("pool-not-applied", Certainty::Refused)
    );
}
