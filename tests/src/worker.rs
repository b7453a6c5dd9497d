//! Workers in this process that can be stopped, killed and begun again on the same spool.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use drover_step_api::{Clock, Registry, Timestamp};
use drover_worker::{
    End, Handle,
    config::{Config, default_credits},
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::toy::{self, World};

/// The system's clocks, for steps.
pub struct RealClock;

#[async_trait]
impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        Timestamp(i64::try_from(since.as_micros()).unwrap())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A worker and its spool.
pub struct ToyWorker {
    spool: TempDir,
    id: String,
    installation: String,
    coordinator: SocketAddr,
    world: World,
    build: String,
    running: Option<(Handle, JoinHandle<End>)>,
}

impl ToyWorker {
    fn new(id: &str, installation: &str, coordinator: SocketAddr, world: &World) -> Self {
        Self {
            spool: tempfile::tempdir().unwrap(),
            id: id.to_owned(),
            installation: installation.to_owned(),
            coordinator,
            world: world.clone(),
            build: "test".to_owned(),
            running: None,
        }
    }

    /// A worker of the installation `golem` that serves every toy kind.
    pub async fn start(id: &str, coordinator: SocketAddr, world: &World) -> Self {
        let mut worker = Self::new(id, "golem", coordinator, world);
        worker.begin().await;
        worker
    }

    /// A worker of another build, which serves these kinds.
    pub async fn of_build(
        id: &str,
        coordinator: SocketAddr,
        world: &World,
        build: &str,
        registry: Registry<World>,
    ) -> Self {
        Self::in_installation(id, "golem", coordinator, world, build, registry).await
    }

    /// As [`ToyWorker::of_build`], in any installation.
    pub async fn in_installation(
        id: &str,
        installation: &str,
        coordinator: SocketAddr,
        world: &World,
        build: &str,
        registry: Registry<World>,
    ) -> Self {
        let mut worker = Self::new(id, installation, coordinator, world);
        build.clone_into(&mut worker.build);
        worker.begin_with(registry).await;
        worker
    }

    /// From now on it dials here.
    pub fn dial(&mut self, coordinator: SocketAddr) {
        self.coordinator = coordinator;
    }

    /// What it is started with.
    pub fn config(&self) -> Config {
        Config {
            coordinator: format!("http://{}", self.coordinator).parse().unwrap(),
            installation: self.installation.clone(),
            pool: "default".to_owned(),
            id: self.id.clone(),
            spool: self.spool.path().to_path_buf(),
            build: self.build.clone(),
            reach: vec!["aws".to_owned()],
            labels: [("region", "eu-central-1"), ("partition", "aws")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            credits: default_credits(),
            http: None,
            reconnect: (Duration::from_millis(5), Duration::from_millis(50)),
            drain: Duration::from_secs(5),
            set_log_level: Arc::new(|level| {
                if level == "loud" {
                    Err("no such level".to_owned())
                } else {
                    Ok(())
                }
            }),
        }
    }

    /// Begins it: a new process, as far as the protocol can tell.
    pub async fn begin(&mut self) {
        self.begin_with(toy::registry()).await;
    }

    /// Begins it with these kinds.
    pub async fn begin_with(&mut self, registry: Registry<World>) {
        let worker = drover_worker::Worker::new(
            self.config(),
            registry,
            Arc::new(self.world.clone()),
            Arc::new(RealClock),
        )
        .await
        .unwrap();
        let handle = worker.handle();
        let task = tokio_util::task::TaskTracker::new().spawn(worker.run());
        self.running = Some((handle, task));
    }

    /// Ends it in good order.
    pub async fn stop(&mut self) {
        let (handle, task) = self.running.take().expect("it runs");
        handle.stop();
        task.await.unwrap();
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) {
        let (_, task) = self.running.take().expect("it runs");
        let end = tokio::time::timeout(Duration::from_secs(10), task).await;
        assert!(matches!(end.unwrap().unwrap(), End::Stopped));
    }

    /// Ends it where it stands.
    pub async fn kill(&mut self) {
        let (_, task) = self.running.take().expect("it runs");
        task.abort();
        // Its attempts are dropped with it.
        assert!(task.await.is_err());
    }

    /// Moves its spool away, as when a pod loses its volume.
    pub fn lose_spool(&mut self) {
        self.spool = tempfile::tempdir().unwrap();
    }
}
