//! Calls of the query protocol without an SDK: IAM's three are not worth one.

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, header};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use super::sdk::ACCESS_KEY;

/// Makes one call, and gives the answer's document. The signature has the right scope and is no signature: moto reads the
/// scope only.
pub(super) async fn call(
    endpoint: &str,
    region: &str,
    (service, version): (&str, &str),
    action: &str,
    parameters: &[(&str, &str)],
) -> anyhow::Result<String> {
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.append_pair("Action", action)
        .append_pair("Version", version)
        .extend_pairs(parameters);
    let scope = format!("{ACCESS_KEY}/20200101/{region}/{service}/aws4_request");
    let request = Request::post(endpoint)
        .header(
            header::AUTHORIZATION,
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
        )
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(body.finish())))?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client
        .request(request)
        .await
        .with_context(|| format!("{action} got no answer"))?;
    let status = answer.status();
    let document = answer.into_body().collect().await?.to_bytes();
    let document = String::from_utf8_lossy(&document).into_owned();
    anyhow::ensure!(status.is_success(), "{action}: {status}: {document}");
    Ok(document)
}
