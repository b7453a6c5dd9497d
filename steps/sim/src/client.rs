//! A world in another process: its door and its clock over gRPC.
//!
//! While that process is away, calls are refused as unreachable or lost, the clock stands still, and both come back by
//! themselves.

use std::{
    error::Error,
    io,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use drover_ports::{Call, Caller, Door, PortError, PortErrorKind, Reply};
use drover_proto::world::{
    AddClustersRequest, CallRequest, ClockTick, GetNormalizedRequest, GetReportRequest,
    ReadLedgerRequest, WatchClockRequest, world_service_client::WorldServiceClient,
};
use drover_step_api::{Clock, Stamp, Timestamp};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, sync::DropGuard, task::TaskTracker};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use crate::{LedgerEntry, Report, WorldError, server::WireCaller};

const MESSAGE_LIMIT: usize = 256 << 20;
/// Real time between two attempts to reach a world that is away.
const RECONNECT: Duration = Duration::from_millis(50);
/// A sleeper looks at the clock at least this often, in real time.
const LOOK: Duration = Duration::from_millis(100);

/// A connection to a world in another process. Clones share it.
#[derive(Clone, Debug)]
pub struct WorldClient {
    service: WorldServiceClient<Channel>,
    clock: WorldClock,
}

impl WorldClient {
    /// Connects to `http://HOST:PORT` and waits until the world has told the time, for at most `patience`.
    ///
    /// # Errors
    /// When the address is none, or the world does not answer in time.
    pub async fn connect(address: &str, patience: Duration) -> Result<Self, WorldError> {
        let endpoint = Endpoint::from_shared(address.to_owned())
            .map_err(|error| WorldError::Unreachable(error.to_string()))?
            .connect_timeout(Duration::from_secs(2))
            .tcp_nodelay(true);
        let service = WorldServiceClient::new(endpoint.connect_lazy())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT);
        let clock = WorldClock::follow(service.clone());
        tokio::time::timeout(patience, clock.started())
            .await
            .map_err(|_| WorldError::Unreachable(format!("nothing answers at {address}")))?;
        Ok(Self { service, clock })
    }

    /// Its way in. Each door has AWS credentials of its own.
    pub fn door(&self) -> WorldDoor {
        WorldDoor {
            service: self.service.clone(),
            credentials: Arc::default(),
        }
    }

    /// Its clock.
    pub fn clock(&self) -> WorldClock {
        self.clock.clone()
    }

    /// What a person wants to see.
    ///
    /// # Errors
    /// When the world does not answer.
    pub async fn report(&self) -> Result<Report, WorldError> {
        let reply = self
            .service
            .clone()
            .get_report(GetReportRequest {})
            .await
            .map_err(away)?;
        parse(&reply.into_inner().json)
    }

    /// The world without times and random ids.
    ///
    /// # Errors
    /// When the world does not answer.
    pub async fn normalized(&self) -> Result<Value, WorldError> {
        let reply = self
            .service
            .clone()
            .get_normalized(GetNormalizedRequest {})
            .await
            .map_err(away)?;
        parse(&reply.into_inner().json)
    }

    /// Outside calls from the `from`th on.
    ///
    /// # Errors
    /// When the world does not answer.
    pub async fn ledger(&self, from: u64) -> Result<Vec<LedgerEntry>, WorldError> {
        let request = ReadLedgerRequest { from };
        let mut stream = self
            .service
            .clone()
            .read_ledger(request)
            .await
            .map_err(away)?
            .into_inner();
        let mut entries = Vec::new();
        while let Some(chunk) = stream.message().await.map_err(away)? {
            for line in chunk
                .lines
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                entries.push(parse(line)?);
            }
        }
        Ok(entries)
    }

    /// Adds the clusters of custom resources, and gives their ids.
    ///
    /// # Errors
    /// When the world refuses them, or does not answer.
    pub async fn add_clusters(&self, documents: Vec<String>) -> Result<Vec<String>, WorldError> {
        let request = AddClustersRequest { documents };
        let reply = self
            .service
            .clone()
            .add_clusters(request)
            .await
            .map_err(away)?;
        Ok(reply.into_inner().clusters)
    }
}

