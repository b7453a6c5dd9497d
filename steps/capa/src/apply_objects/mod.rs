//! `capi.apply_objects/1`: the Cluster API side comes into being, without a machine that boots.
//!
//! * Effect: the objects of the target on the Cluster API management cluster, each marked with the workflow and the digest;
//!   what controllers make of them: a load balancer, security groups, a kubeconfig, the first Machine.
//! * Idempotency: server-side apply of the same content; an object that is there as it should be is left alone.
//! * Compensation: undo, the careful way; see `undo.rs`.
//!
//! The Secret with the join script must not exist yet: without it no instance starts, and the control plane can be held
//! in peace. See `drover_model::target`.

mod undo;

use drover_model::{ClusterPlan, cr::keys, names, target};
use drover_ports::{ObjectRef, Ports, SecretRef};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Poll, Reach, Role,
    Step, StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    generate_target::check_version,
    kinds,
    support::{
        applied,
        cluster::still_there,
        defaults::{RETRY, minutes, seconds, timeouts},
    },
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct ApplyObjects;

/// Parameters of `capi.apply_objects/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// The plan.
    pub plan: ClusterPlan,
    /// Digest that rendering the plan has to give.
    pub digest: String,
    /// Secrets that have to be there, because a controller invents what it does not find.
    pub secrets: Vec<SecretRef>,
}

/// Output of `capi.apply_objects/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Digest of what was applied.
    pub digest: String,
    /// Where the new load balancer is.
    pub endpoint: String,
}

impl Step<Ports> for ApplyObjects {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "capi.apply_objects",
        version: 1,
        summary: "applies the Cluster API objects and waits for their infrastructure",
        role: Role::Step,
        class: Class::CloudApi,
        reach: &[Reach::VintageMc, Reach::CapiMc, Reach::Aws],
        effects: &[
            Effect::once("apply-object"),
            Effect::once("pause"),
            Effect::once("orphan-secret"),
            Effect::once("strip-finalizers"),
            Effect::once("delete-object"),
            Effect::once("delete-load-balancer"),
            Effect::once("delete-security-group"),
        ],
        compensation: Compensation::Undo,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(40)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "capi-mc:get:Secret",
            "capi-mc:get-data:Secret",
            "capi-mc:list:Secret",
            "capi-mc:patch:Secret",
            "capi-mc:get:AWSClusterRoleIdentity",
            "capi-mc:apply:AWSClusterRoleIdentity",
            "capi-mc:delete:AWSClusterRoleIdentity",
            "capi-mc:get:AWSCluster",
            "capi-mc:apply:AWSCluster",
            "capi-mc:patch:AWSCluster",
            "capi-mc:delete:AWSCluster",
            "capi-mc:get:MachineHealthCheck",
            "capi-mc:apply:MachineHealthCheck",
            "capi-mc:delete:MachineHealthCheck",
            "capi-mc:get:AWSMachineTemplate",
            "capi-mc:apply:AWSMachineTemplate",
            "capi-mc:delete:AWSMachineTemplate",
            "capi-mc:get:KubeadmControlPlane",
            "capi-mc:apply:KubeadmControlPlane",
            "capi-mc:patch:KubeadmControlPlane",
            "capi-mc:delete:KubeadmControlPlane",
            "capi-mc:get:Cluster",
            "capi-mc:apply:Cluster",
            "capi-mc:patch:Cluster",
            "capi-mc:delete:Cluster",
            "capi-mc:list:Machine",
            "capi-mc:get:Machine",
            "capi-mc:patch:Machine",
            "capi-mc:delete:Machine",
            "capi-mc:list:AWSMachine",
            "capi-mc:get:AWSMachine",
            "capi-mc:patch:AWSMachine",
            "capi-mc:delete:AWSMachine",
            "capi-mc:list:KubeadmConfig",
            "capi-mc:get:KubeadmConfig",
            "capi-mc:delete:KubeadmConfig",
            "ec2:DescribeVpcs",
            "ec2:DescribeInstances",
            "ec2:DescribeSecurityGroups",
            "ec2:DeleteSecurityGroup",
            "elasticloadbalancing:DescribeLoadBalancers",
            "elasticloadbalancing:DeleteLoadBalancer",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        let plan = &params.plan;
        check_version(plan)?;
        still_there(ctx, &plan.namespace, &plan.id).await?;
        refuse_managed_vpc(ctx, plan).await?;
        refuse_missing_secrets(ctx, params).await?;
        if target::render(plan).digest != params.digest {
            return Err(StepError::refused(
                "target-differs",
                "rendering the plan gives other objects than were reviewed; generate the target again",
            ));
        }
        Ok(())
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let objects = decorated(ctx, params);
        let there = applied::look(ctx, &params.plan.installation, &objects).await?;
        if let Some(foreign) = &there.foreign {
            return Err(StepError::refused("object-exists", foreign.clone()));
        }
        if there.as_wanted == 0 {
            refuse_unheld_join(ctx, &params.plan).await?;
        }
        applied::apply(ctx, &objects).await?;
        let endpoint = wait_for_infrastructure(ctx, &params.plan).await?;
        Ok(Output {
            digest: params.digest.clone(),
            endpoint,
        })
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let objects = decorated(ctx, params);
        let there = applied::look(ctx, &params.plan.installation, &objects).await?;
        if let Some(foreign) = there.foreign {
            return Ok(Observed::Foreign(foreign));
        }
        if there.as_wanted == 0 {
            return Ok(Observed::NotDone);
        }
        let endpoint = endpoint(ctx, &params.plan).await?;
        Ok(match endpoint {
            Some(endpoint) if there.as_wanted == objects.len() => Observed::Done(Output {
                digest: params.digest.clone(),
                endpoint,
            }),
            _ => Observed::Partial,
        })
    }

    async fn compensate(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        undo::undo(ctx, &params.plan).await
    }
}

