//! Secrets that are written once and never overwritten.
//!
//! A Secret that is missing is created; one that is there and equal is as good as written; one that is there and different
//! belongs to somebody else and stops the step before it has changed anything. What this migration wrote bears its mark, and
//! only that is taken back.

use std::collections::BTreeMap;

use drover_model::names;
use drover_ports::{ObjectRef, Ports, SecretBytes, SecretObject, SecretRef};
use drover_step_api::{Context, Observed, StepError};

use crate::kinds;

/// Type of the Secrets that a KubeadmControlPlane takes for its own.
pub(crate) const CAPI_SECRET: &str = "cluster.x-k8s.io/secret";
/// Type of Secrets that are the user's.
pub(crate) const OPAQUE: &str = "Opaque";

/// A Secret as it has to be.
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) type_: &'static str,
    pub(crate) data: BTreeMap<String, SecretBytes>,
    /// The key that a reference names, and what it is recognised by.
    pub(crate) key: &'static str,
    pub(crate) fingerprint: String,
}

/// Where the Secrets are: a namespace of the Cluster API management cluster of an installation.
pub(crate) struct Place<'p> {
    pub(crate) installation: &'p str,
    pub(crate) namespace: &'p str,
    pub(crate) cluster: &'p str,
}

impl Place<'_> {
    /// What later steps are told of a Secret.
    pub(crate) fn reference(&self, wanted: &Wanted) -> SecretRef {
        SecretRef {
            installation: self.installation.to_owned(),
            place: "capi-mc".to_owned(),
            namespace: self.namespace.to_owned(),
            name: wanted.name.clone(),
            key: wanted.key.to_owned(),
            fingerprint: wanted.fingerprint.clone(),
        }
    }
}

/// Writes what is missing and reads everything back.
///
/// # Errors
/// `Refused`, before anything has been written, when a Secret is there with other data; `Failed` when what is read back is
/// not what was written.
pub(crate) async fn write_once(
    ctx: &Context<Ports>,
    place: &Place<'_>,
    wanted: &[Wanted],
    effect: &str,
) -> Result<Vec<SecretRef>, StepError> {
    let capi = ctx.ports().capi_mc();
    let mut missing = Vec::new();
    for secret in wanted {
        match capi.find_secret(place.namespace, &secret.name).await? {
            None => missing.push(secret),
            Some(found) if found.data == secret.data => {}
            Some(_) => return Err(StepError::refused("secret-differs", differs(place, secret))),
        }
    }
    for secret in &missing {
        let permit = ctx.permit_for(effect, &secret.name).await?;
        capi.apply_secret(permit, object(ctx, place, secret))
            .await?;
    }
    for secret in &missing {
        let found = capi.get_secret(place.namespace, &secret.name).await?;
        if found.data != secret.data {
            return Err(StepError::failed("secret-differs", differs(place, secret)));
        }
    }
    Ok(wanted
        .iter()
        .map(|secret| place.reference(secret))
        .collect())
}

fn differs(place: &Place<'_>, secret: &Wanted) -> String {
    format!(
        "Secret {}/{} exists with other data than the vintage cluster's; find out whose it is, and remove it if nobody's",
        place.namespace, secret.name
    )
}

fn object(ctx: &Context<Ports>, place: &Place<'_>, secret: &Wanted) -> SecretObject {
    let labels = [
        (kinds::CAPI_CLUSTER_LABEL, place.cluster),
        (kinds::CLUSTER_LABEL, place.cluster),
    ];
    SecretObject {
        namespace: place.namespace.to_owned(),
        name: secret.name.clone(),
        type_: secret.type_.to_owned(),
        labels: owned(&labels),
        annotations: owned(&[(names::MIGRATION, ctx.workflow())]),
        data: secret.data.clone(),
    }
}

fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// What the world says of these Secrets.
///
/// # Errors
/// As the port.
pub(crate) async fn observe(
    ctx: &Context<Ports>,
    place: &Place<'_>,
    wanted: &[Wanted],
) -> Result<Observed<Vec<SecretRef>>, StepError> {
    let mut there = 0;
    for secret in wanted {
        let capi = ctx.ports().capi_mc();
        match capi.find_secret(place.namespace, &secret.name).await? {
            None => {}
            Some(found) if found.data == secret.data => there += 1,
            Some(_) => return Ok(Observed::Foreign(differs(place, secret))),
        }
    }
    Ok(match there {
        0 => Observed::NotDone,
        n if n == wanted.len() => Observed::Done(
            wanted
                .iter()
                .map(|secret| place.reference(secret))
                .collect(),
        ),
        _ => Observed::Partial,
    })
}

/// Deletes those of the named Secrets that this migration wrote.
///
/// # Errors
/// `Failed` while a KubeadmControlPlane exists that may use them; as the port.
pub(crate) async fn take_back(
    ctx: &Context<Ports>,
    namespace: &str,
    cluster: &str,
    secrets: &[String],
    effect: &str,
) -> Result<(), StepError> {
    let capi = ctx.ports().capi_mc();
    let user = kinds::control_plane_of(namespace, cluster);
    if capi.find(&user).await?.is_some() {
        return Err(StepError::failed(
            "secrets-in-use",
            format!(
                "KubeadmControlPlane {namespace}/{cluster} still exists and would invent keys if its Secrets went; take it back first"
            ),
        ));
    }
    for name in secrets {
        let object = ObjectRef::new(&kinds::secret(), namespace, name);
        let found = capi.find(&object).await?;
        let is_ours = found.is_some_and(|secret| {
            secret["metadata"]["annotations"][names::MIGRATION] == ctx.workflow()
        });
        if is_ours {
            let permit = ctx.permit_for(effect, name).await?;
            capi.delete(permit, &object).await?;
        }
    }
    Ok(())
}

/// The one value of a vintage Secret.
///
/// # Errors
/// `Refused` when the Secret or its key is missing.
pub(crate) async fn vintage_value(
    ctx: &Context<Ports>,
    namespace: &str,
    name: &str,
    key: &str,
) -> Result<SecretBytes, StepError> {
    let missing = |what: String| StepError::refused("vintage-secret-missing", what);
    let secret = ctx
        .ports()
        .vintage_mc()
        .find_secret(namespace, name)
        .await?
        .ok_or_else(|| {
            missing(format!(
                "Secret {namespace}/{name} is missing on the vintage management cluster"
            ))
        })?;
    secret
        .data
        .get(key)
        .filter(|value| !value.is_empty())
        .cloned()
        .ok_or_else(|| missing(format!("Secret {namespace}/{name} has no key {key:?}")))
}
