//! `vintage.remove_custom_resources/1`: the vintage management cluster knows the cluster no more.
//!
//! * Effect: app-operator's Deployment goes, then every vintage object, children first: its finalizers are taken away, and it is
//!   deleted.
//! * Idempotency: what is not there is done. What is deleted is the very object that was seen.
//! * Compensation: roll forward.
//!
//! An operator that sees one of these objects go deletes what it stands for, in the end the VPC. So nothing is deleted that is
//! not paused, nothing while a stack is left, nothing that GitOps would make again, and not without the label that keeps
//! irsa-operator from taking the OIDC provider along.

use drover_model::{cr::keys, names};
use drover_ports::{Gvk, ObjectRef, Ports};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    kinds,
    support::{
        cluster::{annotation, name},
        defaults::{RETRY, minutes, timeouts},
        gitops, looks,
    },
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct RemoveCustomResources;

/// Parameters of `vintage.remove_custom_resources/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
}

/// Output of `vintage.remove_custom_resources/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The cluster that is gone there.
    pub cluster: String,
}

impl Step<Ports> for RemoveCustomResources {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "vintage.remove_custom_resources",
        version: 1,
        summary: "removes the cluster's objects from the vintage management cluster, and nothing that they stand for",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::VintageMc, Reach::Aws],
        effects: &[
            Effect::once("delete-app-operator"),
            Effect::once("strip-finalizers"),
            Effect::once("delete-object"),
        ],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(20)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Deployment",
            "vintage-mc:delete:Deployment",
            "vintage-mc:get:Kustomization",
            "vintage-mc:get:HelmRelease",
            "vintage-mc:list:Cluster",
            "vintage-mc:list:AWSCluster",
            "vintage-mc:list:G8sControlPlane",
            "vintage-mc:list:AWSControlPlane",
            "vintage-mc:list:MachineDeployment",
            "vintage-mc:list:AWSMachineDeployment",
            "vintage-mc:list:CertConfig",
            "vintage-mc:patch:Cluster",
            "vintage-mc:patch:AWSCluster",
            "vintage-mc:patch:G8sControlPlane",
            "vintage-mc:patch:AWSControlPlane",
            "vintage-mc:patch:MachineDeployment",
            "vintage-mc:patch:AWSMachineDeployment",
            "vintage-mc:delete:Cluster",
            "vintage-mc:delete:AWSCluster",
            "vintage-mc:delete:G8sControlPlane",
            "vintage-mc:delete:AWSControlPlane",
            "vintage-mc:delete:MachineDeployment",
            "vintage-mc:delete:AWSMachineDeployment",
            "vintage-mc:delete:CertConfig",
            "cloudformation:DescribeStacks",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        let prefix = names::stack_prefix(&params.cluster);
        let cloud = ctx.ports().cloud(&params.cluster);
        if let Some(stack) = cloud.describe_stacks(&prefix).await?.first() {
            return Err(StepError::refused(
                "stacks-not-disowned",
                format!(
                    "stack {} is still there; disown the stacks first",
                    stack.name
                ),
            ));
        }
        let found = objects(ctx, &params.cluster).await?;
        let seen: Vec<&Value> = found.iter().map(|(_, object)| object).collect();
        if let Some(owner) = gitops::active_owner(&ctx.ports().vintage_mc(), &seen).await? {
            return Err(StepError::refused(
                "gitops-not-suspended",
                format!("{owner} would make the objects again; suspend it first"),
            ));
        }
        match found
            .iter()
            .find_map(|(gvk, object)| unsafe_to_delete(gvk, object))
        {
            None => Ok(()),
            Some((code, why)) => Err(StepError::refused(code, why)),
        }
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        delete_app_operator(ctx, &params.cluster).await?;
        let found = objects(ctx, &params.cluster).await?;
        let all = found.len() as u64;
        for (n, (gvk, object)) in found.into_iter().enumerate() {
            // It may have changed since the step began.
            if let Some((code, why)) = unsafe_to_delete(&gvk, &object) {
                return Err(StepError::failed(code, why));
            }
            remove(ctx, &gvk, &object).await?;
            ctx.progress(n as u64 + 1, all, "objects are gone");
        }
        Ok(output(params))
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let left = objects(ctx, &params.cluster).await?;
        let operator = app_operator(&params.cluster);
        let operator = ctx.ports().vintage_mc().find(&operator).await?;
        Ok(match (left.is_empty(), operator) {
            (true, None) => Observed::Done(output(params)),
            (false, Some(_)) => Observed::NotDone,
            _ => Observed::Partial,
        })
    }
}

fn output(params: &Params) -> Output {
    Output {
        cluster: params.cluster.clone(),
    }
}

fn app_operator(cluster: &str) -> ObjectRef {
    let name = names::app_operator(cluster);
    ObjectRef::new(&kinds::deployment(), cluster, &name)
}

async fn delete_app_operator(ctx: &Context<Ports>, cluster: &str) -> Result<(), StepError> {
    let mc = ctx.ports().vintage_mc();
    let operator = app_operator(cluster);
    if let Some(seen) = mc.find(&operator).await? {
        let permit = ctx.permit("delete-app-operator").await?;
        mc.delete_seen(permit, &operator, &seen).await?;
    }
    Ok(())
}

/// All vintage objects of the cluster, children before what they belong to.
async fn objects(ctx: &Context<Ports>, cluster: &str) -> Result<Vec<(Gvk, Value)>, StepError> {
    looks::patient(ctx, "the objects to be read", || read_objects(ctx, cluster)).await
}

async fn read_objects(ctx: &Context<Ports>, cluster: &str) -> Result<Vec<(Gvk, Value)>, StepError> {
    let mc = ctx.ports().vintage_mc();
    let mut found = Vec::new();
    // The list begins with the cluster itself.
    for gvk in kinds::vintage().into_iter().rev() {
        for object in mc
            .list(&gvk, "", &[(kinds::CLUSTER_LABEL, cluster)])
            .await?
        {
            found.push((gvk.clone(), object));
        }
    }
    Ok(found)
}

/// Why the deletion of an object would take along what it stands for.
fn unsafe_to_delete(gvk: &Gvk, object: &Value) -> Option<(&'static str, String)> {
    let named = format!("{} {}", gvk.kind, name(object));
    if annotation(object, keys::PAUSED) != Some("true") {
        return Some((
            "operators-not-paused",
            format!("{named} is not paused: its operator would delete what it stands for"),
        ));
    }
    let kept = object["metadata"]["labels"].get(keys::KEEP_IRSA).is_some();
    (gvk.kind == "AWSCluster" && !kept).then(|| {
        (
            "irsa-not-kept",
            format!(
                "{named} has no label {}: irsa-operator would delete the OIDC provider",
                keys::KEEP_IRSA
            ),
        )
    })
}

async fn remove(ctx: &Context<Ports>, gvk: &Gvk, object: &Value) -> Result<(), StepError> {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let reference = ObjectRef::new(gvk, namespace, &name(object));
    let item = format!("{}/{}", gvk.kind, name(object));
    let mc = ctx.ports().vintage_mc();
    let finalizers = object["metadata"]["finalizers"].as_array();
    if finalizers.is_some_and(|finalizers| !finalizers.is_empty()) {
        let permit = ctx.permit_for("strip-finalizers", &item).await?;
        let patch = json!({"metadata": {"finalizers": null}});
        mc.merge_patch(permit, &reference, patch, None).await?;
    }
    let permit = ctx.permit_for("delete-object", &item).await?;
    Ok(mc.delete_seen(permit, &reference, object).await?)
}
