//! The world as a process of its own: `world.v1` over a listener. Only `drover dev` and tests speak it, on loopback.

use std::{future::Future, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use drover_model::VintageCluster;
use drover_ports::{Call, Caller, PortError, Reply};
use drover_proto::world::{
    AddClustersRequest, AddClustersResponse, CallRequest, CallResponse, ClockTick, Document,
    GetNormalizedRequest, GetReportRequest, LedgerLines, ReadLedgerRequest, Report,
    WatchClockRequest,
    world_service_server::{WorldService, WorldServiceServer},
};
use drover_step_api::{Stamp, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::{Stream, StreamExt as _, wrappers::WatchStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    Response, Status,
    transport::{Server, server::TcpIncoming},
};

use crate::{
    Genesis, Request, World, WorldError,
    durable::{DurableWorld, Tick},
};

/// Real time between two looks of the world at itself.
const TICK: Duration = Duration::from_millis(10);

/// Looks between two ticks to everybody else. Their clocks go on by themselves up to what is durable, and a fleet has many
/// listeners; what is durable is told at once.
const TICKS_UNTOLD: u32 = 5;

/// Messages may carry the whole world.
const MESSAGE_LIMIT: usize = 256 << 20;

/// Ledger entries a message.
const LEDGER_CHUNK: usize = 500;

/// How a world is served.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Domain seconds a real second; more than zero.
    pub speed: f64,
    /// Where the journal lies; `None` keeps the world in memory.
    pub data: Option<PathBuf>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            speed: 1.0,
            data: None,
        }
    }
}

/// Who calls, as it travels: the port's caller, and which generation of AWS credentials it holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireCaller {
    #[serde(flatten)]
    pub(crate) caller: Caller,
    #[serde(default)]
    pub(crate) credentials: u64,
}

/// Serves a world until `shutdown`. A folder with a journal in it goes on where it stopped, and `genesis` is not asked.
///
/// # Errors
/// When the journal cannot be opened or written, or the listener fails.
pub async fn serve(
    listener: TcpListener,
    genesis: impl FnOnce() -> Result<Genesis, WorldError>,
    options: ServeOptions,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), WorldError> {
    let ServeOptions { speed, data } = options;
    let world = match data {
        Some(folder) => DurableWorld::open(&folder, genesis, speed)?,
        None => DurableWorld::in_memory(World::from_genesis(&genesis()?)?, speed),
    };
    let world = Arc::new(world);
    world
        .extend_clock()
        .await
        .map_err(WorldError::Unreachable)?;
    let (ticks, watch) = watch::channel(world.tick());
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    tasks.spawn(stop.clone().run_until_cancelled_owned(keep_time(
        Arc::clone(&world),
        ticks,
        stop.clone(),
    )));
    let service = WorldServiceServer::new(Service {
        world,
        ticks: watch,
        stop: stop.clone(),
    })
    .max_decoding_message_size(MESSAGE_LIMIT)
    .max_encoding_message_size(MESSAGE_LIMIT);
    let failed = stop.clone();
    let result = Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(
            // Calls are small and wait for each other: nothing is gathered before it is sent.
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            async move {
                // Both only wait. Open clock streams would keep the server alive, so they end with the token too.
                tokio::select! {
                    () = shutdown => {}
                    () = failed.cancelled() => {}
                }
                failed.cancel();
            },
        )
        .await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    result.map_err(|error| WorldError::Unreachable(error.to_string()))
}

/// Advances the world, keeps the clock durable, tells everybody the time. A journal that cannot be written stops the
/// server: what is not durable must not be answered.
async fn keep_time(world: Arc<DurableWorld>, ticks: watch::Sender<Tick>, stop: CancellationToken) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut untold = 0;
    loop {
        interval.tick().await;
        if let Err(why) = world.extend_clock().await {
            tracing::error!(why, "the simulated world stops");
            stop.cancel();
            return;
        }
        world.advance();
        untold += 1;
        let tick = world.tick();
        if untold >= TICKS_UNTOLD || tick.durable_until > ticks.borrow().durable_until {
            untold = 0;
            ticks.send_replace(tick);
        }
    }
}

struct Service {
    world: Arc<DurableWorld>,
    ticks: watch::Receiver<Tick>,
    stop: CancellationToken,
}

