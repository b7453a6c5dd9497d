//! A guard.

use std::time::Duration;

use drover_ports::Ports;
use drover_step_api::{
    Class, Context, Declaration, Effect, LossPolicy, Observed, Role, Step, StepError, Timeouts,
};

use super::{BASE, ClusterParams};

/// Keeps every instance of the group registered with the load balancer.
pub(crate) struct KeepRegistered;

impl Step<Ports> for KeepRegistered {
    type Params = ClusterParams;
    type Output = ();

    const DECLARATION: Declaration = Declaration {
        name: "toy.keep_registered",
        role: Role::Guard,
        class: Class::Guard,
        effects: &[Effect::once("register")],
        loss_policy: LossPolicy::RaceOk,
        timeouts: Timeouts {
            start_to_close: None,
            ..BASE.timeouts
        },
        permissions: &[
            "autoscaling:DescribeAutoScalingGroups",
            "elasticloadbalancing:RegisterInstancesWithLoadBalancer",
        ],
        ..BASE
    };

    async fn pre(&self, _: &Context<Ports>, _: &ClusterParams) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, ctx: &Context<Ports>, params: &ClusterParams) -> Result<(), StepError> {
        let cloud = ctx.ports().cloud(&params.cluster);
        loop {
            for group in cloud.describe_auto_scaling_groups(&[]).await? {
                for instance in group.instances {
                    let permit = ctx.permit_for("register", &instance).await?;
                    cloud
                        .register_instances_with_load_balancer(permit, "api", &[instance])
                        .await?;
                }
            }
            if ctx.stopped() {
                return Ok(());
            }
            ctx.progress(0, 0, "all instances are registered");
            ctx.sleep(Duration::from_secs(20)).await?;
        }
    }

    async fn observe(
        &self,
        _: &Context<Ports>,
        _: &ClusterParams,
    ) -> Result<Observed<()>, StepError> {
        Ok(Observed::NotDone)
    }
}
