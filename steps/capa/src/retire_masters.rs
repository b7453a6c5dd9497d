//! `vintage.retire_masters/1`: the vintage masters end, for good.
//!
//! * Effect: they are off their load balancers, etcd's too; their Auto Scaling groups and their instances are gone, with hooks
//!   completed; so are their Nodes and the DrainerConfigs of their instances. One after the other. Volumes and network
//!   interfaces stay.
//! * Idempotency: what is gone is done; an instance that is on its way is not asked again.
//! * Compensation: roll forward; etcd does not know them any more.
//!
//! Groups are never deleted with instances in them, so whatever a group has started unasked survives and is told.

use std::collections::BTreeSet;

use drover_model::names;
use drover_ports::{AutoScalingGroup, ObjectRef, Ports};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    kinds,
    support::{
        cluster::{name, still_there},
        defaults::{RETRY, minutes, timeouts},
        drain,
        groups::{self, Ending},
        nodes, traffic,
    },
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct RetireMasters;

/// One master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Master {
    /// Name of its Node.
    pub node: String,
    /// EC2 instance id.
    pub instance: String,
}

/// Parameters of `vintage.retire_masters/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// The masters, drained.
    pub masters: Vec<Master>,
    /// Load balancers that they may be on, etcd's too.
    pub load_balancers: Vec<String>,
}

/// Output of `vintage.retire_masters/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Instances that have ended.
    pub ended: Vec<String>,
}

impl Step<Ports> for RetireMasters {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "vintage.retire_masters",
        version: 1,
        summary: "ends the drained vintage masters with their Auto Scaling groups and Nodes",
        role: Role::Step,
        class: Class::CloudApi,
        reach: &[Reach::VintageMc, Reach::Workload, Reach::Aws],
        effects: &[
            Effect::once("deregister"),
            Effect::once("lower-group"),
            Effect::once("terminate"),
            Effect::once("complete-hook"),
            Effect::once("delete-group"),
            Effect::once("delete-node"),
            Effect::once("delete-drainer-config"),
        ],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(90)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "vintage-mc:list:DrainerConfig",
            "vintage-mc:delete:DrainerConfig",
            "workload:get:Node",
            "workload:delete:Node",
            "workload:list:Pod",
            "workload:list:VolumeAttachment",
            "ec2:DescribeInstances",
            "elasticloadbalancing:DescribeLoadBalancers",
            "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeLifecycleHooks",
            "autoscaling:UpdateAutoScalingGroup",
            "autoscaling:TerminateInstanceInAutoScalingGroup",
            "autoscaling:CompleteLifecycleAction",
            "autoscaling:DeleteAutoScalingGroup",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster).await?;
        for master in &params.masters {
            let why = drain::undrained(ctx, &params.cluster, &master.node).await?;
            if let Some(why) = why {
                return Err(StepError::refused(
                    "not-drained",
                    format!("{why}; drain the masters first"),
                ));
            }
        }
        let groups = groups::by_tags(ctx, &params.cluster, &tags(params)).await?;
        match foreign(params, &groups) {
            None => Ok(()),
            Some(why) => Err(StepError::refused("master-unknown", why)),
        }
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        for load_balancer in &params.load_balancers {
            deregister(ctx, params, load_balancer).await?;
        }
        let tags = tags(params);
        let groups = groups::by_tags(ctx, &params.cluster, &tags).await?;
        let total = groups.len() as u64;
        for (done, group) in (0..).zip(&groups) {
            ctx.progress(done, total, format!("ending {}", group.name));
            end(ctx, params, group).await?;
            ctx.progress(done + 1, total, format!("{} is gone", group.name));
        }
        // Instances that are in no group any more, because an earlier attempt was that far.
        let instances = params.instances();
        let ending = params.ending(&tags, &instances);
        groups::end(ctx, &ending).await?;
        for master in &params.masters {
            nodes::delete_node(ctx, &params.cluster, &master.node).await?;
        }
        delete_drainer_configs(ctx, params).await?;
        Ok(params.output())
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let cloud = ctx.ports().cloud(&params.cluster);
        let tags = tags(params);
        let groups = groups::by_tags(ctx, &params.cluster, &tags).await?;
        let instances = cloud.describe_instances(&tags).await?;
        let mut nodes = 0;
        for master in &params.masters {
            let node = nodes::find(ctx, &params.cluster, &master.node).await?;
            nodes += usize::from(node.is_some());
        }
        let configs = drainer_configs(ctx, params).await?.len();
        let mut registered = false;
        for load_balancer in &params.load_balancers {
            registered |= !on(ctx, params, load_balancer).await?.is_empty();
        }
        let gone = groups.is_empty() && instances.is_empty() && nodes == 0 && configs == 0;
        let whole = instances.len() == params.masters.len()
            && nodes == params.masters.len()
            && groups
                .iter()
                .all(|group| group.min > 0 && group.ending.is_empty());
        Ok(match (gone, registered) {
            (true, false) => Observed::Done(params.output()),
            (false, true) if whole => Observed::NotDone,
            _ => Observed::Partial,
        })
    }
}