type Streaming<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl WorldService for Service {
    async fn call(
        &self,
        request: tonic::Request<CallRequest>,
    ) -> Result<Response<CallResponse>, Status> {
        let message = request.into_inner();
        let WireCaller {
            caller,
            credentials,
        } = parse("caller", &message.caller)?;
        let call: Call = parse("call", &message.call)?;
        let stamp: Option<Stamp> = if message.stamp.is_empty() {
            None
        } else {
            Some(parse("stamp", &message.stamp)?)
        };
        if call.mutates() != stamp.is_some() {
            return Err(Status::invalid_argument(
                "a mutation needs a stamp, and a read has none",
            ));
        }
        let request = Request {
            caller,
            credentials,
            call,
            stamp,
        };
        let outcome: Result<Reply, PortError> = self.world.call(request).await;
        Ok(Response::new(CallResponse {
            outcome: json(&outcome)?,
        }))
    }

    type WatchClockStream = Streaming<ClockTick>;

    async fn watch_clock(
        &self,
        _: tonic::Request<WatchClockRequest>,
    ) -> Result<Response<Self::WatchClockStream>, Status> {
        let ticks = WatchStream::new(self.ticks.clone()).map(|tick| {
            Ok(ClockTick {
                now: Some(proto_time(tick.now)),
                durable_until: Some(proto_time(tick.durable_until)),
                speed: tick.speed,
            })
        });
        let ended = self.stop.clone().cancelled_owned();
        let ticks = futures_util::StreamExt::take_until(ticks, ended);
        Ok(Response::new(Box::pin(ticks)))
    }

    async fn get_report(
        &self,
        _: tonic::Request<GetReportRequest>,
    ) -> Result<Response<Report>, Status> {
        let report = self.world.look(World::report);
        Ok(Response::new(Report {
            json: json(&report)?,
        }))
    }

    type ReadLedgerStream = Streaming<LedgerLines>;

    async fn read_ledger(
        &self,
        request: tonic::Request<ReadLedgerRequest>,
    ) -> Result<Response<Self::ReadLedgerStream>, Status> {
        let from = request.into_inner().from;
        let entries = self.world.look(|world| {
            let from = usize::try_from(from)
                .unwrap_or(usize::MAX)
                .min(world.ledger.len());
            world.ledger[from..].to_vec()
        });
        let chunks: Vec<_> = entries
            .chunks(LEDGER_CHUNK)
            .map(|chunk| {
                let mut lines = Vec::new();
                for entry in chunk {
                    lines.extend(json(&**entry)?);
                    lines.push(b'\n');
                }
                Ok(LedgerLines { lines })
            })
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }

    async fn get_normalized(
        &self,
        _: tonic::Request<GetNormalizedRequest>,
    ) -> Result<Response<Document>, Status> {
        let normalized = self.world.look(World::normalized);
        Ok(Response::new(Document {
            json: json(&normalized)?,
        }))
    }

    async fn add_clusters(
        &self,
        request: tonic::Request<AddClustersRequest>,
    ) -> Result<Response<AddClustersResponse>, Status> {
        let documents = request.into_inner().documents;
        let named: Vec<(String, String)> = documents
            .into_iter()
            .enumerate()
            .map(|(n, text)| (format!("document {}", n + 1), text))
            .collect();
        let files: Vec<(&str, &str)> = named
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        let clusters = VintageCluster::read(&files)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let clusters = self
            .world
            .add(&clusters)
            .await
            .map_err(|error| match error {
                WorldError::Twice(_) => Status::already_exists(error.to_string()),
                WorldError::Unreachable(_) => Status::unavailable(error.to_string()),
                error => Status::invalid_argument(error.to_string()),
            })?;
        Ok(Response::new(AddClustersResponse { clusters }))
    }
}

fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Status> {
    serde_json::from_slice(bytes)
        .map_err(|error| Status::invalid_argument(format!("{what}: {error}")))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Status> {
    serde_json::to_vec(value).map_err(|error| Status::internal(error.to_string()))
}

fn proto_time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.0.div_euclid(1_000_000),
        nanos: i32::try_from(at.0.rem_euclid(1_000_000) * 1000).unwrap_or(0),
    }
}
