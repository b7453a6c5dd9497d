//! The process: listeners around one engine. Tests start it on port 0.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use drover_core::lease::Profile;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::server::TcpIncoming;

use crate::{
    backup::{self, Mirror},
    clock::Clock,
    engine::{FreeSpace, RecoverError, Settings, ended::Retention},
    metrics::Metrics,
    objects::Objects,
    rpc::{self, Shared, SigningKey},
    supervise::{Handle, Parts, SledFolder, StoreFactory, Supervisor},
};

/// How long open streams may take to end once the process was told to.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// What a server is started with.
pub struct Config {
    /// Operator API and worker sessions.
    pub listen: SocketAddr,
    /// `/metrics`, `/healthz`, `/readyz`; `None` for none.
    pub http: Option<SocketAddr>,
    /// The data folder.
    pub data: PathBuf,
    /// How fast liveness is judged.
    pub profile: Profile,
    /// How long a cancelled attempt may take to stop by itself.
    pub cancel_grace: Duration,
    /// Below so many free bytes new workflows are refused.
    pub low_space: u64,
    /// Below so many free bytes nothing is written.
    pub full_space: u64,
    /// Signs audit heads.
    pub signing_key: Option<SigningKey>,
    /// Where every commit is copied to.
    pub backup: Option<PathBuf>,
    /// How long ended workflows are kept.
    pub retention: Retention,
}

/// What a server stands on.
pub struct Ground {
    /// Where its stores come from.
    pub stores: Box<dyn StoreFactory>,
    /// Free bytes below the store; `None` when that cannot be told.
    pub free_space: FreeSpace,
}

impl Ground {
    /// A data folder on a disk.
    #[must_use]
    pub fn folder(data: PathBuf) -> Self {
        Self {
            stores: Box::new(SledFolder(data.clone())),
            free_space: Arc::new(move || fs4::available_space(&data).ok()),
        }
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Without client certificates only loopback is safe.
    #[error(
        "{0} is not a loopback address, and this build has no client certificates: listen on 127.0.0.1 and put a tunnel in front"
    )]
    NotLoopback(SocketAddr),
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The engine does not begin.
    #[error("the engine does not begin")]
    Recover(#[source] RecoverError),
    /// The service descriptions do not load: a broken build.
    #[error("the service descriptions do not load")]
    Reflection(#[source] tonic_reflection::server::Error),
}

/// A running server.
pub struct Server {
    /// Where the gRPC port is.
    pub address: SocketAddr,
    /// Where the HTTP port is.
    pub http: Option<SocketAddr>,
    engine: Handle,
    supervisor: Supervisor,
    stop: CancellationToken,
    listeners: TaskTracker,
    tasks: TaskTracker,
}

impl Server {
    /// Folds the store, begins an epoch and listens.
    ///
    /// # Errors
    /// When any of that does not work; nothing is left running then.
    pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let ground = Ground::folder(config.data.clone());
        Self::start_on(ground, config, clock).await
    }

    /// As [`Server::start`], on something else than the data folder.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_on(
        ground: Ground,
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let unsafe_address = [Some(config.listen), config.http]
            .into_iter()
            .flatten()
            .find(|at| !rpc::is_loopback(at));
        if let Some(address) = unsafe_address {
            return Err(StartError::NotLoopback(address));
        }
        let listener = bind(config.listen).await?;
        let http = match config.http {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let metrics = Metrics::default();
        let objects = Arc::new(Objects::below(
            &config.data,
            Arc::clone(&ground.free_space),
            config.full_space,
        ));
        let mirrored = config.backup.clone();
        let (mirror, thread) = mirrored
            .map(|folder| Mirror::start(folder, Arc::clone(&objects)))
            .unzip();
        let backup = mirror.as_ref().map(|mirror| Arc::clone(mirror.status()));
        let parts = Parts {
            stores: ground.stores,
            settings: settings(&config, ground.free_space, mirror, Arc::clone(&objects)),
            clock,
            metrics: metrics.clone(),
            backup: thread,
        };
        // Opening and folding a large store takes a while and blocks.
        let supervisor = tokio::task::spawn_blocking(move || Supervisor::start(parts))
            .await
            .expect("starting an engine does not panic")
            .map_err(StartError::Recover)?;
        let tasks = TaskTracker::new();
        let shared = Shared {
            engine: supervisor.handle.clone(),
            tasks: tasks.clone(),
            signing_key: config.signing_key,
            uploads: config.data.join("uploads"),
            backup: backup.clone(),
            objects,
        };
        let routes = rpc::routes(shared).await.map_err(StartError::Reflection)?;
        let address = listener.local_addr().map_err(|source| StartError::Listen {
            address: config.listen,
            source,
        })?;
        let stop = CancellationToken::new();
        let listeners = TaskTracker::new();
        let until = stop.clone().cancelled_owned();
        listeners.spawn(async move {
            let served = transport()
                .add_routes(routes)
                .serve_with_incoming_shutdown(
                    TcpIncoming::from(listener).with_nodelay(Some(true)),
                    until,
                )
                .await;
            if let Err(error) = served {
                tracing::error!("the gRPC port stopped: {error}");
            }
        });
        let http_address = http
            .as_ref()
            .and_then(|listener| listener.local_addr().ok());
        if let Some(listener) = http {
            let router = Router::new()
                .route(
                    "/metrics",
                    get(|State(probed): State<Probed>| async move {
                        probed.metrics.text(probed.report().as_ref())
                    }),
                )
                .route("/healthz", get(health))
                .route("/readyz", get(ready))
                .with_state(Probed { metrics, backup });
            let until = stop.clone().cancelled_owned();
            listeners.spawn(async move {
                if let Err(error) = axum::serve(listener, router)
                    .with_graceful_shutdown(until)
                    .await
                {
                    tracing::error!("the HTTP port stopped: {error}");
                }
            });
        }
        Ok(Self {
            address,
            http: http_address,
            engine: supervisor.handle.clone(),
            supervisor,
            stop,
            listeners,
            tasks,
        })
    }

    /// Talks to the engine without the wire.
    #[must_use]
    pub fn engine(&self) -> &Handle {
        &self.engine
    }

    /// True when the engine has ended by itself: a bug; the process should end.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.supervisor.is_gone()
    }

    /// Takes no more connections, makes durable what there is, ends every stream.
    pub async fn stop(self) {
        self.stop.cancel();
        let supervisor = self.supervisor;
        // The engine's end closes every session's queue, and with it the streams.
        if tokio::task::spawn_blocking(move || supervisor.stop())
            .await
            .is_err()
        {
            tracing::error!("stopping the engine panicked");
        }
        self.tasks.close();
        self.listeners.close();
        let ended = async {
            self.tasks.wait().await;
            self.listeners.wait().await;
        };
        if tokio::time::timeout(SHUTDOWN, ended).await.is_err() {
            tracing::warn!("some clients did not let go in time");
        }
    }
}