impl Params {
    fn instances(&self) -> BTreeSet<String> {
        let instances = self.masters.iter();
        instances.map(|master| master.instance.clone()).collect()
    }

    fn ending<'p>(
        &'p self,
        tags: &'p [(&'p str, &'p str)],
        instances: &'p BTreeSet<String>,
    ) -> Ending<'p> {
        Ending {
            cluster: &self.cluster,
            tags,
            instances,
            decrement: true,
        }
    }

    fn output(&self) -> Output {
        Output {
            ended: self.instances().into_iter().collect(),
        }
    }
}

fn tags(params: &Params) -> [(&str, &str); 2] {
    [
        (names::TAG_CLUSTER, params.cluster.as_str()),
        (names::TAG_STACK, names::STACK_MASTERS),
    ]
}

/// A master that the migration does not know has not been drained, and its etcd may be anything.
fn foreign(params: &Params, groups: &[AutoScalingGroup]) -> Option<String> {
    let known = params.instances();
    groups.iter().find_map(|group| {
        let unknown = group.instances.iter().find(|id| !known.contains(*id))?;
        Some(format!(
            "group {} has started {unknown}, which was no master when the migration began; look at it, end it, then retry",
            group.name
        ))
    })
}

/// Masters on a load balancer.
async fn on(
    ctx: &Context<Ports>,
    params: &Params,
    load_balancer: &str,
) -> Result<Vec<String>, StepError> {
    let registered = traffic::registered(ctx, &params.cluster, load_balancer).await?;
    let known = params.instances();
    Ok(registered.intersection(&known).cloned().collect())
}

async fn deregister(
    ctx: &Context<Ports>,
    params: &Params,
    load_balancer: &str,
) -> Result<(), StepError> {
    let on = on(ctx, params, load_balancer).await?;
    if on.is_empty() {
        return Ok(());
    }
    let permit = ctx.permit_for("deregister", load_balancer).await?;
    let cloud = ctx.ports().cloud(&params.cluster);
    Ok(cloud
        .deregister_instances_from_load_balancer(permit, load_balancer, &on)
        .await?)
}

async fn end(
    ctx: &Context<Ports>,
    params: &Params,
    group: &AutoScalingGroup,
) -> Result<(), StepError> {
    groups::lower(ctx, &params.cluster, group).await?;
    let instances = group.instances.iter().cloned().collect();
    let tags = tags(params);
    groups::end(ctx, &params.ending(&tags, &instances)).await?;
    groups::delete(ctx, &params.cluster, &tags, &group.name).await
}

/// DrainerConfigs are called like the instance that they are of.
async fn drainer_configs(
    ctx: &Context<Ports>,
    params: &Params,
) -> Result<Vec<ObjectRef>, StepError> {
    let labels = [(kinds::CLUSTER_LABEL, params.cluster.as_str())];
    let kind = kinds::drainer_config();
    let found = ctx.ports().vintage_mc().list(&kind, "", &labels).await;
    let found = match found {
        // The kind is not served everywhere.
        Err(error) if error.is_not_found() => Vec::new(),
        found => found?,
    };
    let known = params.instances();
    Ok(found
        .iter()
        .filter(|config| known.contains(&name(config)))
        .map(|config| {
            let namespace = config["metadata"]["namespace"].as_str().unwrap_or_default();
            ObjectRef::new(&kind, namespace, &name(config))
        })
        .collect())
}

/// Its operators have finalizers on them, and take them away by themselves.
async fn delete_drainer_configs(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    for config in drainer_configs(ctx, params).await? {
        let permit = ctx
            .permit_for("delete-drainer-config", &config.name)
            .await?;
        ctx.ports().vintage_mc().delete(permit, &config).await?;
    }
    Ok(())
}
