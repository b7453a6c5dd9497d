//! The coordinator's machine: the real services and the real engine, on a simulated disk, network and clock.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use drover_coordinator::{
    engine::{Settings, ended::Retention},
    metrics::Metrics,
    objects::Objects,
    rpc::{self, Shared},
    server,
    supervise::{self, Parts},
};
use drover_core::lease::Profile;
use tokio_util::task::TaskTracker;

use crate::{
    clock::WallClock,
    disk::Disk,
    history::{Recorder, What},
    net,
};

/// Free bytes below which nothing is written.
const FULL: u64 = 1 << 20;

/// What outlives the coordinator's process.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) disk: Disk,
    pub(crate) clock: WallClock,
    profile: Profile,
    free: Arc<AtomicU64>,
    recorder: Recorder,
}

impl Machine {
    pub(crate) fn new(profile: Profile, recorder: Recorder) -> Self {
        let machine = Self {
            disk: Disk::new(recorder.clone()),
            clock: WallClock::default(),
            profile,
            free: Arc::default(),
            recorder,
        };
        machine.set_full(false);
        machine
    }

    /// The disk has no room from here on, or has some again.
    pub(crate) fn set_full(&self, full: bool) {
        let free = if full { 0 } else { 1 << 40 };
        self.free.store(free, Ordering::Relaxed);
    }

    fn settings(&self) -> Settings {
        let free = Arc::clone(&self.free);
        Settings {
            profile: self.profile,
            cancel_grace: Duration::from_secs(5),
            low_space: 2 * FULL,
            full_space: FULL,
            free_space: Arc::new(move || Some(free.load(Ordering::Relaxed))),
            // Everything stays: the checker reads what has ended.
            retention: Retention {
                after: Duration::from_secs(365 * 24 * 3600),
                ended_max: usize::MAX,
            },
            mirror: None,
            objects: self.objects(),
            build: "simulated".to_owned(),
        }
    }

    /// Outputs are small in a simulation: nothing is ever in there.
    fn objects(&self) -> Arc<Objects> {
        let free = Arc::clone(&self.free);
        let free_space = Arc::new(move || Some(free.load(Ordering::Relaxed)));
        Arc::new(Objects::below(Path::new("no-data"), free_space, FULL))
    }

    /// One process. It ends when its engine does not begin; whoever starts processes begins another one.
    pub(crate) async fn run(self) -> turmoil::Result {
        self.recorder.note(What::Began {
            host: net::COORDINATOR.to_owned(),
        });
        let settings = self.clone();
        let parts = Parts {
            stores: Box::new(self.disk.clone()),
            settings: Box::new(move || settings.settings()),
            clock: Arc::new(self.clock.clone()),
            metrics: Metrics::default(),
            backup: None,
        };
        let objects = self.objects();
        let (engine, running) = supervise::unthreaded(parts);
        let shared = Shared {
            engine,
            tasks: TaskTracker::new(),
            signing_key: None,
            // Nobody restores in a simulation.
            uploads: PathBuf::from("no-uploads"),
            backup: None,
            objects,
        };
        let routes = rpc::routes(shared).await?;
        let served = server::transport()
            .add_routes(routes)
            .serve_with_incoming(net::incoming().await?);
        // Both are dropped with the process; neither has anything to lose.
        tokio::select! {
            biased;
            // It did not begin: the process ends, as the real one does.
            _ = running => Ok(()),
            served = served => Ok(served?),
        }
    }
}
