//! The agent in an installation.
//!
//! A worker dials out and holds one session with the coordinator; it has no inbound port but its own probes. It takes
//! offers within its credits, runs step kinds from its registry against its ports, and keeps every result on disk until
//! the coordinator has it.
//!
//! What it never does: act on a lease it does not know to hold, let key material out, or look at a clock other than the
//! one it was given for the steps and the monotonic one for its leases.

mod agent;
pub mod config;
mod execute;
mod families;
mod host;
mod http;
pub mod kinds;
mod lease;
#[cfg(feature = "real")]
pub mod ledger;
mod link;
pub mod metrics;
pub mod outside;
pub mod patient;
pub mod ports;
pub mod program;
#[cfg(feature = "real")]
pub mod real;
mod retry;
pub mod spool;
pub mod surroundings;
pub mod tripwire;

use std::{io, sync::Arc};

use drover_step_api::{Clock, Registry};

pub use agent::{End, Handle};
pub use families::{StepKinds, registry};

use crate::{
    agent::Agent,
    config::Config,
    metrics::Metrics,
    ports::PortsSource,
    spool::{Spool, SpoolError},
    surroundings::Surroundings,
};

/// Why a worker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its spool does not open.
    #[error("the spool does not open")]
    Spool(#[source] SpoolError),
    /// Its probes cannot be served.
    #[error("cannot serve the probes on {address}")]
    Http {
        /// Where.
        address: std::net::SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A worker that is ready to run.
pub struct Worker<P> {
    agent: Agent<P>,
    queue: tokio::sync::mpsc::UnboundedReceiver<agent::Input>,
    handle: Handle,
    /// The counters.
    pub metrics: Metrics,
    /// Where the probes are served.
    pub http: Option<std::net::SocketAddr>,
}

impl<P: Send + Sync + 'static> Worker<P> {
    /// Opens the spool and serves the probes. Must be called inside a runtime.
    ///
    /// # Errors
    /// When either does not work.
    pub async fn new(
        config: Config,
        registry: Registry<P>,
        ports: Arc<dyn PortsSource<P>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        Self::within(Surroundings::default(), config, registry, ports, clock).await
    }

    /// As [`Worker::new`], in other surroundings than a network and real chance.
    ///
    /// # Errors
    /// As [`Worker::new`].
    pub async fn within(
        surroundings: Surroundings,
        config: Config,
        registry: Registry<P>,
        ports: Arc<dyn PortsSource<P>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let spool = Spool::open(&config.spool).map_err(StartError::Spool)?;
        let metrics = Metrics::default();
        let http = match config.http {
            Some(address) => {
                let served = http::serve(address, metrics.clone()).await;
                Some(served.map_err(|source| StartError::Http { address, source })?)
            }
            None => None,
        };
        let (agent, handle, queue) = Agent::new(
            Arc::new(config),
            Arc::new(registry),
            ports,
            clock,
            metrics.clone(),
            spool,
            surroundings,
        );
        Ok(Self {
            agent,
            queue,
            handle,
            metrics,
            http,
        })
    }

    /// Talks to it while it runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until it is told to stop.
    pub async fn run(self) -> End {
        self.agent.run(self.queue).await
    }
}
