//! The configuration of encryption at rest is there, and its key is not being rotated.

use drover_model::{cr::keys, names};

use super::{Findings, Look, blocker};

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let plan = look.plan;
    let name = names::encryption_secret(&plan.id);
    let secret = look
        .ports()
        .vintage_mc()
        .find_secret(&plan.namespace, &name)
        .await?;
    let Some(secret) = secret else {
        return Ok(vec![blocker(
            "encryption-missing",
            format!(
                "Secret {}/{name} is missing; new API servers could read no Secret",
                plan.namespace
            ),
        )]);
    };
    let mut found = Vec::new();
    if secret
        .data
        .get("encryption")
        .is_none_or(drover_ports::SecretBytes::is_empty)
    {
        found.push(blocker(
            "encryption-missing",
            format!("Secret {name} has no key \"encryption\""),
        ));
    }
    if keys::is_rotating(&secret.annotations) {
        found.push(blocker(
            "encryption-rotates",
            format!("the key in Secret {name} is being rotated; wait until that is over"),
        ));
    }
    Ok(found)
}
