//! Guards that are wrong in the ways that only a guard can be, and guards beside other kinds.

use std::time::Duration;

use drover_ports::Ports;
use drover_step_api::{
    Class, Context, Declaration, LossPolicy, Observed, Role, Step, StepError, Timeouts,
};
use drover_step_testkit::{Conformance, Report, Round, Rule, Scenario, Stage};
use serde_json::json;

use crate::{
    conforming::cluster,
    good::{AwaitSeen, BASE, ClusterParams, HoldCluster, KeepRegistered, registry},
    planted::{assert_found, registry_of},
    world::{CA_KEY, World},
};

/// How a guard can be wrong in ways that only a guard can.
const RIGHT: u8 = 0;
const DEAF: u8 = 1;
const SAYS_DONE: u8 = 2;
const FAILS_AT_AN_EARLY_STOP: u8 = 3;
const LEAKS_VIOLATION: u8 = 4;

const EARLY: Duration = Duration::from_secs(5);

/// A guard that watches until its stop.
struct Watches<const FLAW: u8>;

impl<const FLAW: u8> Step<Ports> for Watches<FLAW> {
    type Params = ClusterParams;
    /// How often it looked: another number when its span had a crash in it.
    type Output = u32;

    const DECLARATION: Declaration = Declaration {
        name: "toy.watches",
        role: Role::Guard,
        class: Class::Guard,
        loss_policy: LossPolicy::RaceOk,
        timeouts: Timeouts {
            start_to_close: None,
            ..BASE.timeouts
        },
        permissions: &["elasticloadbalancing:DescribeLoadBalancers"],
        ..BASE
    };

    async fn pre(&self, _: &Context<Ports>, _: &ClusterParams) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, ctx: &Context<Ports>, params: &ClusterParams) -> Result<u32, StepError> {
        let cloud = ctx.ports().cloud(&params.cluster);
        let started = ctx.now();
        let mut looks = 0;
        while FLAW == DEAF || !ctx.stopped() {
            cloud.describe_load_balancer("api").await?;
            looks += 1;
            if FLAW == LEAKS_VIOLATION {
                ctx.violation("shared-key", CA_KEY);
            }
            if FLAW == FAILS_AT_AN_EARLY_STOP && ctx.stopped() && ctx.now().since(started) < EARLY {
                return Err(StepError::failed("too-early", "it has hardly begun"));
            }
            ctx.progress(0, 0, "all is well");
            ctx.sleep(Duration::from_secs(20)).await?;
        }
        Ok(looks)
    }

    async fn observe(
        &self,
        _: &Context<Ports>,
        _: &ClusterParams,
    ) -> Result<Observed<u32>, StepError> {
        Ok(if FLAW == SAYS_DONE {
            Observed::Done(0)
        } else {
            Observed::NotDone
        })
    }
}

fn walk<const FLAW: u8>() -> Report {
    let story = async |stage: &Stage<World>| {
        let clock = stage.driver().clock();
        clock.sleep(Duration::from_secs(100)).await;
    };
    Conformance::new(registry_of(Watches::<FLAW>), World::new)
        .scenario(
            Scenario::guard::<Watches<FLAW>>(cluster, story)
                .params_sample(json!({ "cluster": "abc12" }))
                .output_sample(json!(7)),
        )
        .walk("")
}

#[test]
fn a_guard_that_watches_until_its_stop_passes() {
    let report = walk::<RIGHT>();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_guard_that_does_not_heed_its_stop_is_found() {
    let report = walk::<DEAF>();
    assert_found(&report, Round::Twice, Rule::SignalIgnored);
}

#[test]
fn a_guard_that_fails_when_it_is_stopped_early_is_found() {
    let report = walk::<FAILS_AT_AN_EARLY_STOP>();
    assert_found(&report, Round::Stop, Rule::SignalIgnored);
}

#[test]
fn a_key_in_a_violation_is_found() {
    assert_found(&walk::<LEAKS_VIOLATION>(), Round::Twice, Rule::Leak);
}

#[test]
fn a_guard_that_says_it_is_done_is_found() {
    let report = walk::<SAYS_DONE>();
    assert_found(&report, Round::Twice, Rule::ObserveLies);
}

#[test]
fn a_guard_can_run_beside_a_scenario() {
    let scenario = Scenario::step::<AwaitSeen>(async |stage: &Stage<World>| {
        let params = cluster(stage).await;
        stage.guard::<KeepRegistered>(&params);
        stage.play::<HoldCluster>(&params).await;
        stage.driver().clock().sleep(Duration::from_secs(1)).await;
        assert!(stage.world().state().registered.contains("i-1"));
        params
    })
    .params_sample(json!({ "cluster": "abc12" }))
    .output_sample(json!(null));
    let report = Conformance::new(registry(), World::new)
        .scenario(scenario)
        .walk("toy.await_seen");
    // The other kinds of the registry have no scenario here.
    let failed = report.failures.iter().any(|f| f.kind == "toy.await_seen/1");
    assert!(!failed && report.rounds > 20, "{report}");
}
