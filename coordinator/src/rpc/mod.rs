//! The wire: thin services that convert, hand an input to the engine, and convert back. A client that hangs up can tear
//! no state: the engine finishes what it was handed.

mod admin;
mod definition;
mod fleet;
mod from_wire;
#[cfg(test)]
mod fuzz;
mod list;
mod objects;
mod session;
mod status;
mod to_wire;
mod workflow;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use drover_core::{
    ids::{Actor, Id, Marker},
    workflow::INPUT_BYTES_MAX,
};
use drover_proto::v1::{
    admin_service_server::AdminServiceServer, definition_service_server::DefinitionServiceServer,
    fleet_service_server::FleetServiceServer, worker_service_server::WorkerServiceServer,
    workflow_service_server::WorkflowServiceServer,
};
use tokio_util::task::TaskTracker;
use tonic::{Request, service::Routes};

use crate::{
    objects::Objects,
    refusal::{Kind, Refusal},
    supervise::Handle,
};

/// Frames with many offers are larger than tonic's default of 4 MiB.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// Room around the largest input for the rest of a request.
const REQUEST_BYTES_MAX: usize = INPUT_BYTES_MAX + (1 << 20);

/// The key with which audit heads are signed.
pub type SigningKey = Arc<ed25519_dalek::SigningKey>;

/// What all services share.
#[derive(Clone)]
pub struct Shared {
    /// The engine.
    pub engine: Handle,
    /// Tasks that shutdown waits for.
    pub tasks: TaskTracker,
    /// Signs audit heads, when configured.
    pub signing_key: Option<SigningKey>,
    /// Where uploads are kept while they are checked.
    pub uploads: PathBuf,
    /// How the continuous backup is, when there is one.
    pub backup: Option<Arc<crate::backup::Status>>,
    /// Large outputs.
    pub objects: Arc<Objects>,
}

/// Every service of the one gRPC port.
pub async fn routes(shared: Shared) -> Result<Routes, tonic_reflection::server::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(drover_proto::DESCRIPTORS)
        .build_v1()?;
    health
        .set_serving::<WorkflowServiceServer<workflow::Service>>()
        .await;
    health
        .set_serving::<DefinitionServiceServer<definition::Service>>()
        .await;
    health
        .set_serving::<FleetServiceServer<fleet::Service>>()
        .await;
    health
        .set_serving::<AdminServiceServer<admin::Service>>()
        .await;
    health
        .set_serving::<WorkerServiceServer<session::Service>>()
        .await;
    let mut routes = Routes::builder();
    routes
        .add_service(health_service)
        .add_service(reflection)
        .add_service(
            WorkflowServiceServer::new(workflow::Service(shared.clone()))
                .max_decoding_message_size(REQUEST_BYTES_MAX),
        )
        .add_service(DefinitionServiceServer::new(definition::Service(
            shared.clone(),
        )))
        .add_service(FleetServiceServer::new(fleet::Service(shared.clone())))
        .add_service(AdminServiceServer::new(admin::Service(shared.clone())))
        .add_service(
            WorkerServiceServer::new(session::Service::new(shared))
                .max_decoding_message_size(FRAME_BYTES_MAX)
                .max_encoding_message_size(FRAME_BYTES_MAX),
        );
    Ok(routes.routes())
}

/// The longest name that somebody may give themselves.
const NAME_CHARS_MAX: usize = 64;

/// Who asks. On a loopback connection without a client certificate the client names itself and the name is stored as
/// unverified; there are no other connections yet.
fn actor<T>(request: &Request<T>) -> Actor {
    let name = request
        .metadata()
        .get("drover-actor")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("unknown");
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-_.@".contains(*c);
    let name: String = name.chars().filter(is_plain).take(NAME_CHARS_MAX).collect();
    Actor(Arc::from(format!(
        "unverified:{}",
        if name.is_empty() { "unknown" } else { &name }
    )))
}

/// Reads an id of a request.
fn id<K: Marker>(what: &str, text: &str) -> Result<Id<K>, Refusal> {
    Id::new(text).map_err(|error| Refusal::new(Kind::Invalid, "bad-id", format!("{what}: {error}")))
}

/// True when a server may listen here without client certificates.
#[must_use]
pub fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().is_loopback()
}
