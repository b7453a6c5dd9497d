//! The outbound session: one stream to the coordinator, opened by the worker.

use std::{sync::Arc, time::Duration};

use drover_proto::v1::{self, worker_service_client::WorkerServiceClient};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status,
    transport::{Endpoint, Uri},
};

use crate::surroundings::Dial;

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

async fn session(
    dial: &dyn Dial,
    coordinator: Uri,
    generation: u64,
    hello: v1::Hello,
    report: &impl Fn(LinkEvent),
) -> Result<(), Status> {
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
    let mut client = WorkerServiceClient::new(channel)
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
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
