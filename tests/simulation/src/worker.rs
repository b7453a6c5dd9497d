//! A worker's machine: the real agent with toy kinds, its real spool in a folder that outlives the process.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use drover_worker::{
    Handle, Worker,
    config::{Config, default_credits},
    surroundings::{Chance as _, Surroundings},
};

use crate::{
    chance::{Chance, OfProcess},
    clock::WorkerClock,
    history::{Holder, Recorder, What},
    kinds, net,
    scenario::Scenario,
    world::World,
};

/// What outlives a worker's process.
#[derive(Clone)]
pub(crate) struct Machine(Arc<Inner>);

struct Inner {
    id: String,
    seed: u64,
    spool: PathBuf,
    world: World,
    recorder: Recorder,
    processes: AtomicU32,
    running: Mutex<Option<Handle>>,
}

impl Machine {
    /// A machine with an empty spool below `folder`.
    pub(crate) fn new(
        id: &str,
        seed: u64,
        folder: &Path,
        world: &World,
        recorder: &Recorder,
    ) -> anyhow::Result<Self> {
        let spool = folder.join(id);
        fs::create_dir_all(&spool)?;
        // The spool would draw its own name.
        let name = OfProcess::new(Chance::of(seed, &format!("spool/{id}"))).id();
        fs::write(spool.join("ID"), name.to_string())?;
        Ok(Self(Arc::new(Inner {
            id: id.to_owned(),
            seed,
            spool,
            world: world.clone(),
            recorder: recorder.clone(),
            processes: AtomicU32::new(0),
            running: Mutex::new(None),
        })))
    }

    /// Tells the process to stop in good order.
    pub(crate) fn stop(&self) {
        if let Some(handle) = self.running().as_ref() {
            handle.stop();
        }
    }

    /// The results in its spool are gone. Only while no process has it open.
    pub(crate) fn empty_spool(&self) {
        let emptied = fs::write(self.0.spool.join("log"), "");
        emptied.expect("a file in a temporary folder is written");
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Handle>> {
        self.0
            .running
            .lock()
            .expect("nobody panics while holding it")
    }

    fn config(&self) -> Config {
        Config {
            coordinator: net::coordinator(),
            installation: Scenario::pool_of(&self.0.id).to_owned(),
            pool: "default".to_owned(),
            id: self.0.id.clone(),
            spool: self.0.spool.clone(),
            build: "simulated".to_owned(),
            reach: vec!["aws".to_owned()],
            labels: BTreeMap::new(),
            credits: default_credits(),
            http: None,
            reconnect: (Duration::from_millis(200), Duration::from_secs(20)),
            drain: Duration::from_secs(20),
            set_log_level: Arc::new(|_| Ok(())),
        }
    }

    /// One process. It ends when it was told to; whoever starts processes begins another one.
    pub(crate) async fn run(self) -> turmoil::Result {
        let process = self.0.processes.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.recorder.note(What::Began {
            host: self.0.id.clone(),
        });
        let surroundings = Surroundings {
            dial: Arc::new(net::Dialer),
            chance: Arc::new(OfProcess::new(Chance::of(
                self.0.seed,
                &format!("process/{}/{process}", self.0.id),
            ))),
        };
        let holder = Holder {
            worker: self.0.id.clone(),
            process,
        };
        let worker = Worker::within(
            surroundings,
            self.config(),
            kinds::registry(),
            self.0.world.desk(holder),
            Arc::new(WorkerClock),
        )
        .await?;
        *self.running() = Some(worker.handle());
        worker.run().await;
        Ok(())
    }
}
