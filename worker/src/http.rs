//! Probes and metrics, for the installation's own eyes.

use std::{io, net::SocketAddr};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;

/// Serves `/metrics`, `/healthz` and `/readyz` as long as the process lives.
pub(crate) async fn serve(address: SocketAddr, metrics: Metrics) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let router = Router::new()
        .route(
            "/metrics",
            get(|State(metrics): State<Metrics>| async move { metrics.text() }),
        )
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(metrics);
    TaskTracker::new().spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!("the probes stopped: {error}");
        }
    });
    Ok(bound)
}

async fn ready(State(metrics): State<Metrics>) -> (StatusCode, &'static str) {
    if metrics.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "no session, or its beats are not answered\n",
        )
    }
}
