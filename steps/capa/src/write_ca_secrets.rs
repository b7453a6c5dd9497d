//! `capi.write_ca_secrets/1`: the vintage cluster CA becomes the CA of the Cluster API cluster, of its etcd and of its
//! front proxy.
//!
//! * Effect: Secrets `<id>-ca`, `<id>-etcd` and `<id>-proxy` on the Cluster API management cluster.
//! * Idempotency: created if missing, left if equal, never overwritten.
//! * Compensation: undo; deletes those that this migration wrote, once no KubeadmControlPlane exists any more.
//!
//! The key is proved before it is written: it fits the certificate, and the certificate is the one that the vintage API
//! serves and that the vintage management cluster knows. The wrong CA would only show when nothing joins.

use drover_model::{names, pki};
use drover_ports::{CaBundle, Ports, SecretBytes, SecretRef, Via};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::support::{
    cluster::still_there,
    defaults::{RETRY, minutes, timeouts},
    secrets::{self, CAPI_SECRET, Place, Wanted},
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct WriteCaSecrets;

/// Parameters of the kinds that copy Secrets.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Installation, for references.
    pub installation: String,
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects on both management clusters.
    pub namespace: String,
}

impl Params {
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            installation: &self.installation,
            namespace: &self.namespace,
            cluster: &self.cluster,
        }
    }
}

/// Output of the kinds that copy Secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Where they are, and what they are recognised by.
    pub secrets: Vec<SecretRef>,
}

/// A CA that ends within a year is not worth migrating to.
const LEAST_VALIDITY_SECONDS: i64 = 365 * 24 * 3600;

impl Step<Ports> for WriteCaSecrets {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "capi.write_ca_secrets",
        version: 1,
        summary: "copies the cluster CA with its key to the Cluster API management cluster",
        role: Role::Step,
        class: Class::Light,
        reach: &[
            Reach::VintageMc,
            Reach::CapiMc,
            Reach::Workload,
            Reach::Vault,
        ],
        effects: &[Effect::once("write-secret"), Effect::once("delete-secret")],
        compensation: Compensation::Undo,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(10)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "vintage-mc:get-data:Secret",
            "ca:Fetch",
            "probe:ServedCa",
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
        let wanted = proved(ctx, params).await?;
        let secrets = secrets::write_once(ctx, &params.place(), &wanted, "write-secret").await?;
        Ok(Output { secrets })
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let bundle = ctx.ports().ca_source(&params.cluster).fetch().await?;
        let wanted = wanted(&params.cluster, &bundle)?;
        let observed = secrets::observe(ctx, &params.place(), &wanted).await?;
        Ok(observed.map(|secrets| Output { secrets }))
    }

    async fn compensate(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        let names = names::ca_secrets(&params.cluster);
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

fn wanted(cluster: &str, bundle: &CaBundle) -> Result<Vec<Wanted>, StepError> {
    let certificate = certificate(bundle)?;
    Ok(names::ca_secrets(cluster)
        .into_iter()
        .map(|name| Wanted {
            name,
            type_: CAPI_SECRET,
            data: [
                (
                    "tls.crt".to_owned(),
                    SecretBytes::new(bundle.certificate_pem.clone().into_bytes()),
                ),
                ("tls.key".to_owned(), bundle.private_key_pem.clone()),
            ]
            .into(),
            key: "tls.crt",
            fingerprint: certificate.fingerprint.clone(),
        })
        .collect())
}

fn certificate(bundle: &CaBundle) -> Result<pki::Certificate, StepError> {
    pki::Certificate::from_pem(&bundle.certificate_pem).map_err(|error| {
        StepError::refused("ca-unreadable", format!("the CA's certificate: {error}"))
    })
}

/// The Secrets, once it is proved that this is the cluster's CA and its key.
async fn proved(ctx: &Context<Ports>, params: &Params) -> Result<Vec<Wanted>, StepError> {
    let unfit = |why: String| StepError::refused("ca-unfit", why);
    let bundle = ctx.ports().ca_source(&params.cluster).fetch().await?;
    let certificate = certificate(&bundle)?;
    let public = pki::public_key_of_private(bundle.private_key_pem.expose())
        .map_err(|error| unfit(format!("the CA's key: {error}")))?;
    if public != certificate.public_key {
        return Err(unfit(
            "the CA's key does not belong to its certificate".to_owned(),
        ));
    }
    if !certificate.is_ca || !certificate.self_issued {
        return Err(unfit("the certificate is not that of a root CA".to_owned()));
    }
    let now = ctx.now().0 / 1_000_000;
    if certificate.not_after_unix < now + LEAST_VALIDITY_SECONDS {
        return Err(unfit(
            "the CA ends within a year; renew it first".to_owned(),
        ));
    }
    let known = secrets::vintage_value(
        ctx,
        &params.namespace,
        &names::api_certificate_secret(&params.cluster),
        "ca",
    )
    .await?;
    let known = String::from_utf8_lossy(known.expose()).into_owned();
    let known = pki::Certificate::from_pem(&known)
        .map_err(|error| unfit(format!("the CA in the API's certificate Secret: {error}")))?;
    if known.fingerprint != certificate.fingerprint {
        return Err(unfit(
            "the API's certificate was issued by another CA than Vault has".to_owned(),
        ));
    }
    let served = ctx
        .ports()
        .probe(&params.cluster)
        .served_ca(Via::OldName)
        .await?;
    if served != certificate.fingerprint {
        return Err(unfit(
            "the API serves a certificate of another CA than Vault has".to_owned(),
        ));
    }
    wanted(&params.cluster, &bundle)
}
