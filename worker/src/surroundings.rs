//! What a worker draws on besides its settings: how it reaches the coordinator, and chance. A simulation gives both, so
//! that a run repeats.

use std::sync::Arc;

use async_trait::async_trait;
use tonic::transport::{Channel, Endpoint, Error};
use uuid::Uuid;

/// Opens connections to the coordinator.
#[async_trait]
pub trait Dial: Send + Sync {
    /// Connects, within the endpoint's own timeout. Cancel-safe: a connection that nobody waits for is dropped.
    ///
    /// # Errors
    /// When nobody answers.
    async fn dial(&self, endpoint: Endpoint) -> Result<Channel, Error>;
}

/// Where random choices come from.
pub trait Chance: Send + Sync {
    /// Names a new process.
    fn id(&self) -> Uuid;
    /// A part of one: from 0 to less than 1.
    fn part(&self) -> f64;
}

/// Where a worker runs.
#[derive(Clone)]
pub struct Surroundings {
    /// Opens connections.
    pub dial: Arc<dyn Dial>,
    /// Where random choices come from.
    pub chance: Arc<dyn Chance>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            dial: Arc::new(Tcp),
            chance: Arc::new(System),
        }
    }
}

struct Tcp;

#[async_trait]
impl Dial for Tcp {
    async fn dial(&self, endpoint: Endpoint) -> Result<Channel, Error> {
        endpoint.connect().await
    }
}

struct System;

impl Chance for System {
    fn id(&self) -> Uuid {
        Uuid::new_v4()
    }

    fn part(&self) -> f64 {
        fastrand::f64()
    }
}
