//! `capi.write_encryption_config/1`: new API servers read what old ones encrypted.
//!
//! * Effect: Secret `<id>-encryption-provider-config` on the Cluster API management cluster, byte for byte the vintage one.
//!   It has to be there before the Cluster is: an operator gives a Cluster without one a new key, and then no existing
//!   Secret can be read.
//! * Idempotency: created if missing, left if equal, never overwritten.
//! * Compensation: undo; deletes it if this migration wrote it.

use drover_model::{cr::keys, digest, names};
use drover_ports::{Ports, SecretBytes};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};
use serde_json::Value;

use crate::{
    support::{
        cluster::still_there,
        defaults::{RETRY, minutes, timeouts},
        secrets::{self, OPAQUE, Wanted},
    },
    write_ca_secrets::{Output, Params},
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct WriteEncryptionConfig;

impl Step<Ports> for WriteEncryptionConfig {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "capi.write_encryption_config",
        version: 1,
        summary: "copies the configuration of encryption at rest to the Cluster API management cluster",
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
        still_there(ctx, &params.namespace, &params.cluster).await?;
        let name = names::encryption_secret(&params.cluster);
        let found = ctx
            .ports()
            .vintage_mc()
            .find_secret(&params.namespace, &name)
            .await?;
        match found {
            Some(secret) if keys::is_rotating(&secret.annotations) => Err(StepError::refused(
                "encryption-rotates",
                format!("the key in Secret {name} is being rotated; wait until that is over"),
            )),
            _ => Ok(()),
        }
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
        let names = [names::encryption_secret(&params.cluster)];
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

async fn wanted(ctx: &Context<Ports>, params: &Params) -> Result<Vec<Wanted>, StepError> {
    let name = names::encryption_secret(&params.cluster);
    let config = secrets::vintage_value(ctx, &params.namespace, &name, "encryption").await?;
    let shape = shape(&config);
    if !encrypts(&shape) {
        return Err(StepError::refused(
            "encryption-unreadable",
            format!("Secret {name} holds no EncryptionConfiguration with a provider that encrypts"),
        ));
    }
    Ok(vec![Wanted {
        type_: OPAQUE,
        key: "encryption",
        fingerprint: digest(&shape),
        data: [("encryption".to_owned(), config)].into(),
        name,
    }])
}

/// The configuration without its keys: what it may be recognised by.
fn shape(config: &SecretBytes) -> Value {
    let parsed = std::str::from_utf8(config.expose())
        .ok()
        .and_then(|text| serde_saphyr::from_str(text).ok());
    let mut shape = parsed.unwrap_or(Value::Null);
    redact(&mut shape);
    shape
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.shift_remove("secret");
            map.values_mut().for_each(redact);
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

/// Whether a configuration has a provider other than `identity`.
fn encrypts(shape: &Value) -> bool {
    shape["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|resource| resource["providers"].as_array())
        .flatten()
        .filter_map(Value::as_object)
        .any(|provider| provider.keys().any(|name| name != "identity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(providers: &str) -> SecretBytes {
        let text = format!(
            "kind: EncryptionConfiguration\nresources: [{{resources: [secrets], providers: {providers}}}]\n"
        );
        SecretBytes::new(text.into_bytes())
    }

    #[test]
    fn only_a_configuration_that_encrypts_is_one() {
        let of = |providers: &str| encrypts(&shape(&config(providers)));
        assert!(of("[{secretbox: {keys: []}}, {identity: {}}]"));
        assert!(!of("[{identity: {}}]"));
        assert!(!encrypts(&shape(&SecretBytes::new(b"not: [yaml".to_vec()))));
    }

    #[test]
    fn what_it_is_recognised_by_holds_no_key() {
        let shape = shape(&config(
            "[{secretbox: {keys: [{name: key1, secret: c2VjcmV0}]}}]",
        ));
        assert!(shape.to_string().contains("key1"));
        assert!(!shape.to_string().contains("c2VjcmV0"));
    }
}
