//! The outbound session: one stream to the coordinator, opened by the worker.

use std::{sync::Arc, time::Duration};

use drover_proto::v1::{self, worker_service_client::WorkerServiceClient};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status,
    transport::{Channel, Endpoint, Uri},
};

use crate::{spool::ObjectName, surroundings::Dial};

/// Frames that may wait for the transport.
const QUEUE: usize = 1024;

/// Frames with many offers are larger than tonic's default of 4 MiB.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// What a link says to the agent. `generation` tells an old link's last words from the new one's.
pub(crate) enum LinkEvent {
    /// The coordinator took the hello.
    Up {
        generation: u64,
        to: mpsc::Sender<v1::WorkerFrame>,
    },
    /// It said something.
    Frame {
        generation: u64,
        frame: Box<v1::CoordinatorFrame>,
    },
    /// The link is over, or never came up.
    Down { generation: u64, status: Status },
}

/// Opens a session and reports on it until it is over. Dropping the future closes the session.
pub(crate) async fn run(
    dial: Arc<dyn Dial>,
    coordinator: Uri,
    generation: u64,
    hello: v1::Hello,
    report: impl Fn(LinkEvent),
) {
    let status = match session(&*dial, coordinator, generation, hello, &report).await {
        Ok(()) => Status::unavailable("the coordinator ended the stream"),
        Err(status) => status,
    };
    report(LinkEvent::Down { generation, status });
}

/// Dials. Pings find a connection that is dead without saying so, although a beat is due; idle streams stay open.
async fn connect(
    dial: &dyn Dial,
    coordinator: Uri,
) -> Result<WorkerServiceClient<Channel>, Status> {
    let endpoint = Endpoint::from(coordinator)
        .connect_timeout(Duration::from_secs(10))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true);
    let channel = dial
        .dial(endpoint)
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(WorkerServiceClient::new(channel)
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX))
}

/// Fetches an object, over a connection of its own, and checks that it is what its name says.
pub(crate) async fn fetch(
    dial: &dyn Dial,
    coordinator: Uri,
    object: v1::ObjectRef,
) -> Result<Value, Status> {
    let mut client = connect(dial, coordinator).await?;
    let name = ObjectName {
        digest: object.digest.clone(),
        size: object.size,
    };
    let mut parts = client.read_object(object).await?.into_inner();
    let mut text = Vec::new();
    while let Some(part) = parts.message().await? {
        text.extend(part.data);
        if text.len() as u64 > name.size {
            break;
        }
    }
    let read = tokio::task::spawn_blocking(move || {
        if ObjectName::of(&text) != name {
            return Err(Status::data_loss("what came is not what its digest says"));
        }
        serde_json::from_slice(&text).map_err(|error| Status::data_loss(error.to_string()))
    });
    read.await
        .map_err(|_| Status::internal("reading what came panicked"))?
}

async fn session(
    dial: &dyn Dial,
    coordinator: Uri,
    generation: u64,
    hello: v1::Hello,
    report: &impl Fn(LinkEvent),
) -> Result<(), Status> {
    let mut client = connect(dial, coordinator).await?;
    let (to, frames) = mpsc::channel(QUEUE);
    let first = v1::WorkerFrame {
        hello: Some(hello),
        ..v1::WorkerFrame::default()
    };
    to.try_send(first)
        .map_err(|_| Status::internal("a new queue has room"))?;
    let mut stream = client
        .session(ReceiverStream::new(frames))
        .await?
        .into_inner();
    report(LinkEvent::Up { generation, to });
    while let Some(frame) = stream.message().await? {
        report(LinkEvent::Frame {
            generation,
            frame: Box::new(frame),
        });
    }
    Ok(())
}
