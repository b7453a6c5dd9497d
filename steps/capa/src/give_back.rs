//! `vintage.give_back/1`: what was held for the time of the migration is given back.
//!
//! * Effect: cluster-autoscaler has as many pods as before, whichever workflow took them; whatever Flux applied the vintage
//!   objects by carries a note that says what has to change before it may be resumed.
//! * Idempotency: who runs and what carries its note is left alone.
//! * Compensation: roll forward.
//!
//! Flux stays suspended: what stands in Git describes a vintage cluster, and would be made again. Only people can replace that.

use drover_ports::{Gvk, ObjectRef, Ports, Via};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    freeze_mutators::autoscaler,
    support::{
        cluster::annotation,
        defaults::{RETRY, minutes, timeouts},
        replicas,
    },
    suspend_gitops::Applier,
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct GiveBack;

/// Parameters of `vintage.give_back/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// What `gitops.suspend` has suspended.
    pub suspended: Vec<Applier>,
}

/// Output of `vintage.give_back/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// What has to be changed in Git and resumed by people.
    pub to_be_replaced: Vec<Applier>,
}

/// Annotation: what people have to know.
const NOTE: &str = "drover.giantswarm.io/note";

fn note(cluster: &str) -> String {
    format!(
        "{cluster} is a Cluster API cluster now; what stands here describes the vintage one. Replace it in Git before resuming."
    )
}

impl Step<Ports> for GiveBack {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "vintage.give_back",
        version: 1,
        summary: "starts cluster-autoscaler again and leaves a note for GitOps",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::VintageMc, Reach::Workload],
        effects: &[Effect::once("start-again"), Effect::once("leave-note")],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(10)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Kustomization",
            "vintage-mc:get:HelmRelease",
            "vintage-mc:patch:Kustomization",
            "vintage-mc:patch:HelmRelease",
            "workload:get:Deployment",
            "workload:patch:Deployment",
        ],
    };

    async fn pre(&self, _: &Context<Ports>, _: &Params) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let workload = ctx.ports().workload(&params.cluster, Via::NewName);
        let autoscaler = autoscaler();
        if let Some(found) = workload.find(&autoscaler).await?
            && replicas::is_held(Some(&found))
        {
            let deployment = (&autoscaler, &found);
            replicas::give_pods(ctx, &workload, deployment, "start-again").await?;
        }
        for owner in without_note(ctx, params).await? {
            let item = format!("{}/{}", owner.gvk.kind, owner.name);
            let patch = json!({"metadata": {"annotations": {NOTE: note(&params.cluster)}}});
            let permit = ctx.permit_for("leave-note", &item).await?;
            let mc = ctx.ports().vintage_mc();
            mc.merge_patch(permit, &owner, patch, None).await?;
        }
        Ok(output(params))
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let workload = ctx.ports().workload(&params.cluster, Via::NewName);
        let found = workload.find(&autoscaler()).await?;
        let held = replicas::is_held(found.as_ref());
        let without = without_note(ctx, params).await?.len();
        let noted = params.suspended.len() - without;
        Ok(match (held, without) {
            (false, 0) => Observed::Done(output(params)),
            (true, _) if noted == 0 => Observed::NotDone,
            _ => Observed::Partial,
        })
    }
}

fn output(params: &Params) -> Output {
    Output {
        to_be_replaced: params.suspended.clone(),
    }
}

/// What is there and does not carry this cluster's note.
async fn without_note(ctx: &Context<Ports>, params: &Params) -> Result<Vec<ObjectRef>, StepError> {
    let mut without = Vec::new();
    for applier in &params.suspended {
        let gvk = Gvk::of(&applier.api_version, &applier.kind);
        let owner = ObjectRef::new(&gvk, &applier.namespace, &applier.name);
        if let Some(found) = ctx.ports().vintage_mc().find(&owner).await?
            && annotation(&found, NOTE) != Some(note(&params.cluster).as_str())
        {
            without.push(owner);
        }
    }
    Ok(without)
}
