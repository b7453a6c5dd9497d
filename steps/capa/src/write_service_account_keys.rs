//! `capi.write_service_account_keys/1`: tokens that were issued before the migration stay good after it.
//!
//! * Effect: Secrets `<id>-sa` (the key pair that signs) and `<id>-sa-old` (the legacy key, against which old tokens are still
//!   verified) on the Cluster API management cluster.
//! * Idempotency: created if missing, left if equal, never overwritten.
//! * Compensation: undo; deletes those that this migration wrote.

use drover_model::{names, pki};
use drover_ports::Ports;
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};

use crate::{
    support::{
        cluster::still_there,
        defaults::{RETRY, minutes, timeouts},
        secrets::{self, CAPI_SECRET, OPAQUE, Wanted},
    },
    write_ca_secrets::{Output, Params},
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct WriteServiceAccountKeys;

impl Step<Ports> for WriteServiceAccountKeys {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "capi.write_service_account_keys",
        version: 1,
        summary: "copies the keys of service-account tokens to the Cluster API management cluster",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::VintageMc, Reach::CapiMc],
        effects: &[Effect::once("write-secret"), Effect::once("delete-secret")],
        compensation: Compensation::Undo,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(10)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "vintage-mc:get-data:Secret",
            "capi-mc:get:KubeadmControlPlane",
            "capi-mc:get:Secret",
            "capi-mc:get-data:Secret",
            "capi-mc:apply:Secret",
            "capi-mc:delete:Secret",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster)
            .await
            .map(drop)
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let wanted = wanted(ctx, params).await?;
        let secrets = secrets::write_once(ctx, &params.place(), &wanted, "write-secret").await?;
        Ok(Output { secrets })
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let wanted = wanted(ctx, params).await?;
        let observed = secrets::observe(ctx, &params.place(), &wanted).await?;
        Ok(observed.map(|secrets| Output { secrets }))
    }

    async fn compensate(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        let names = [
            names::sa_secret(&params.cluster),
            names::sa_old_secret(&params.cluster),
        ];
        secrets::take_back(
            ctx,
            &params.namespace,
            &params.cluster,
            &names,
            "delete-secret",
        )
        .await
    }
}

/// Both Secrets, once it is proved that public and private half belong together.
async fn wanted(ctx: &Context<Ports>, params: &Params) -> Result<Vec<Wanted>, StepError> {
    let Params {
        cluster, namespace, ..
    } = params;
    let unfit = |why: String| StepError::refused("service-account-key-unfit", why);
    let v2 = names::service_account_v2_secret(cluster);
    let private = secrets::vintage_value(ctx, namespace, &v2, "key").await?;
    let public = secrets::vintage_value(ctx, namespace, &v2, "pub").await?;
    let of_private = pki::public_key_of_private(private.expose())
        .map_err(|error| unfit(format!("Secret {v2}, key: {error}")))?;
    let of_public = pki::public_key(public.expose())
        .map_err(|error| unfit(format!("Secret {v2}, pub: {error}")))?;
    if of_private != of_public {
        return Err(unfit(format!(
            "the two halves in Secret {v2} do not belong together"
        )));
    }
    let v1 = names::service_account_secret(cluster);
    let legacy = secrets::vintage_value(ctx, namespace, &v1, "key").await?;
    let of_legacy = pki::public_key_of_private(legacy.expose())
        .map_err(|error| unfit(format!("Secret {v1}, key: {error}")))?;
    Ok(vec![
        Wanted {
            name: names::sa_secret(cluster),
            type_: CAPI_SECRET,
            data: [
                ("tls.crt".to_owned(), public),
                ("tls.key".to_owned(), private),
            ]
            .into(),
            key: "tls.crt",
            fingerprint: pki::key_fingerprint(&of_public),
        },
        Wanted {
            name: names::sa_old_secret(cluster),
            type_: OPAQUE,
            data: [("tls.key".to_owned(), legacy)].into(),
            key: "tls.key",
            fingerprint: pki::key_fingerprint(&of_legacy),
        },
    ])
}
