//! One API server, or whatever stands behind one address: requests go in, answers come out.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use bytes::Bytes;
use drover_ports::{Gvk, PortError};
use http::{
    Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER},
};
use kube::client::Body;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::{asked::Asked, error, kinds::Kind};

/// TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One request, connecting included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// One request.
pub(crate) struct Request {
    /// GET, POST, PATCH or DELETE.
    pub(crate) method: Method,
    /// With the query, if any.
    pub(crate) path: String,
    /// Of the body.
    pub(crate) content_type: &'static str,
    /// Wiped once it has been sent.
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Request {
    /// A look.
    pub(crate) fn get(path: String) -> Self {
        Self {
            method: Method::GET,
            path,
            content_type: "application/json",
            body: Zeroizing::default(),
        }
    }
}

/// One answer.
pub(crate) struct Answer {
    code: StatusCode,
    retry_after: Option<Duration>,
    body: Zeroizing<Vec<u8>>,
}

/// Clients of one address, with what has been learnt about its kinds. Must be made within a runtime.
pub(crate) struct Connection {
    client: kube::Client,
    kinds: Mutex<HashMap<Gvk, Kind>>,
}

impl Connection {
    /// Does not connect yet.
    ///
    /// # Errors
    /// `Invalid` when the credentials are none.
    pub(crate) fn new(mut config: kube::Config, asked: Asked<'_>) -> Result<Self, PortError> {
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // Requests have a limit of their own here; this one would also end idle tunnels.
        config.read_timeout = None;
        config.write_timeout = Some(REQUEST_TIMEOUT);
        config.default_retry = false;
        let client = kube::Client::try_from(config).map_err(|error| {
            // Not its text: it may quote what it stumbled over.
            let what = match error {
                kube::Error::RustlsTls(_) => "certificates or key",
                kube::Error::Auth(_) => "credentials",
                _ => "settings",
            };
            asked.invalid(format!("the kubeconfig's {what} cannot be used"))
        })?;
        Ok(Self {
            client,
            kinds: Mutex::default(),
        })
    }

    /// For what is no plain request.
    pub(crate) fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Kinds that the API is known to serve.
    pub(crate) fn kinds(&self) -> &Mutex<HashMap<Gvk, Kind>> {
        &self.kinds
    }

    /// Sends a request and reads the whole answer. Not cancel-safe: a dropped mutation may or may not have happened.
    ///
    /// # Errors
    /// Only when there is no answer.
    pub(crate) async fn send(
        &self,
        request: Request,
        asked: Asked<'_>,
    ) -> Result<Answer, PortError> {
        let body = match request.body.is_empty() {
            true => Body::empty(),
            false => Body::from(Bytes::from_owner(request.body)),
        };
        let request = http::Request::builder()
            .method(request.method)
            .uri(request.path)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, request.content_type)
            .body(body)
            .map_err(|_| asked.invalid("a name in the request has no place in a path"))?;
        let exchange = async {
            let response = self.client.send(request).await?;
            let code = response.status();
            let retry_after = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.parse().ok())
                .map(Duration::from_secs);
            let body = response.into_body().collect_bytes().await?;
            Ok(Answer {
                code,
                retry_after,
                body: Zeroizing::new(Vec::from(body)),
            })
        };
        match timeout(REQUEST_TIMEOUT, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(error::of_client(asked, &error)),
            Err(_) => Err(error::of_silence(asked, REQUEST_TIMEOUT)),
        }
    }

    /// Sends a request and reads what it answers with, a `what`.
    ///
    /// # Errors
    /// As the table in [`error`].
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        request: Request,
        asked: Asked<'_>,
        what: &str,
    ) -> Result<T, PortError> {
        let answer = self.send(request, asked).await?.success(asked)?;
        // The parser's error may quote the answer.
        serde_json::from_slice(&answer.body).map_err(|_| error::of_garble(asked, what))
    }
}

impl Answer {
    /// The same, if it is a success.
    pub(crate) fn success(self, asked: Asked<'_>) -> Result<Self, PortError> {
        if self.code.is_success() {
            return Ok(self);
        }
        Err(error::of_answer(
            asked,
            self.code,
            self.retry_after,
            &self.body,
        ))
    }

    /// HTTP status.
    pub(crate) fn code(&self) -> StatusCode {
        self.code
    }

    /// As text, whatever it is.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
