//! Talking to the coordinator.

use std::{env, time::Duration};

use drover_proto::v1::{
    admin_service_client::AdminServiceClient, definition_service_client::DefinitionServiceClient,
    fleet_service_client::FleetServiceClient, workflow_service_client::WorkflowServiceClient,
};
use tonic::{
    Request, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::failure::{Exit, Failure, Outcome};

/// Answers with a whole definition or a whole workflow are larger than tonic's default.
const ANSWER_BYTES_MAX: usize = 256 << 20;

type Named = InterceptedService<Channel, Name>;

/// Says who asks. Without a client certificate the coordinator stores it as unverified.
#[derive(Clone)]
pub(crate) struct Name(AsciiMetadataValue);

impl Interceptor for Name {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("drover-actor", self.0.clone());
        Ok(request)
    }
}

/// All services of one coordinator.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) workflows: WorkflowServiceClient<Named>,
    pub(crate) definitions: DefinitionServiceClient<Named>,
    pub(crate) fleet: FleetServiceClient<Named>,
    pub(crate) admin: AdminServiceClient<Named>,
}

/// `host:port` as a URL; what has a scheme stays as it is.
pub(crate) fn url(address: &str) -> String {
    if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    }
}

impl Client {
    /// Connects as the user.
    pub(crate) async fn connect(address: &str, timeout: Duration) -> Outcome<Self> {
        let user = env::var("DROVER_ACTOR")
            .or_else(|_| env::var("USER"))
            .unwrap_or_else(|_| "unknown".to_owned());
        Self::connect_as(&user, address, timeout).await
    }

    /// Connects under a name.
    pub(crate) async fn connect_as(user: &str, address: &str, timeout: Duration) -> Outcome<Self> {
        let endpoint = Endpoint::try_from(url(address))
            .map_err(|error| Failure::usage(format!("{address:?} is no address: {error}")))?
            .connect_timeout(timeout.min(Duration::from_secs(10)))
            .tcp_nodelay(true);
        let channel = endpoint.connect().await.map_err(|_| {
            Failure::new(
                Exit::Unreachable,
                format!("nobody answers at {address}: is the coordinator running? (`drover dev` starts one here)"),
            )
        })?;
        let plain: String = user.chars().filter(|c| c.is_ascii_graphic()).collect();
        let name = Name(
            plain
                .parse()
                .unwrap_or_else(|_| AsciiMetadataValue::from_static("unknown")),
        );
        Ok(Self {
            workflows: WorkflowServiceClient::with_interceptor(channel.clone(), name.clone())
                .max_decoding_message_size(ANSWER_BYTES_MAX),
            definitions: DefinitionServiceClient::with_interceptor(channel.clone(), name.clone())
                .max_decoding_message_size(ANSWER_BYTES_MAX),
            fleet: FleetServiceClient::with_interceptor(channel.clone(), name.clone())
                .max_decoding_message_size(ANSWER_BYTES_MAX),
            admin: AdminServiceClient::with_interceptor(channel, name),
        })
    }
}

/// A request that must be answered within a time.
pub(crate) fn within<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}
