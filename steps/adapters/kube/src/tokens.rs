//! Tokens of ServiceAccounts: issued and judged by the API, kept by nobody.

use drover_ports::{Gvk, PortError, SecretBytes};
use http::Method;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    asked::Asked,
    connection::{Connection, Request},
    kinds::Kind,
    paths,
};

/// The shortest life that the API grants, seconds. Tokens are for one comparison.
const LIFE: u32 = 600;

#[derive(Deserialize)]
struct Reply<S> {
    status: S,
}

#[derive(Deserialize)]
struct Issued {
    token: String,
}

#[derive(Deserialize)]
struct Judged {
    #[serde(default)]
    authenticated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'t> {
    api_version: &'static str,
    kind: &'static str,
    spec: ReviewSpec<'t>,
}

#[derive(Serialize)]
struct ReviewSpec<'t> {
    token: &'t str,
}

/// A fresh token of a ServiceAccount, for the API itself.
///
/// # Errors
/// `NotFound` when there is no such account.
pub(crate) async fn request(
    to: &Connection,
    namespace: &str,
    service_account: &str,
    asked: Asked<'_>,
) -> Result<SecretBytes, PortError> {
    let gvk = Gvk::new("", "v1", "ServiceAccount");
    let kind = Kind::new("serviceaccounts", true);
    let account = paths::object(&gvk, &kind, namespace, service_account, asked)?;
    let body = serde_json::json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": LIFE},
    });
    let request = Request {
        method: Method::POST,
        path: format!("{account}/token"),
        content_type: "application/json",
        body: Zeroizing::new(body.to_string().into_bytes()),
    };
    let reply: Reply<Issued> = to.ask(request, asked, "TokenRequest").await?;
    Ok(SecretBytes::new(reply.status.token.into_bytes()))
}

/// Whether a token authenticates.
///
/// # Errors
/// `Invalid` when it is no text.
pub(crate) async fn review(
    to: &Connection,
    token: &SecretBytes,
    asked: Asked<'_>,
) -> Result<bool, PortError> {
    let token =
        std::str::from_utf8(token.expose()).map_err(|_| asked.invalid("the token is no text"))?;
    let review = Review {
        api_version: "authentication.k8s.io/v1",
        kind: "TokenReview",
        spec: ReviewSpec { token },
    };
    let mut body = Zeroizing::new(Vec::with_capacity(token.len() + 256));
    serde_json::to_writer(&mut *body, &review).expect("text");
    let request = Request {
        method: Method::POST,
        path: "/apis/authentication.k8s.io/v1/tokenreviews".to_owned(),
        content_type: "application/json",
        body,
    };
    let reply: Reply<Judged> = to.ask(request, asked, "TokenReview").await?;
    Ok(reply.status.authenticated)
}
