//! A far side that answers what a test says, and remembers what it was asked.

use std::sync::{Arc, Mutex};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse};
use drover_adapter_aws::{AwsAdapter, AwsConfig};
use tokio::net::TcpListener;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// Answers a request, a form as AWS's query protocols send it.
pub(crate) type Answer = fn(&str) -> (u16, String);

#[derive(Clone)]
struct Seen {
    answer: Answer,
    requests: Arc<Mutex<Vec<String>>>,
}

/// The far side, while a test holds it.
pub(crate) struct Far {
    requests: Arc<Mutex<Vec<String>>>,
    _serving: TaskTrackerToken,
}

impl Far {
    /// What it was asked so far, without the version.
    pub(crate) fn requests(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .map(|request| {
                let parts: Vec<&str> = request
                    .split('&')
                    .filter(|part| !part.starts_with("Version="))
                    .collect();
                parts.join("&")
            })
            .collect()
    }
}

async fn serve(State(seen): State<Seen>, body: String) -> impl IntoResponse {
    let (status, answer) = (seen.answer)(&body);
    seen.requests.lock().unwrap().push(body);
    (StatusCode::from_u16(status).unwrap(), answer)
}

/// An adapter that speaks to `address`.
pub(crate) async fn adapter_of(address: String) -> AwsAdapter {
    let config = AwsConfig {
        region: "eu-central-1".to_owned(),
        endpoint_url: Some(address),
    };
    let credentials = Credentials::new("test", "test", None, None, "test");
    AwsAdapter::with_credentials(config, SharedCredentialsProvider::new(credentials)).await
}

/// A far side, and an adapter that speaks to it.
pub(crate) async fn far(answer: Answer) -> (Far, AwsAdapter) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Seen {
        answer,
        requests: Arc::clone(&requests),
    };
    let router = Router::new().fallback(serve).with_state(seen);
    let tracker = TaskTracker::new();
    tracker.spawn(async move { axum::serve(listener, router).await });
    let far = Far {
        requests,
        _serving: tracker.token(),
    };
    (far, adapter_of(address).await)
}

/// An error as EC2 sends it.
pub(crate) fn ec2_error(status: u16, code: &str) -> (u16, String) {
    let body = format!(
        "<Response><Errors><Error><Code>{code}</Code><Message>about {code}</Message></Error></Errors>\
         <RequestID>r</RequestID></Response>"
    );
    (status, body)
}

/// An error as the other services send it.
pub(crate) fn query_error(status: u16, code: &str, message: &str) -> (u16, String) {
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
         <RequestId>r</RequestId></ErrorResponse>"
    );
    (status, body)
}
