//! Service-account tokens. A simulated token says which key signed it, for whom, and by which issuer; an API server
//! accepts it when it has that key and knows that issuer, which is all that a migration can break.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use drover_ports::{KubeReply, PortError, SecretBytes};
use serde::{Deserialize, Serialize};

use super::refused;
use crate::{
    objects::{Key, Store, StoreError},
    state::ApiConfig,
};

#[derive(Serialize, Deserialize)]
struct Claims {
    kid: String,
    iss: String,
    sub: String,
}

/// A token of an account, signed by this API server's key.
pub(super) fn request(
    realm: &Store,
    config: &ApiConfig,
    namespace: &str,
    account: &str,
    action: &str,
) -> Result<KubeReply, PortError> {
    let key = Key::new("", "ServiceAccount", namespace, account);
    if !realm.contains(&key) {
        let what = format!("ServiceAccount {namespace}/{account}");
        return Err(refused(StoreError::NotFound, action, &what));
    }
    let claims = Claims {
        kid: config.signs.clone(),
        iss: config.issuers.first().cloned().unwrap_or_default(),
        sub: format!("system:serviceaccount:{namespace}:{account}"),
    };
    let text = serde_json::to_string(&claims)
        .map_err(|error| refused(StoreError::Invalid(error.to_string()), action, "token"))?;
    let token = format!("simulated.{}", URL_SAFE_NO_PAD.encode(text));
    Ok(KubeReply::Token {
        token: SecretBytes::new(token.into_bytes()),
    })
}

/// Whether this API server accepts a token.
pub(super) fn review(config: &ApiConfig, token: &SecretBytes) -> KubeReply {
    let claims = std::str::from_utf8(token.expose())
        .ok()
        .and_then(|text| text.strip_prefix("simulated."))
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .and_then(|bytes| serde_json::from_slice::<Claims>(&bytes).ok());
    let authenticated = claims.is_some_and(|claims| {
        config.verifies.contains(&claims.kid) && config.issuers.contains(&claims.iss)
    });
    KubeReply::Review { authenticated }
}
