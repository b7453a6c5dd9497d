//! The guard.

use std::time::Duration;

use drover_model::names;
use drover_ports::CloudCall;
use drover_step_testkit::{Scenario, Stage};
use drover_steps_capa::sync_api_load_balancers::{Params, SyncApiLoadBalancers};

use crate::{
    before, params, samples,
    stage::{Site, Town},
};

/// Where the guard's params come from.
const GUARD: &str = "keep-api-elb";

pub(crate) fn scenarios() -> Vec<Scenario<Site>> {
    let comes = Scenario::guard::<SyncApiLoadBalancers>(
        async |stage: &Stage<Site>| {
            let migration = before(stage, "verify-first-node").await;
            params::<SyncApiLoadBalancers>(&migration, GUARD)
        },
        a_few_rounds,
    );
    let leaves = Scenario::guard::<SyncApiLoadBalancers>(
        async |stage: &Stage<Site>| {
            let migration = before(stage, "verify-first-node").await;
            let params = params::<SyncApiLoadBalancers>(&migration, GUARD);
            let instance = migration.output("join-etcd")["instance"].as_str().unwrap();
            register(&stage.world().town, &params, instance).await;
            mark_leaving(&stage.world().town, instance).await;
            params
        },
        a_few_rounds,
    );
    vec![
        samples::of::<SyncApiLoadBalancers>(comes).named("a node comes"),
        samples::of::<SyncApiLoadBalancers>(leaves)
            .named("a node leaves")
            .residue(
                "/clusters/*/load_balancers/*/control-plane-1",
                "a node that leaves is not put back",
            ),
    ]
}

async fn a_few_rounds(stage: &Stage<Site>) {
    let clock = stage.driver().clock();
    clock.sleep(Duration::from_secs(90)).await;
}

async fn register(town: &Town, params: &Params, instance: &str) {
    for load_balancer in &params.load_balancers {
        let call = CloudCall::RegisterInstancesWithLoadBalancer {
            load_balancer: load_balancer.clone(),
            instances: vec![instance.to_owned()],
        };
        town.cloud(call).await;
    }
}

async fn mark_leaving(town: &Town, instance: &str) {
    let call = CloudCall::CreateTags {
        resources: vec![instance.to_owned()],
        tags: [(names::TAG_LEAVING.to_owned(), "true".to_owned())].into(),
    };
    town.cloud(call).await;
}
