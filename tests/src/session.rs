//! A worker's side of the protocol by hand, for builds that are older, newer or stranger than ours.

use std::net::SocketAddr;

use drover_proto::v1::{self, worker_service_client::WorkerServiceClient};
use drover_worker::{config::default_credits, kinds};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::toy;

/// A session that is up.
pub struct Session {
    to: mpsc::Sender<v1::WorkerFrame>,
    from: Streaming<v1::CoordinatorFrame>,
    /// What it was welcomed with.
    pub welcome: v1::Welcome,
}

/// The hello of a worker of `golem` that serves every toy kind and speaks the protocol's first version only.
pub fn hello(worker: &str) -> v1::Hello {
    v1::Hello {
        installation: "golem".to_owned(),
        pool: "default".to_owned(),
        worker: worker.to_owned(),
        incarnation: format!("incarnation-of-{worker}"),
        spool: format!("spool-of-{worker}"),
        spool_counter: 1,
        protocol_min: 1,
        protocol_max: 1,
        build: "by hand".to_owned(),
        kinds: kinds::declarations(&toy::registry()),
        reach: vec!["aws".to_owned()],
        credits: Some(v1::Credits {
            by_class: default_credits().into_iter().collect(),
        }),
        stream_generation: 1,
        ..v1::Hello::default()
    }
}

impl Session {
    /// Says hello and waits for the welcome.
    pub async fn open(coordinator: SocketAddr, hello: v1::Hello) -> Result<Self, Status> {
        let mut client = WorkerServiceClient::connect(format!("http://{coordinator}"))
            .await
            .unwrap();
        let (to, frames) = mpsc::channel(64);
        let first = v1::WorkerFrame {
            hello: Some(hello),
            ..v1::WorkerFrame::default()
        };
        to.send(first).await.unwrap();
        let mut from = client
            .session(ReceiverStream::new(frames))
            .await?
            .into_inner();
        let welcome = from.message().await?.unwrap().welcome.unwrap();
        Ok(Self { to, from, welcome })
    }

    /// Says something.
    pub async fn say(&self, frame: v1::WorkerFrame) {
        self.to.send(frame).await.unwrap();
    }

    /// What the coordinator says next; nothing once the stream has ended.
    pub async fn hear(&mut self) -> Result<Option<v1::CoordinatorFrame>, Status> {
        self.from.message().await
    }

    /// Sends a part of an object and waits for the reply.
    pub async fn upload(&mut self, part: v1::UploadPart) -> v1::UploadReply {
        self.say(v1::WorkerFrame {
            upload_parts: vec![part],
            ..v1::WorkerFrame::default()
        })
        .await;
        loop {
            let frame = self.hear().await.unwrap().expect("the stream is up");
            if let Some(reply) = frame.upload_replies.into_iter().next() {
                return reply;
            }
        }
    }
}
