//! `capi.clean_manifest/1`: nothing that only the migration needed is left in the control plane.
//!
//! * Effect: what the KubeadmControlPlane has of the migration's files, commands and flags is taken out of it; its controller
//!   replaces the machines that were made with them, one at a time; then the Secret that the files were in goes.
//! * Idempotency: the patch holds for the object as it was seen, and there is none once all is clean.
//! * Compensation: roll forward. Machines without those files are whole machines; with them back in, every later node would have
//!   to run a script that does nothing.
//!
//! The Secret goes last: a machine whose files name a Secret that is not there never boots, and while the rollout runs
//! the controller may still have to replace one of the old ones.
//!
//! `serverCertSANs` of etcd stays, although nobody asks for the vintage name any more: many versions of the controller's webhook
//! let nobody change it.

use drover_model::{names, target::care};
use drover_ports::{ObjectRef, Ports};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    kinds,
    support::{
        control_plane,
        defaults::{RETRY, minutes, timeouts},
        rollout,
    },
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct CleanManifest;

/// Parameters of `capi.clean_manifest/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
}

/// Output of `capi.clean_manifest/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Files that the control plane's machines are given now, by path.
    pub files: Vec<String>,
    /// Issuers of service-account tokens that its API servers accept; the first one signs.
    pub issuers: Vec<String>,
    /// Its nodes, ordered by name.
    pub nodes: Vec<String>,
}

impl Step<Ports> for CleanManifest {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "capi.clean_manifest",
        version: 1,
        summary: "takes what only the migration needed out of the control plane and replaces its machines",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::CapiMc, Reach::Etcd],
        effects: &[
            Effect::once("clean-control-plane"),
            Effect::once("delete-files"),
        ],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(120)),
        retry: RETRY,
        permissions: &[
            "capi-mc:list:KubeadmControlPlane",
            "capi-mc:patch:KubeadmControlPlane",
            "capi-mc:list:Machine",
            "capi-mc:get:Kustomization",
            "capi-mc:get:HelmRelease",
            "capi-mc:get:Secret",
            "capi-mc:delete:Secret",
            "etcd:MemberList",
            "etcd:Status",
            "etcd:AlarmList",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        let object = rollout::find(ctx, &params.cluster).await?;
        if dirt(&object, params).is_none() {
            return Ok(());
        }
        rollout::refuse_unfit(ctx, &object).await
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let clean = |spec: &Value| Ok(care::without_migration(spec, &params.cluster));
        rollout::edit(ctx, &params.cluster, "clean-control-plane", clean).await?;
        let nodes = rollout::wait(ctx, &params.cluster).await?;
        let object = rollout::find(ctx, &params.cluster).await?;
        let secret = secret(&object, params);
        if ctx.ports().capi_mc().find(&secret).await?.is_some() {
            let permit = ctx.permit("delete-files").await?;
            ctx.ports().capi_mc().delete(permit, &secret).await?;
        }
        Ok(output(&object, nodes))
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let object = rollout::find(ctx, &params.cluster).await?;
        if dirt(&object, params).is_some() {
            return Ok(Observed::NotDone);
        }
        let secret = secret(&object, params);
        if ctx.ports().capi_mc().find(&secret).await?.is_some() {
            return Ok(Observed::Partial);
        }
        let found = control_plane::whole(ctx, &object, rollout::replicas(&object)).await?;
        Ok(match found {
            Ok(nodes) => Observed::Done(output(&object, nodes)),
            Err(_) => Observed::Partial,
        })
    }
}

/// What is to be taken out.
fn dirt(object: &Value, params: &Params) -> Option<Value> {
    care::without_migration(rollout::spec(object), &params.cluster)
}

fn secret(object: &Value, params: &Params) -> ObjectRef {
    let namespace = rollout::reference(object).namespace;
    let name = names::migration_files_secret(&params.cluster);
    ObjectRef::new(&kinds::secret(), &namespace, &name)
}

fn output(object: &Value, nodes: Vec<String>) -> Output {
    let spec = rollout::spec(object);
    let files = spec["files"].as_array().into_iter().flatten();
    Output {
        files: files
            .filter_map(|file| Some(file["path"].as_str()?.to_owned()))
            .collect(),
        issuers: care::issuers(spec).unwrap_or_default(),
        nodes,
    }
}