/// How connections are served: dead ones are found out.
#[must_use]
pub fn transport() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
}

/// What the probes look at.
#[derive(Clone)]
struct Probed {
    metrics: Metrics,
    backup: Option<Arc<backup::Status>>,
}

impl Probed {
    fn report(&self) -> Option<backup::Report> {
        self.backup.as_ref().map(|backup| backup.report())
    }
}

/// Alive in any case; a backup that fails is said, and is no reason to be restarted.
async fn health(State(probed): State<Probed>) -> String {
    match probed.report().and_then(|report| report.failure) {
        Some((code, message)) => format!("ok\n{code}: {message}\n"),
        None => "ok\n".to_owned(),
    }
}

async fn ready(State(probed): State<Probed>) -> (StatusCode, &'static str) {
    if probed.metrics.is_engine_up() {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the engine waits for its store\n",
        )
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })
}

fn settings(
    config: &Config,
    free_space: FreeSpace,
    mirror: Option<Mirror>,
    objects: Arc<Objects>,
) -> Box<dyn Fn() -> Settings + Send> {
    let retention = config.retention;
    let (profile, cancel_grace) = (config.profile, config.cancel_grace);
    let (low_space, full_space) = (config.low_space, config.full_space);
    Box::new(move || Settings {
        profile,
        cancel_grace,
        low_space,
        full_space,
        free_space: Arc::clone(&free_space),
        retention,
        mirror: mirror.clone(),
        objects: Arc::clone(&objects),
        build: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Reads an Ed25519 key: 64 hex digits in a file outside of the data folder.
///
/// # Errors
/// When the file cannot be read or holds something else.
pub fn read_signing_key(path: &Path) -> io::Result<SigningKey> {
    let text = fs::read_to_string(path)?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim(), &mut bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not 64 hex digits"))?;
    Ok(Arc::new(ed25519_dalek::SigningKey::from_bytes(&bytes)))
}
