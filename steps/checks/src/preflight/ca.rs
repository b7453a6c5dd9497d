//! The CA's key can be had, and it is the key of the CA that is in use.

use drover_model::{names, pki::Certificate};
use drover_ports::{PortErrorKind, Via};

use super::{Findings, Look, blocker};
use crate::insist::insist;

/// A CA that ends within a year is not worth migrating to.
const LEAST_VALIDITY_SECONDS: i64 = 365 * 24 * 3600;

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let plan = look.plan;
    let unfit = |why: String| Ok(vec![blocker("ca-unfit", why)]);
    let pem = match look.ports().ca_source(&plan.id).check().await {
        Ok(pem) => pem,
        Err(error) if matches!(error.kind, PortErrorKind::Denied | PortErrorKind::NotFound) => {
            return Ok(vec![blocker(
                "ca-not-retrievable",
                format!(
                    "the CA's key cannot be had from its source: {}",
                    error.message
                ),
            )]);
        }
        Err(error) => return Err(error.into()),
    };
    let certificate = match Certificate::from_pem(&pem) {
        Ok(certificate) => certificate,
        Err(error) => return unfit(format!("the CA's certificate cannot be read: {error}")),
    };
    let mut found = Vec::new();
    let now = look.ctx.now().0 / 1_000_000;
    if certificate.not_after_unix < now + LEAST_VALIDITY_SECONDS {
        found.push(blocker(
            "ca-expires",
            "the CA ends within a year; renew it first",
        ));
    }
    let secret = names::api_certificate_secret(&plan.id);
    let known = look
        .ports()
        .vintage_mc()
        .find_secret(&plan.namespace, &secret)
        .await?;
    let known = known
        .and_then(|secret| {
            Some(String::from_utf8_lossy(secret.data.get("ca")?.expose()).into_owned())
        })
        .and_then(|pem| Certificate::from_pem(&pem).ok());
    if known.is_none_or(|known| known.fingerprint != certificate.fingerprint) {
        found.push(blocker(
            "ca-differs",
            format!("the CA in Secret {secret} is not the one whose key can be had"),
        ));
    }
    let probe = look.ports().probe(&plan.id);
    match insist(look.ctx, || probe.served_ca(Via::OldName)).await? {
        Ok(served) if served == certificate.fingerprint => {}
        Ok(_) => found.push(blocker(
            "ca-differs",
            "the API serves a certificate of another CA than the one whose key can be had",
        )),
        Err(error) if error.kind == PortErrorKind::Unreachable => found.push(blocker(
            "old-name-silent",
            format!(
                "no handshake with {}: {}",
                plan.endpoints.old_api, error.message
            ),
        )),
        Err(error) => return Err(error.into()),
    }
    Ok(found)
}
