//! A world in memory, on tokio's time: for tests. With `start_paused` time passes by itself whenever nothing else is to do.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use drover_ports::{Call, Caller, Door, PortError, Reply};
use drover_step_api::{Clock, Stamp, Timestamp};
use tokio::time::Instant;

use crate::{World, world::Request};

/// A world in memory. Clones share it.
#[derive(Clone, Debug)]
pub struct LocalWorld {
    world: Arc<Mutex<World>>,
    clock: LocalClock,
}

impl LocalWorld {
    /// Takes a world over; its clock goes on from where it is, one second a second of tokio's time.
    pub fn new(world: World) -> Self {
        Self {
            clock: LocalClock::starting_at(world.now()),
            world: Arc::new(Mutex::new(world)),
        }
    }

    /// Its way in.
    pub fn door(&self) -> LocalDoor {
        LocalDoor {
            world: self.clone(),
            credentials: Arc::default(),
        }
    }

    /// Its clock.
    pub fn clock(&self) -> LocalClock {
        self.clock
    }

    /// The world as it is now. Do not hold it over an await.
    pub fn now(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance(self.clock.now());
        world
    }

    /// A copy of the world as it is now, with a clock of its own.
    pub fn fork(&self) -> Self {
        Self::new(self.now().clone())
    }
}

/// The way into a [`LocalWorld`].
#[derive(Clone, Debug)]
pub struct LocalDoor {
    world: LocalWorld,
    /// Generation of the AWS credentials.
    credentials: Arc<AtomicU64>,
}

#[async_trait]
impl Door for LocalDoor {
    async fn pass(
        &self,
        caller: &Caller,
        call: Call,
        stamp: Option<Stamp>,
    ) -> Result<Reply, PortError> {
        let latency = self.world.now().latency(caller, &call, stamp.as_ref());
        self.world.clock.sleep(latency.before).await;
        // From here on it has happened; whoever drops the future has lost the reply.
        let request = Request {
            caller: caller.clone(),
            credentials: self.credentials.load(Ordering::Relaxed),
            call,
            stamp,
        };
        let result = {
            let mut world = self.world.now();
            let now = world.now();
            world.call(now, &request)
        };
        self.world.clock.sleep(latency.after).await;
        result
    }

    async fn refresh_credentials(&self) {
        self.credentials.fetch_add(1, Ordering::Relaxed);
    }
}

/// The clock of a [`LocalWorld`].
#[derive(Clone, Copy, Debug)]
pub struct LocalClock {
    start: Timestamp,
    origin: Instant,
}

impl LocalClock {
    fn starting_at(start: Timestamp) -> Self {
        Self {
            start,
            origin: Instant::now(),
        }
    }
}

#[async_trait]
impl Clock for LocalClock {
    fn now(&self) -> Timestamp {
        self.start.after(self.origin.elapsed())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
