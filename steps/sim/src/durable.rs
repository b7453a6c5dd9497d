//! A world with a clock and, perhaps, a journal underneath: what the server keeps.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use drover_model::VintageCluster;
use drover_ports::{PortError, PortErrorKind, Reply};
use drover_step_api::Timestamp;
use tokio::sync::watch;

use crate::{
    Genesis, Request, World, WorldError,
    journal::{self, Durable, Journal, Record},
};

/// The clock is made durable this far ahead, in real time. After a crash it goes on from there, so this is also how far
/// it may jump then.
const HORIZON: Duration = Duration::from_millis(400);

/// A world with a clock and, perhaps, a journal.
pub(crate) struct DurableWorld {
    inner: Mutex<Inner>,
    clock: DomainClock,
}

struct Inner {
    world: World,
    journal: Option<Journal>,
}

/// Domain time as a function of real time, never beyond what is durable.
struct DomainClock {
    start: Timestamp,
    origin: Instant,
    speed: f64,
    durable_until: AtomicI64,
}

/// The clock as it is told to others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tick {
    pub(crate) now: Timestamp,
    pub(crate) durable_until: Timestamp,
    pub(crate) speed: f64,
}

impl DomainClock {
    fn now(&self) -> Timestamp {
        let real = self.start.after(self.origin.elapsed().mul_f64(self.speed));
        real.min(Timestamp(self.durable_until.load(Ordering::Acquire)))
    }
}

impl DurableWorld {
    /// A world that is gone with the process.
    pub(crate) fn in_memory(world: World, speed: f64) -> Self {
        let clock = world.now();
        Self::new(world, None, clock, speed)
    }

    /// A world with a journal in a folder: what the folder holds, or what `genesis` makes.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub(crate) fn open(
        folder: &Path,
        genesis: impl FnOnce() -> Result<Genesis, WorldError>,
        speed: f64,
    ) -> Result<Self, WorldError> {
        let opened = Journal::open(folder, genesis)?;
        Ok(Self::new(
            opened.world,
            Some(opened.journal),
            opened.clock,
            speed,
        ))
    }

    fn new(world: World, journal: Option<Journal>, clock: Timestamp, speed: f64) -> Self {
        Self {
            clock: DomainClock {
                start: clock,
                origin: Instant::now(),
                speed,
                durable_until: AtomicI64::new(clock.0),
            },
            inner: Mutex::new(Inner { world, journal }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clock as it may be told.
    pub(crate) fn tick(&self) -> Tick {
        Tick {
            now: self.clock.now(),
            durable_until: Timestamp(self.clock.durable_until.load(Ordering::Acquire)),
            speed: self.clock.speed,
        }
    }

    /// Waits on the domain clock. Cancel-safe.
    pub(crate) async fn sleep(&self, duration: Duration) {
        let until = self.clock.now().after(duration);
        loop {
            let left = until.since(self.clock.now());
            if left.is_zero() {
                return;
            }
            let real = left.div_f64(self.clock.speed);
            // Not below a millisecond: the clock may stand for a moment at the end of its horizon.
            tokio::time::sleep(real.max(Duration::from_millis(1))).await;
        }
    }

    /// Makes more of the clock durable when it is about to run out.
    ///
    /// # Errors
    /// Why the journal cannot be written.
    pub(crate) async fn extend_clock(&self) -> Result<(), String> {
        let ahead = HORIZON.mul_f64(self.clock.speed);
        let real = self
            .clock
            .start
            .after(self.clock.origin.elapsed().mul_f64(self.clock.speed));
        let durable = Timestamp(self.clock.durable_until.load(Ordering::Acquire));
        if durable.since(real) > ahead / 2 {
            return Ok(());
        }
        let until = real.max(durable).after(ahead);
        let written = {
            let mut inner = self.lock();
            inner.journal.as_mut().map(|journal| {
                let number = journal.append(Record::Clock { until });
                (journal.durable(), number)
            })
        };
        if let Some((durable, number)) = written {
            journal::wait(durable, number).await?;
        }
        self.clock.durable_until.store(until.0, Ordering::Release);
        Ok(())
    }

    /// Lets everything happen that is due.
    pub(crate) fn advance(&self) {
        let now = self.clock.now();
        self.lock().world.advance(now);
    }

    /// Looks at the world as it is now.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&World) -> T) -> T {
        let now = self.clock.now();
        let mut inner = self.lock();
        inner.world.advance(now);
        at(&inner.world)
    }

    /// One outside call, to its reply. A caller that drops this before the effect has cancelled it, after it has lost the
    /// reply.
    ///
    /// # Errors
    /// What the world says; `Unavailable` when the journal cannot be written.
    pub(crate) async fn call(&self, request: Request) -> Result<Reply, PortError> {
        let latency =
            self.lock()
                .world
                .latency(&request.caller, &request.call, request.stamp.as_ref());
        self.sleep(latency.before).await;
        let action = request.call.action();
        let waits = request.call.mutates();
        let (result, written) = self.take_effect(request);
        if let (true, Some((durable, number))) = (waits, written) {
            journal::wait(durable, number)
                .await
                .map_err(|why| PortError::new(PortErrorKind::Unavailable, action, why))?;
        }
        self.sleep(latency.after).await;
        result
    }

    fn take_effect(&self, request: Request) -> (Result<Reply, PortError>, Written) {
        let now = self.clock.now();
        let mut inner = self.lock();
        let Inner { world, journal } = &mut *inner;
        let result = world.call(now, &request);
        let at = world.now();
        let written = journal.as_mut().map(|journal| {
            let record = if request.call.mutates() {
                Record::Call {
                    at,
                    request: Box::new(request),
                }
            } else {
                let entry = world.ledger.last().expect("a call has just been entered");
                Record::Read {
                    entry: Arc::clone(entry),
                    credentials: request.credentials,
                }
            };
            let number = journal.append(record);
            (journal.durable(), number)
        });
        (result, written)
    }

    /// Adds clusters.
    ///
    /// # Errors
    /// As [`World::add`]; when the journal cannot be written.
    pub(crate) async fn add(&self, clusters: &[VintageCluster]) -> Result<Vec<String>, WorldError> {
        let (added, written) = {
            let now = self.clock.now();
            let mut inner = self.lock();
            let Inner { world, journal } = &mut *inner;
            world.advance(now);
            let prepared = world.prepare(clusters)?;
            let added = world.add(&prepared)?;
            let at = world.now();
            let record = Record::Add {
                at,
                clusters: prepared,
            };
            let written = journal
                .as_mut()
                .map(|journal| (journal.append(record), journal.durable()));
            (added, written)
        };
        if let Some((number, durable)) = written {
            journal::wait(durable, number)
                .await
                .map_err(WorldError::Unreachable)?;
        }
        Ok(added)
    }
}

/// A record to wait for.
type Written = Option<(watch::Receiver<Durable>, u64)>;
