//! Single processes: what `drover dev` starts as children, and what tests start and kill.

use std::{
    future::Future,
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use drover_process::{log::Log, signals::Signals};
use drover_sim::{ServeOptions, WorldClient};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    WorldArgs,
    clock::SimulatedClock,
    clusters::{self, Source},
};
use crate::{
    client::url,
    failure::{Failure, Outcome},
};

/// How long a coordinator waits for the simulated world when it starts.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a process says on stdout, as one line of JSON, once it takes requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ready {
    /// Its gRPC port; a worker has none.
    pub(super) listen: Option<SocketAddr>,
    /// Its probes.
    pub(super) http: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(super) struct WorldProcess {
    /// Keep the world in this folder; without it the world is gone when the process ends
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address to serve on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How many generated clusters there are, or files with vintage custom resources; counts only for a new world
    #[arg(long, value_name = "N|FILE", num_args = 1.., default_value = "12")]
    clusters: Vec<String>,
    #[command(flatten)]
    world: WorldArgs,
    #[command(flatten)]
    life: Life,
}

#[derive(Debug, Args)]
pub(super) struct CoordinatorProcess {
    /// The simulated world
    #[arg(long, value_name = "ADDRESS")]
    world: String,
    #[command(flatten)]
    settings: drover_coordinator::program::Settings,
    #[command(flatten)]
    life: Life,
}

#[derive(Debug, Args)]
pub(super) struct WorkerProcess {
    #[command(flatten)]
    settings: drover_worker::program::Settings,
    #[command(flatten)]
    life: Life,
}

/// When a process ends.
#[derive(Debug, Args)]
struct Life {
    /// End when stdin is closed: a child does not outlive the process that started it, however that ends
    #[arg(long)]
    exit_with_stdin: bool,
}

impl Life {
    /// Ends when the process should.
    fn end(&self) -> Outcome<impl Future<Output = ()> + Send + 'static> {
        let signals = Signals::watch()
            .map_err(|error| Failure::failed(format!("cannot watch for signals: {error}")))?;
        let closed = CancellationToken::new();
        if self.exit_with_stdin {
            let closed = closed.clone();
            // A thread of its own: the runtime would wait for a read that nobody can interrupt.
            std::thread::spawn(move || {
                // Whatever is said is of no interest; an error is as final as the end.
                drop(io::copy(&mut io::stdin().lock(), &mut io::sink()));
                closed.cancel();
            });
        }
        Ok(async move {
            let told = signals.graceful();
            // Both arms are cancel-safe: one of them ends the process.
            tokio::select! {
                () = told => {}
                () = closed.cancelled() => {}
            }
        })
    }
}

fn say_ready(ready: &Ready) {
    let line = serde_json::to_string(ready).expect("addresses serialize");
    let mut out = io::stdout();
    // Nobody may be listening.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

fn failed(error: &impl std::fmt::Display) -> Failure {
    Failure::failed(format!("{error:#}"))
}

/// `drover dev world`.
pub(super) async fn world(args: WorldProcess) -> Outcome {
    Log::begin(&args.world.log).map_err(|error| Failure::usage(error.to_string()))?;
    let end = args.life.end()?;
    let source = Source::parse(&args.clusters)?;
    let clusters = source.read(&args.world)?;
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| Failure::failed(format!("cannot listen on {}: {error}", args.listen)))?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::failed(format!("cannot listen on {}: {error}", args.listen)))?;
    let options = ServeOptions {
        speed: args.world.speed,
        data: args.data,
    };
    let genesis = || clusters::genesis(&args.world, &clusters);
    // Connections wait in the listener's queue until the world is made.
    say_ready(&Ready {
        listen: Some(address),
        http: None,
    });
    let served = drover_sim::serve(listener, genesis, options, end).await;
    served.map_err(|error| failed(&error))
}

/// `drover dev coordinator`.
pub(super) async fn coordinator(args: CoordinatorProcess) -> Outcome {
    Log::begin(&args.settings.log).map_err(|error| Failure::usage(error.to_string()))?;
    let end = args.life.end()?;
    let config = args
        .settings
        .check()
        .map_err(|error| Failure::usage(format!("{error:#}")))?;
    let world = WorldClient::connect(&url(&args.world), PATIENCE)
        .await
        .map_err(|error| failed(&error))?;
    let clock = Arc::new(SimulatedClock(world.clock()));
    let ready = |server: &drover_coordinator::server::Server| {
        say_ready(&Ready {
            listen: Some(server.address),
            http: server.http,
        });
    };
    let served = drover_coordinator::program::run(config, clock, ready, end).await;
    served.map_err(|error| failed(&error))
}

/// `drover dev worker`.
pub(super) async fn worker(args: WorkerProcess) -> Outcome {
    let log = Log::begin(&args.settings.log).map_err(|error| Failure::usage(error.to_string()))?;
    let end = args.life.end()?;
    let config = args
        .settings
        .check(log)
        .map_err(|error| Failure::usage(format!("{error:#}")))?;
    let ready = |http| say_ready(&Ready { listen: None, http });
    let served = drover_worker::program::run(config, &args.settings.world, ready, end).await;
    served.map_err(|error| failed(&error))
}
