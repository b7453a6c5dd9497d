//! The null engine: the limit of this machine.
//!
//! It speaks the same services on the same library, exchanges the same messages, and appends as many bytes in as many
//! records for each through the same store, in batches drained by one thread, answering once they are durable. It decides
//! nothing, checks nothing, keeps no state but the ends of its streams, and does not chain its records: what the real
//! coordinator needs beyond it is the price of being an engine.

mod engine;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, thread};

use anyhow::Context as _;
use axum::{
    extract::{Request as HttpRequest, State},
    routing::{get, post},
};
use clap::Args;
use drover_coordinator::store::sled::SledStore;
use drover_proto::v1::{self, worker_service_server::WorkerServiceServer};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{
    Request, Response, Status, Streaming,
    server::{Grpc, UnaryService},
    service::Routes,
    transport::server::TcpIncoming,
};
use tonic_prost::ProstCodec;

use self::engine::{Counters, Engine, Input};
use crate::{
    server::child::{Ready, stdin_closed},
    shape::Shape,
};

/// Inputs that may wait for the engine, as in the real coordinator.
const QUEUE: usize = 8192;

/// Frames that may wait for the transport.
const FRAMES: usize = 1024;

/// How the null engine is started.
#[derive(Debug, Args)]
pub(crate) struct NullArgs {
    /// Folder of the store
    #[arg(long)]
    data: PathBuf,
    /// Address of the services
    #[arg(long)]
    listen: SocketAddr,
    /// What to imitate
    #[arg(long)]
    shape: PathBuf,
}

/// Serves until stdin is closed.
pub(crate) async fn serve(args: NullArgs) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen).await?;
    let listen = listener.local_addr()?;
    let shape = Shape::load(&args.shape)?;
    let templates = shape.templates()?;
    let store = SledStore::open(&args.data)?;
    let (inputs, queue) = mpsc::channel(QUEUE);
    let counters = Arc::new(Counters::default());
    let engine = Engine::new(store, shape, templates, Arc::clone(&counters));
    thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || engine.run(queue))?;
    let service = Service {
        inputs,
        tasks: TaskTracker::new(),
    };
    let start = |State(service): State<Service>, request: HttpRequest| async move {
        Grpc::new(ProstCodec::default())
            .unary(Start(service), request)
            .await
            .map(axum::body::Body::new)
    };
    let router = Routes::new(WorkerServiceServer::new(service.clone()))
        .into_axum_router()
        .route(
            "/drover.v1.WorkflowService/StartWorkflow",
            post(start).with_state(service),
        )
        .route("/metrics", get(|| async move { counters.text() }));
    let served = tonic::transport::Server::builder()
        // The metrics are asked for in HTTP/1.
        .accept_http1(true)
        .add_routes(Routes::from(router))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    Ready {
        listen,
        http: listen,
    }
    .say();
    // Both arms end the process.
    tokio::select! {
        served = served => served.context("the port"),
        () = stdin_closed() => Ok(()),
    }
}

#[derive(Clone)]
struct Service {
    inputs: mpsc::Sender<Input>,
    tasks: TaskTracker,
}

fn gone<T>(_: T) -> Status {
    Status::unavailable("the null engine has ended")
}

#[tonic::async_trait]
impl v1::worker_service_server::WorkerService for Service {
    type SessionStream = ReceiverStream<Result<v1::CoordinatorFrame, Status>>;
    type ReadObjectStream = ReceiverStream<Result<v1::ObjectPart, Status>>;

    async fn read_object(
        &self,
        _: Request<v1::ObjectRef>,
    ) -> Result<Response<Self::ReadObjectStream>, Status> {
        Err(Status::unimplemented("the null engine has no objects"))
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::WorkerFrame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut frames = request.into_inner();
        let (to, stream) = mpsc::channel(FRAMES);
        let first = frames.message().await?.unwrap_or_default();
        let hello = first
            .hello
            .ok_or_else(|| Status::invalid_argument("no hello"))?;
        self.inputs
            .send(Input::Hello {
                held: hello.held,
                to,
            })
            .await
            .map_err(gone)?;
        let inputs = self.inputs.clone();
        self.tasks.spawn(async move {
            while let Ok(Some(frame)) = frames.message().await {
                if inputs.send(Input::Frame(Box::new(frame))).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// The one call of the operator that a run makes again and again.
struct Start(Service);

impl UnaryService<v1::StartWorkflowRequest> for Start {
    type Response = v1::StartWorkflowResponse;
    type Future = std::pin::Pin<
        Box<dyn Future<Output = Result<Response<v1::StartWorkflowResponse>, Status>> + Send>,
    >;

    fn call(&mut self, request: Request<v1::StartWorkflowRequest>) -> Self::Future {
        let inputs = self.0.inputs.clone();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let id = request.into_inner().id;
            inputs
                .send(Input::Start { id, answer })
                .await
                .map_err(gone)?;
            answered.await.map(Response::new).map_err(gone)
        })
    }
}
