//! The API as its customer sees it: over a new connection, for a kept one says nothing about what new clients get.

use std::time::Duration;

use drover_ports::{PortError, PortErrorKind, ProbeResult};
use tokio::time::timeout;

use crate::{
    asked::Asked,
    connection::{Connection, Request},
    error::shortened,
};

/// For both requests together. Customers' clients are more patient, but a healthy API takes milliseconds.
const LIMIT: Duration = Duration::from_secs(3);

/// `GET /readyz`, and a read that goes to etcd: a single object without a resource version is never served from the API
/// server's cache.
///
/// # Errors
/// Only `ExpiredCredentials` and `Invalid`, which say something about us and not about the API.
pub(crate) async fn api(config: kube::Config, asked: Asked<'_>) -> Result<ProbeResult, PortError> {
    let fresh = Connection::new(config, asked)?;
    match timeout(LIMIT, look(&fresh, asked)).await {
        Ok(Ok(())) => Ok(ProbeResult {
            ok: true,
            detail: "readyz and a read succeeded".to_owned(),
        }),
        Ok(Err(error)) if is_about_us(&error) => Err(error),
        Ok(Err(error)) => Ok(failed(&error.message)),
        Err(_) => Ok(failed(&format!("no answer within {} s", LIMIT.as_secs()))),
    }
}

/// A finding that is none of success.
pub(crate) fn failed(why: &str) -> ProbeResult {
    ProbeResult {
        ok: false,
        detail: shortened(why),
    }
}

async fn look(to: &Connection, asked: Asked<'_>) -> Result<(), PortError> {
    let ready = to.send(Request::get("/readyz".to_owned()), asked).await?;
    if !ready.code().is_success() {
        let why = format!(
            "readyz: {} {}",
            ready.code().as_u16(),
            unready(&ready.text())
        );
        return Err(asked.error(PortErrorKind::Unavailable, why));
    }
    if ready.text().trim() != "ok" {
        let why = format!("readyz: {}", ready.text());
        return Err(asked.error(PortErrorKind::Unavailable, why));
    }
    let read = Request::get("/api/v1/namespaces/default".to_owned());
    to.send(read, asked).await?.success(asked).map(drop)
}

fn is_about_us(error: &PortError) -> bool {
    matches!(
        error.kind,
        PortErrorKind::ExpiredCredentials | PortErrorKind::Invalid
    )
}

/// The lines that say what is not ready: "[-]etcd failed: reason withheld".
fn unready(text: &str) -> String {
    let failed: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("[-]"))
        .collect();
    match failed.is_empty() {
        true => text.to_owned(),
        false => failed.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_failed_is_told() {
        let text =
            "[+]ping ok\n[-]etcd failed: reason withheld\n[+]shutdown ok\nreadyz check failed\n";
        assert_eq!(unready(text), "[-]etcd failed: reason withheld");
        assert_eq!(unready("starting"), "starting");
    }
}
