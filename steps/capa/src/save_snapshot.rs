//! `etcd.save_snapshot/1`: the one way back when everything else fails.
//!
//! * Effect: a snapshot in the installation's own store, taken of a whole etcd.
//! * Idempotency: one snapshot a workflow and name; the store keeps the first.
//! * Compensation: roll forward; the snapshot stays.

use drover_ports::{Ports, SecretRef};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::support::{
    cluster::still_there,
    defaults::{RETRY, minutes, timeouts},
    etcd,
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct SaveSnapshot;

/// Parameters of `etcd.save_snapshot/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Installation, for the reference.
    pub installation: String,
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// etcd's quota, bytes: a database above half of it is defragmented first.
    pub quota_bytes: u64,
}

/// Output of `etcd.save_snapshot/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Where the snapshot is.
    pub snapshot: SecretRef,
}

const EFFECT: &str = "save-snapshot";

impl Step<Ports> for SaveSnapshot {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "etcd.save_snapshot",
        version: 1,
        summary: "keeps a snapshot of etcd in the installation's own store",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::VintageMc, Reach::Etcd],
        effects: &[Effect::once(EFFECT)],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(30)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "etcd:MemberList",
            "etcd:Status",
            "etcd:AlarmList",
            "etcd:SaveSnapshot",
            "region-store:Head",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster).await?;
        let etcd = ctx.ports().etcd(&params.cluster);
        let members = etcd.member_list().await?;
        if let Some(why) = etcd::ailment(ctx, &params.cluster, &members).await? {
            return Err(StepError::refused(
                "etcd-not-whole",
                format!("etcd is not whole: {why}"),
            ));
        }
        for member in &members {
            let status = etcd.status(&member.name).await?;
            if status.db_size > params.quota_bytes / 2 {
                return Err(StepError::refused(
                    "etcd-too-large",
                    format!(
                        "{}'s database has {} bytes, more than half of the quota; defragment it first",
                        member.name, status.db_size
                    ),
                ));
            }
        }
        Ok(())
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let key = key(ctx, &params.cluster, "before-migration");
        Ok(Output {
            snapshot: save(ctx, &params.installation, &params.cluster, &key, EFFECT).await?,
        })
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let key = key(ctx, &params.cluster, "before-migration");
        let found = find(ctx, &params.installation, &key).await?;
        Ok(found.map_or(Observed::NotDone, |snapshot| {
            Observed::Done(Output { snapshot })
        }))
    }
}

/// Where a snapshot of this workflow lies.
pub(crate) fn key(ctx: &Context<Ports>, cluster: &str, name: &str) -> String {
    format!("{cluster}/{}/etcd-{name}.db", ctx.workflow())
}

/// Saves a snapshot, unless it is there.
pub(crate) async fn save(
    ctx: &Context<Ports>,
    installation: &str,
    cluster: &str,
    key: &str,
    effect: &str,
) -> Result<SecretRef, StepError> {
    if let Some(found) = find(ctx, installation, key).await? {
        return Ok(found);
    }
    let permit = ctx.permit(effect).await?;
    let snapshot = ctx.ports().etcd(cluster).save_snapshot(permit, key).await?;
    ctx.progress(
        1,
        1,
        format!(
            "{} bytes at revision {} are kept",
            snapshot.size, snapshot.revision
        ),
    );
    Ok(reference(installation, key, snapshot.sha256))
}

/// The snapshot under a key, if it is there.
pub(crate) async fn find(
    ctx: &Context<Ports>,
    installation: &str,
    key: &str,
) -> Result<Option<SecretRef>, StepError> {
    match ctx.ports().region_store().head(key).await {
        Ok(sha256) => Ok(Some(reference(installation, key, sha256))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn reference(installation: &str, key: &str, sha256: String) -> SecretRef {
    SecretRef {
        installation: installation.to_owned(),
        place: "region-store".to_owned(),
        namespace: String::new(),
        name: key.to_owned(),
        key: String::new(),
        fingerprint: sha256,
    }
}
