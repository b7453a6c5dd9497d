//! `gitops.suspend/1`: GitOps leaves the cluster's objects alone.
//!
//! * Effect: `spec.suspend` on whatever Flux applies the cluster's objects by, as the labels on these tell. Each carries the
//!   names of the workflows that want it so.
//! * Idempotency: one that is suspended for this workflow stays as it is. One that somebody else has suspended is theirs.
//! * Compensation: undo; the workflow's name goes, and with the last name the suspension.
//!
//! Several clusters may be applied by one Kustomization, and several of them migrated at once: it is resumed by the last one.

use drover_ports::{ObjectRef, PortErrorKind, Ports};
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
        cluster::{annotation, still_there},
        defaults::{RETRY, minutes, timeouts},
        gitops, looks,
    },
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct SuspendGitops;

/// Parameters of `gitops.suspend/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
}

/// Output of `gitops.suspend/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// What applies the cluster's objects and is suspended now.
    pub suspended: Vec<Applier>,
}

/// What Flux applies objects by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Applier {
    /// `apiVersion`.
    pub api_version: String,
    /// `Kustomization` or `HelmRelease`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Annotation: workflows that want it suspended, separated by commas.
const SUSPENDED_FOR: &str = "drover.giantswarm.io/suspended-for";

/// So often in a row somebody else writes to it in between.
const CONFLICTS_MAX: u32 = 5;

impl Step<Ports> for SuspendGitops {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "gitops.suspend",
        version: 1,
        summary: "suspends whatever Flux applies the cluster's objects by",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::VintageMc],
        effects: &[Effect::once("suspend"), Effect::once("resume")],
        compensation: Compensation::Undo,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(10)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "vintage-mc:list:Cluster",
            "vintage-mc:list:AWSCluster",
            "vintage-mc:list:G8sControlPlane",
            "vintage-mc:list:AWSControlPlane",
            "vintage-mc:list:MachineDeployment",
            "vintage-mc:list:AWSMachineDeployment",
            "vintage-mc:list:CertConfig",
            "vintage-mc:list:App",
            "vintage-mc:get:Kustomization",
            "vintage-mc:get:HelmRelease",
            "vintage-mc:patch:Kustomization",
            "vintage-mc:patch:HelmRelease",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster).await?;
        for owner in owners(ctx, params).await? {
            if ctx.ports().vintage_mc().find(&owner).await?.is_none() {
                return Err(StepError::refused(
                    "gitops-owner-missing",
                    format!(
                        "the cluster's objects are applied by {}, which is not on this management cluster; suspend it where it is and take its labels off",
                        gitops::words(&owner)
                    ),
                ));
            }
        }
        Ok(())
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let owners = owners(ctx, params).await?;
        for owner in &owners {
            change(ctx, owner, "suspend", suspension).await?;
        }
        Ok(output(owners))
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let owners = owners(ctx, params).await?;
        let (mut suspended, mut ours) = (0, 0);
        for owner in &owners {
            if let Some(found) = ctx.ports().vintage_mc().find(owner).await? {
                suspended += usize::from(gitops::is_suspended(&found));
                ours += usize::from(wanted_by(&found).contains(&ctx.workflow()));
            }
        }
        Ok(if suspended == owners.len() {
            Observed::Done(output(owners))
        } else if ours > 0 {
            Observed::Partial
        } else {
            Observed::NotDone
        })
    }

    async fn compensate(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        for owner in owners(ctx, params).await? {
            change(ctx, &owner, "resume", resumption).await?;
        }
        Ok(())
    }
}

async fn owners(ctx: &Context<Ports>, params: &Params) -> Result<Vec<ObjectRef>, StepError> {
    looks::patient(ctx, "the owners of the objects to be read", || {
        read_owners(ctx, params)
    })
    .await
}

async fn read_owners(ctx: &Context<Ports>, params: &Params) -> Result<Vec<ObjectRef>, StepError> {
    let mc = ctx.ports().vintage_mc();
    let mut objects = Vec::new();
    for gvk in kinds::vintage().iter().chain([&kinds::app()]) {
        let labels = [(kinds::CLUSTER_LABEL, params.cluster.as_str())];
        objects.extend(mc.list(gvk, "", &labels).await?);
    }
    Ok(gitops::owners(&objects).into_iter().collect())
}