/// The objects with their marks.
fn decorated(ctx: &Context<Ports>, params: &Params) -> Vec<Value> {
    let objects = target::render(&params.plan).objects;
    applied::marked(ctx, &params.digest, objects)
}

/// A VPC with CAPA's tag would be rewritten and, on the way back, deleted.
async fn refuse_managed_vpc(ctx: &Context<Ports>, plan: &ClusterPlan) -> Result<(), StepError> {
    let vpc = ctx
        .ports()
        .cloud(&plan.id)
        .describe_vpc(&plan.network.vpc)
        .await?;
    let tag = names::tag_capa_cluster(&plan.id);
    if vpc.tags.contains_key(&tag) {
        return Err(StepError::refused(
            "vpc-managed",
            format!(
                "VPC {} has the tag {tag}, so CAPA would call it its own; remove the tag",
                vpc.id
            ),
        ));
    }
    Ok(())
}

async fn refuse_missing_secrets(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    for secret in &params.secrets {
        let found = ctx
            .ports()
            .capi_mc()
            .find_secret(&secret.namespace, &secret.name)
            .await?;
        if !found.is_some_and(|found| found.data.contains_key(&secret.key)) {
            return Err(StepError::refused(
                "secret-missing",
                format!(
                    "Secret {}/{} is not there, and a controller would invent it; copy it first",
                    secret.namespace, secret.name
                ),
            ));
        }
    }
    Ok(())
}

/// With the join script in place a machine would boot before the control plane is held.
async fn refuse_unheld_join(ctx: &Context<Ports>, plan: &ClusterPlan) -> Result<(), StepError> {
    let name = names::migration_files_secret(&plan.id);
    let object = ObjectRef::new(&kinds::secret(), &plan.namespace, &name);
    match ctx.ports().capi_mc().find(&object).await? {
        None => Ok(()),
        Some(_) => Err(StepError::refused(
            "files-secret-exists",
            format!(
                "Secret {}/{name} exists already; with it the first machine would join before the control plane is held, so delete it",
                plan.namespace
            ),
        )),
    }
}

async fn wait_for_infrastructure(
    ctx: &Context<Ports>,
    plan: &ClusterPlan,
) -> Result<String, StepError> {
    ctx.wait_until(
        "the load balancer and its network",
        seconds(10),
        minutes(25),
        || async {
            Ok(match endpoint(ctx, plan).await? {
                Some(endpoint) => Poll::Ready(endpoint),
                None => Poll::Pending("the Cluster's infrastructure is not ready".to_owned()),
            })
        },
    )
    .await
}

/// The new load balancer, once the Cluster knows it.
async fn endpoint(ctx: &Context<Ports>, plan: &ClusterPlan) -> Result<Option<String>, StepError> {
    let object = ObjectRef::new(&kinds::cluster(), &plan.namespace, &plan.id);
    let cluster = ctx.ports().capi_mc().find(&object).await?;
    Ok(cluster.and_then(|cluster| {
        let ready = cluster["status"]["infrastructureReady"] == true;
        let host = cluster["spec"]["controlPlaneEndpoint"]["host"].as_str()?;
        (ready && !host.is_empty()).then(|| host.to_owned())
    }))
}

/// Label by which what Cluster API made of the objects is found.
fn labels(plan: &ClusterPlan) -> [(&str, &str); 1] {
    [(keys::CLUSTER_NAME, plan.id.as_str())]
}
