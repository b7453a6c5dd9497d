//! The keys of service-account tokens are there and fit, and the API servers say who issues tokens.

use drover_model::{names, pki};

use super::{Findings, Look, blocker};

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let plan = look.plan;
    let mut found = Vec::new();
    if plan.service_accounts.issuers.is_empty() || plan.service_accounts.audiences.is_empty() {
        found.push(blocker(
            "issuers-unknown",
            "the running API server has no --service-account-issuer or no --api-audiences; tokens could not be carried over",
        ));
    }
    let name = names::service_account_v2_secret(&plan.id);
    let secret = look
        .ports()
        .vintage_mc()
        .find_secret(&plan.namespace, &name)
        .await?;
    let fits = secret.is_some_and(|secret| {
        let public = secret
            .data
            .get("pub")
            .and_then(|pem| pki::public_key(pem.expose()).ok());
        let private = secret
            .data
            .get("key")
            .and_then(|pem| pki::public_key_of_private(pem.expose()).ok());
        public.is_some() && public == private
    });
    if !fits {
        found.push(blocker(
            "service-account-key",
            format!(
                "Secret {}/{name} does not hold a key pair that fits",
                plan.namespace
            ),
        ));
    }
    let legacy = names::service_account_secret(&plan.id);
    let secret = look
        .ports()
        .vintage_mc()
        .find_secret(&plan.namespace, &legacy)
        .await?;
    if !secret.is_some_and(|secret| secret.data.contains_key("key")) {
        found.push(blocker(
            "service-account-key",
            format!("Secret {}/{legacy} with the legacy key is missing; tokens of old Secrets would break", plan.namespace),
        ));
    }
    Ok(found)
}