fn output(owners: Vec<ObjectRef>) -> Output {
    let suspended = owners.into_iter().map(|owner| Applier {
        api_version: owner.gvk.api_version(),
        kind: owner.gvk.kind,
        namespace: owner.namespace,
        name: owner.name,
    });
    Output {
        suspended: suspended.collect(),
    }
}

fn wanted_by(owner: &Value) -> Vec<&str> {
    let names = annotation(owner, SUSPENDED_FOR).unwrap_or_default();
    names.split(',').filter(|name| !name.is_empty()).collect()
}

/// The patch that suspends it for a workflow; `None` when nothing is to be done.
fn suspension(owner: &Value, workflow: &str) -> Option<Value> {
    let mut wanted_by = wanted_by(owner);
    if wanted_by.contains(&workflow) || wanted_by.is_empty() && gitops::is_suspended(owner) {
        return None;
    }
    wanted_by.push(workflow);
    wanted_by.sort_unstable();
    Some(json!({
        "metadata": {"annotations": {SUSPENDED_FOR: wanted_by.join(",")}},
        "spec": {"suspend": true},
    }))
}

/// The patch that takes that back; `None` when nothing is to be done.
fn resumption(owner: &Value, workflow: &str) -> Option<Value> {
    let mut wanted_by = wanted_by(owner);
    if !wanted_by.contains(&workflow) {
        return None;
    }
    wanted_by.retain(|name| *name != workflow);
    Some(if wanted_by.is_empty() {
        json!({"metadata": {"annotations": {SUSPENDED_FOR: null}}, "spec": {"suspend": null}})
    } else {
        json!({"metadata": {"annotations": {SUSPENDED_FOR: wanted_by.join(",")}}})
    })
}

/// Patches what was seen: two workflows that write at once would lose one name.
async fn change(
    ctx: &Context<Ports>,
    owner: &ObjectRef,
    effect: &str,
    patch: fn(&Value, &str) -> Option<Value>,
) -> Result<(), StepError> {
    let mc = ctx.ports().vintage_mc();
    let mut conflicts = 0;
    loop {
        let Some(seen) = mc.find(owner).await? else {
            return Ok(());
        };
        let Some(patch) = patch(&seen, ctx.workflow()) else {
            return Ok(());
        };
        let version = seen["metadata"]["resourceVersion"].as_str();
        let item = format!("{}/{}", owner.gvk.kind, owner.name);
        let permit = ctx.permit_for(effect, &item).await?;
        match mc.merge_patch(permit, owner, patch, version).await {
            Err(error) if error.kind == PortErrorKind::Conflict && conflicts < CONFLICTS_MAX => {
                conflicts += 1;
            }
            done => return Ok(done.map(drop)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(owner: &Value, patch: Option<Value>) -> Value {
        let mut owner = owner.clone();
        if let Some(patch) = patch {
            let names = &patch["metadata"]["annotations"][SUSPENDED_FOR];
            owner["metadata"]["annotations"] = json!({ SUSPENDED_FOR: names });
            if let Some(suspend) = patch["spec"].get("suspend") {
                owner["spec"]["suspend"] = suspend.clone();
            }
        }
        owner
    }

    #[test]
    fn the_last_workflow_resumes_it() {
        let fresh = json!({"metadata": {}, "spec": {}});
        let one = patched(&fresh, suspension(&fresh, "a"));
        assert_eq!(suspension(&one, "a"), None);
        let two = patched(&one, suspension(&one, "b"));
        assert_eq!(wanted_by(&two), ["a", "b"]);
        let left = patched(&two, resumption(&two, "a"));
        assert!(gitops::is_suspended(&left));
        let none = patched(&left, resumption(&left, "b"));
        assert!(!gitops::is_suspended(&none));
        assert_eq!(resumption(&none, "b"), None);
    }

    #[test]
    fn what_somebody_else_has_suspended_is_theirs() {
        let theirs = json!({"metadata": {}, "spec": {"suspend": true}});
        assert_eq!(suspension(&theirs, "a"), None);
        assert_eq!(resumption(&theirs, "a"), None);
    }
}