fn away(status: Status) -> WorldError {
    WorldError::Unreachable(status.message().to_owned())
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, WorldError> {
    serde_json::from_slice(bytes).map_err(|error| WorldError::Unreachable(error.to_string()))
}

/// The way into a world in another process.
#[derive(Clone, Debug)]
pub struct WorldDoor {
    service: WorldServiceClient<Channel>,
    /// Generation of the AWS credentials.
    credentials: Arc<AtomicU64>,
}

#[async_trait]
impl Door for WorldDoor {
    async fn pass(
        &self,
        caller: &Caller,
        call: Call,
        stamp: Option<Stamp>,
    ) -> Result<Reply, PortError> {
        let action = call.action();
        let bug = |error: serde_json::Error| {
            PortError::new(PortErrorKind::Bug, action.clone(), error.to_string())
        };
        let wire = WireCaller {
            caller: caller.clone(),
            credentials: self.credentials.load(Ordering::Relaxed),
        };
        let request = CallRequest {
            call: serde_json::to_vec(&call).map_err(bug)?,
            stamp: match &stamp {
                Some(stamp) => serde_json::to_vec(stamp).map_err(bug)?,
                None => Vec::new(),
            },
            caller: serde_json::to_vec(&wire).map_err(bug)?,
        };
        let reply = self
            .service
            .clone()
            .call(request)
            .await
            .map_err(|status| transport_error(&status, &action, call.mutates()))?;
        serde_json::from_slice::<Result<Reply, PortError>>(&reply.into_inner().outcome)
            .map_err(bug)?
    }

    async fn refresh_credentials(&self) {
        self.credentials.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is known when the world did not answer: a connection that was refused carried no request; any other failure of a
/// mutation leaves it open whether it happened.
fn transport_error(status: &Status, action: &str, mutates: bool) -> PortError {
    let kind = match status.code() {
        Code::InvalidArgument | Code::Unimplemented | Code::Internal => PortErrorKind::Bug,
        _ if never_sent(status) || !mutates => PortErrorKind::Unreachable,
        _ => PortErrorKind::Lost,
    };
    PortError::new(
        kind,
        action,
        format!("the simulated world is away: {}", status.message()),
    )
}

fn never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::ConnectionRefused;
        }
        source = error.source();
    }
    false
}

/// The clock of a world in another process: goes on by itself between two ticks, but never beyond what the world has made
/// durable, and never backwards. Stands still while the world is away.
#[derive(Clone, Debug)]
pub struct WorldClock {
    ticks: watch::Receiver<Option<Heard>>,
    /// The latest time that anybody was told.
    told: Arc<AtomicI64>,
    _follower: Arc<DropGuard>,
}

/// A tick and when it was heard.
#[derive(Clone, Copy, Debug)]
struct Heard {
    now: Timestamp,
    durable_until: Timestamp,
    speed: f64,
    at: Instant,
}

impl WorldClock {
    fn follow(service: WorldServiceClient<Channel>) -> Self {
        let (sender, ticks) = watch::channel(None);
        let stop = CancellationToken::new();
        // One task for as long as any clone of the clock lives; it ends with the last one, so nobody waits for it.
        TaskTracker::new().spawn(
            stop.clone()
                .run_until_cancelled_owned(listen(service, sender)),
        );
        Self {
            ticks,
            told: Arc::new(AtomicI64::new(i64::MIN)),
            _follower: Arc::new(stop.drop_guard()),
        }
    }

    async fn started(&self) {
        // An error means that the follower is gone, and then the timeout around this decides.
        drop(self.ticks.clone().wait_for(Option::is_some).await);
    }

    fn extrapolate(&self) -> Timestamp {
        match *self.ticks.borrow() {
            Some(heard) => heard
                .now
                .after(heard.at.elapsed().mul_f64(heard.speed))
                .min(heard.durable_until),
            None => Timestamp(self.told.load(Ordering::Relaxed).max(0)),
        }
    }

    /// How much real time will pass until then, as far as can be said; look at the clock again after at most this long.
    pub fn real_until(&self, at: Timestamp) -> Duration {
        let left = at.since(self.now());
        left.div_f64(self.speed().max(f64::MIN_POSITIVE)).min(LOOK)
    }

    fn speed(&self) -> f64 {
        self.ticks.borrow().map_or(1.0, |heard| heard.speed)
    }
}

async fn listen(mut service: WorldServiceClient<Channel>, ticks: watch::Sender<Option<Heard>>) {
    loop {
        if let Ok(stream) = service.watch_clock(WatchClockRequest {}).await {
            let mut stream = stream.into_inner();
            while let Ok(Some(tick)) = stream.message().await {
                ticks.send_replace(heard(tick));
            }
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

fn heard(tick: ClockTick) -> Option<Heard> {
    let time = |at: prost_types::Timestamp| {
        Timestamp(at.seconds.saturating_mul(1_000_000) + i64::from(at.nanos) / 1000)
    };
    Some(Heard {
        now: time(tick.now?),
        durable_until: time(tick.durable_until?),
        speed: tick.speed,
        at: Instant::now(),
    })
}

#[async_trait]
impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        let now = self.extrapolate();
        let told = self.told.fetch_max(now.0, Ordering::AcqRel);
        Timestamp(told.max(now.0))
    }

    async fn sleep(&self, duration: Duration) {
        let until = self.now().after(duration);
        loop {
            if until <= self.now() {
                return;
            }
            tokio::time::sleep(self.real_until(until).max(Duration::from_millis(1))).await;
        }
    }
}
