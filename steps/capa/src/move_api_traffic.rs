//! `aws.move_api_traffic/1`: customers' requests go to the Cluster API node instead of the vintage masters.
//!
//! * Effect: the node is registered at the vintage API's load balancers, the masters are deregistered.
//! * Idempotency: registering twice is registering once.
//! * Compensation: undo; registers the masters again and waits until they are in service. The node stays on beside them: it
//!   serves, a guard would put it back, and taking back its join takes it off.
//!
//! It comes before convergence, not after: in the second in which the vintage members are gone the masters' API servers have
//! no etcd, and the load balancers, whose health check is content with any answer, would go on sending to them.

use drover_model::names;
use drover_ports::{Ports, Via};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::support::{
    cluster::still_there,
    defaults::{RETRY, minutes, seconds, timeouts},
    traffic,
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct MoveApiTraffic;

/// Parameters of `aws.move_api_traffic/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// The load balancers.
    pub load_balancers: Vec<String>,
    /// The Cluster API node's EC2 instance.
    pub instance: String,
    /// The vintage masters' EC2 instances.
    pub masters: Vec<String>,
}

/// Output of `aws.move_api_traffic/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The instance that serves customers now.
    pub serving: String,
}

impl Step<Ports> for MoveApiTraffic {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "aws.move_api_traffic",
        version: 1,
        summary: "moves the vintage API's load balancers from the masters to the Cluster API node",
        role: Role::Step,
        class: Class::CloudApi,
        reach: &[Reach::VintageMc, Reach::Workload, Reach::Aws],
        effects: &[
            Effect::once("register-node"),
            Effect::once("deregister-masters"),
            Effect::once("register-masters"),
        ],
        compensation: Compensation::Undo,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(30)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "probe:Api",
            "ec2:DescribeInstances",
            "elasticloadbalancing:DescribeLoadBalancers",
            "elasticloadbalancing:DescribeInstanceHealth",
            "elasticloadbalancing:RegisterInstancesWithLoadBalancer",
            "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster).await?;
        let via = Via::Instance {
            id: params.instance.clone(),
        };
        match traffic::answers(ctx, &params.cluster, via).await? {
            Ok(()) => Ok(()),
            Err(why) => Err(StepError::refused(
                "node-not-serving",
                format!("the API of {} does not answer: {why}", params.instance),
            )),
        }
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let node = std::slice::from_ref(&params.instance);
        for load_balancer in &params.load_balancers {
            register(ctx, params, load_balancer, node, "register-node").await?;
        }
        for load_balancer in &params.load_balancers {
            traffic::wait_in_service(ctx, &params.cluster, load_balancer, node, minutes(5)).await?;
        }
        for load_balancer in &params.load_balancers {
            deregister(
                ctx,
                params,
                load_balancer,
                &params.masters,
                "deregister-masters",
            )
            .await?;
        }
        prove(ctx, params).await?;
        Ok(output(params))
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let (mut with_node, mut with_masters, mut without_masters) = (0, 0, 0);
        for load_balancer in &params.load_balancers {
            let on = traffic::registered(ctx, &params.cluster, load_balancer).await?;
            with_node += usize::from(on.contains(&params.instance));
            with_masters += usize::from(params.masters.iter().all(|master| on.contains(master)));
            without_masters +=
                usize::from(!params.masters.iter().any(|master| on.contains(master)));
        }
        let all = params.load_balancers.len();
        // A guard may have registered the node long before.
        Ok(if with_masters == all {
            Observed::NotDone
        } else if with_node == all && without_masters == all {
            Observed::Done(output(params))
        } else {
            Observed::Partial
        })
    }

    async fn compensate(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        let masters = living(ctx, params).await?;
        for load_balancer in &params.load_balancers {
            register(ctx, params, load_balancer, &masters, "register-masters").await?;
        }
        for load_balancer in &params.load_balancers {
            traffic::wait_in_service(ctx, &params.cluster, load_balancer, &masters, minutes(10))
                .await?;
        }
        Ok(())
    }
}

fn output(params: &Params) -> Output {
    Output {
        serving: params.instance.clone(),
    }
}

async fn register(
    ctx: &Context<Ports>,
    params: &Params,
    load_balancer: &str,
    instances: &[String],
    effect: &str,
) -> Result<(), StepError> {
    let on = traffic::registered(ctx, &params.cluster, load_balancer).await?;
    if instances.iter().all(|instance| on.contains(instance)) {
        return Ok(());
    }
    let permit = ctx.permit_for(effect, load_balancer).await?;
    let cloud = ctx.ports().cloud(&params.cluster);
    Ok(cloud
        .register_instances_with_load_balancer(permit, load_balancer, instances)
        .await?)
}

async fn deregister(
    ctx: &Context<Ports>,
    params: &Params,
    load_balancer: &str,
    instances: &[String],
    effect: &str,
) -> Result<(), StepError> {
    let on = traffic::registered(ctx, &params.cluster, load_balancer).await?;
    if !instances.iter().any(|instance| on.contains(instance)) {
        return Ok(());
    }
    let permit = ctx.permit_for(effect, load_balancer).await?;
    let cloud = ctx.ports().cloud(&params.cluster);
    Ok(cloud
        .deregister_instances_from_load_balancer(permit, load_balancer, instances)
        .await?)
}

/// Looks through the old name, several times; when it does not answer, the masters go back on.
async fn prove(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    for _ in 0..3 {
        let found = traffic::answers_at_last(ctx, &params.cluster, Via::OldName).await?;
        if let Err(why) = found {
            for load_balancer in &params.load_balancers {
                register(
                    ctx,
                    params,
                    load_balancer,
                    &params.masters,
                    "register-masters",
                )
                .await?;
            }
            return Err(StepError::failed(
                "old-name-silent",
                format!(
                    "without the masters the old name does not answer ({why}); they have been put back"
                ),
            ));
        }
        ctx.progress(0, 0, "the old name answers without the masters");
        ctx.sleep(seconds(5)).await?;
    }
    Ok(())
}

/// The masters that still live; one that is gone fails the whole request.
async fn living(ctx: &Context<Ports>, params: &Params) -> Result<Vec<String>, StepError> {
    let tags = [
        (names::TAG_CLUSTER, params.cluster.as_str()),
        (names::TAG_STACK, names::STACK_MASTERS),
    ];
    let running = ctx
        .ports()
        .cloud(&params.cluster)
        .describe_instances(&tags)
        .await?;
    Ok(params
        .masters
        .iter()
        .filter(|master| {
            running
                .iter()
                .any(|i| i.id == **master && i.state == "running")
        })
        .cloned()
        .collect())
}
