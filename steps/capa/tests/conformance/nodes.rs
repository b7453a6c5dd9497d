//! Kinds that end vintage nodes and bring up those of pools.

use drover_ports::{Call, Cluster, KubeCall};
use drover_sim::Fate;
use drover_step_testkit::{Scenario, Stage};
use drover_steps_capa::{
    apply_node_pool::ApplyNodePool,
    drain_nodes::{self, DrainNodes},
    replace_nodes::{self, ReplaceNodes},
    retire_masters::RetireMasters,
    retire_node_pool::RetireNodePool,
};
use serde_json::{Value, json};

use crate::{
    before, params, samples, scenario,
    stage::{Migration, Site, pools},
};

/// A small pool of the sample: what is tried at every call should have few of them.
const POOL: &str = "h9b4n";

/// What customers run on masters, and in pools.
const BUDGETS: [&str; 3] = ["platform/policy-webhook", "shop/web", "shop/store"];

pub(crate) fn scenarios() -> Vec<Scenario<Site>> {
    vec![
        scenario::<DrainNodes>("drain-masters"),
        drain_by_force().named("budgets are overridden"),
        retire_masters(),
        apply_node_pool(),
        replace_nodes().named("addresses for one"),
        replace_by_force().named("budgets are overridden, and an instance never comes up"),
        retire_node_pool(),
    ]
}

fn block(site: &Site) {
    for budget in BUDGETS {
        site.town.befall(&Fate::BudgetAllows(budget.to_owned(), 0));
    }
}

fn forced() -> Vec<String> {
    BUDGETS.map(str::to_owned).to_vec()
}

fn drain_by_force() -> Scenario<Site> {
    let scenario = Scenario::step::<DrainNodes>(async |stage: &Stage<Site>| {
        let migration = before(stage, "drain-masters").await;
        block(stage.world());
        drain_nodes::Params {
            force: forced(),
            ..params::<DrainNodes>(&migration, "drain-masters")
        }
    });
    samples::of::<DrainNodes>(scenario)
}

/// Of masters one of which was to be drained by the operators once.
fn retire_masters() -> Scenario<Site> {
    let scenario = Scenario::step::<RetireMasters>(async |stage: &Stage<Site>| {
        let migration = before(stage, "retire-masters").await;
        let params = params::<RetireMasters>(&migration, "retire-masters");
        let object = json!({
            "apiVersion": "core.giantswarm.io/v1alpha1",
            "kind": "DrainerConfig",
            "metadata": {
                "name": params.masters[0].instance,
                "namespace": params.namespace,
                "labels": {"giantswarm.io/cluster": params.cluster},
            },
        });
        let (at, call) = (Cluster::VintageMc, KubeCall::Create { object });
        stage.world().town.by_hand(Call::Kube { at, call }).await;
        params
    });
    samples::of::<RetireMasters>(scenario)
}

async fn without_masters(stage: &Stage<Site>) -> (Migration, Value) {
    let mut migration = Migration::without(stage.world().town.clone(), &["keep-api-elb"]);
    migration.until("retire-masters").await;
    let pool = pools::pool(&migration, POOL);
    (migration, pool)
}

async fn with_pool(stage: &Stage<Site>) -> (Migration, Value) {
    let (migration, pool) = without_masters(stage).await;
    let params = serde_json::from_value(pools::apply(&migration, &pool)).unwrap();
    stage.play::<ApplyNodePool>(&params).await;
    (migration, pool)
}

fn apply_node_pool() -> Scenario<Site> {
    let scenario = Scenario::step::<ApplyNodePool>(async |stage: &Stage<Site>| {
        let (migration, pool) = without_masters(stage).await;
        serde_json::from_value(pools::apply(&migration, &pool)).unwrap()
    });
    samples::of::<ApplyNodePool>(scenario)
}

async fn replacing(stage: &Stage<Site>) -> replace_nodes::Params {
    let (migration, pool) = with_pool(stage).await;
    serde_json::from_value(pools::replace(&migration, &pool)).unwrap()
}

fn replace_nodes() -> Scenario<Site> {
    let scenario = Scenario::step::<ReplaceNodes>(async |stage: &Stage<Site>| {
        let params = replacing(stage).await;
        let town = &stage.world().town;
        town.befall(&Fate::SubnetsFilled(0));
        town.befall(&Fate::AddressFreed(params.pool.subnets[0].clone()));
        params
    });
    samples::of::<ReplaceNodes>(scenario)
}

fn replace_by_force() -> Scenario<Site> {
    let scenario = Scenario::step::<ReplaceNodes>(async |stage: &Stage<Site>| {
        let params = replacing(stage).await;
        block(stage.world());
        stage.world().town.befall(&Fate::PoolNodesNeverComeUp(1));
        replace_nodes::Params {
            force: forced(),
            ..params
        }
    });
    samples::of::<ReplaceNodes>(scenario)
}

fn retire_node_pool() -> Scenario<Site> {
    let scenario = Scenario::step::<RetireNodePool>(async |stage: &Stage<Site>| {
        let (migration, pool) = with_pool(stage).await;
        let replace = serde_json::from_value(pools::replace(&migration, &pool)).unwrap();
        stage.play::<ReplaceNodes>(&replace).await;
        serde_json::from_value(pools::retire(&migration, &pool)).unwrap()
    });
    samples::of::<RetireNodePool>(scenario)
}
