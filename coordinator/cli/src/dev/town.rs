//! A whole installation of Drover on this machine: world, coordinator, one worker for every installation.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use drover_proto::v1;
use drover_sim::{InstallationConfig, WorldClient};
use drover_steps_capa::DEFINITIONS;
use futures_util::future;
use tokio::sync::mpsc;

use super::{
    WorldArgs,
    child::{Child, Say, Spec},
    clusters::{self, Source},
    process::Ready,
};
use crate::{
    client::{Client, within},
    failure::{Failure, Outcome},
};

/// How long the world may take to be made, and workers to be seen.
const PATIENCE: Duration = Duration::from_secs(120);

const REQUEST: Duration = Duration::from_secs(30);

/// What a town is made from.
pub(super) struct Plan {
    /// Where it keeps everything; `None` for a folder that goes away.
    pub(super) data: Option<PathBuf>,
    /// Where its coordinator listens.
    pub(super) listen: SocketAddr,
    /// Its clusters.
    pub(super) source: Source,
    /// Its world.
    pub(super) world: WorldArgs,
}

/// The processes of a town.
struct Children {
    world: Child,
    coordinator: Child,
    /// One for every installation.
    workers: Vec<Child>,
}

/// Who is to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    /// The coordinator.
    Coordinator,
    /// The worker of the `n`th installation.
    Worker(usize),
}

/// A running town.
pub(super) struct Town {
    /// The simulated world.
    pub(super) world: WorldClient,
    /// The coordinator.
    pub(super) client: Client,
    /// Where the coordinator listens.
    pub(super) address: SocketAddr,
    /// Where everything is kept.
    pub(super) data: PathBuf,
    plan: Plan,
    children: Children,
    broken: tokio::sync::Mutex<mpsc::UnboundedReceiver<Failure>>,
    folder: Mutex<Option<tempfile::TempDir>>,
}

impl Town {
    /// Begins everything and waits until all workers are connected.
    pub(super) async fn start(plan: Plan, say: Say) -> Outcome<Self> {
        let (data, folder) = match &plan.data {
            Some(data) => (data.clone(), None),
            None => {
                let folder = tempfile::Builder::new()
                    .prefix("drover-")
                    .tempdir()
                    .map_err(|error| Failure::failed(format!("no temporary folder: {error}")))?;
                (folder.path().to_path_buf(), Some(folder))
            }
        };
        if data.join("world").exists() {
            say(&format!(
                "going on with the world in {}; --clusters, --seed and --fault counted when it was made",
                data.display()
            ));
        } else {
            // What is wrong with files is said before anything starts.
            let found = plan.source.read(&plan.world)?;
            for cluster in &found {
                drover_sim::installation_of(cluster, &clusters::installations(&plan.world))
                    .map_err(|error| Failure::usage(error.to_string()))?;
            }
        }
        let key = signing_key(&data)?;
        let (broken_sender, broken) = mpsc::unbounded_channel();
        let start = |spec| Child::start(spec, say.clone(), broken_sender.clone());

        let world = start(world(&data, &plan)).await?;
        let world_address = address(&world.ready)?;
        let client = WorldClient::connect(&format!("http://{world_address}"), PATIENCE)
            .await
            .map_err(|error| Failure::failed(error.to_string()))?;
        let coordinator = start(coordinator(&data, &plan, world_address, &key)).await?;
        let coordinator_address = address(&coordinator.ready)?;
        let installations = clusters::installations(&plan.world);
        let workers = installations.iter().map(|installation| {
            start(worker(
                &data,
                &plan,
                world_address,
                coordinator_address,
                installation,
            ))
        });
        let workers = future::try_join_all(workers).await?;
        let mut town = Self {
            world: client,
            client: Client::connect(&coordinator_address.to_string(), REQUEST).await?,
            address: coordinator_address,
            data,
            plan,
            children: Children {
                world,
                coordinator,
                workers,
            },
            broken: tokio::sync::Mutex::new(broken),
            folder: Mutex::new(folder),
        };
        town.settle().await?;
        Ok(town)
    }

    /// Registers the built-in definitions once every worker has said what it serves.
    async fn settle(&mut self) -> Outcome {
        let wanted = usize::from(self.plan.world.installations);
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let request = within(v1::ListWorkersRequest::default(), REQUEST);
            let workers = self.client.fleet.list_workers(request).await?.into_inner();
            let connected = workers
                .workers
                .iter()
                .filter(|worker| worker.state() == v1::WorkerState::Connected)
                .count();
            if connected >= wanted {
                break;
            }
            if tokio::time::Instant::now() > until {
                return Err(Failure::failed(format!(
                    "only {connected} of {wanted} workers are connected; their logs are in {}",
                    self.logs().display()
                )));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for text in DEFINITIONS {
            let request = within(
                v1::RegisterDefinitionRequest {
                    text: text.to_owned(),
                    dry_run: false,
                },
                REQUEST,
            );
            self.client.definitions.register_definition(request).await?;
        }
        Ok(())
    }

    /// What a person needs to know to use it.
    pub(super) async fn describe(&self) -> Outcome<String> {
        let report = self
            .world
            .report()
            .await
            .map_err(|error| Failure::failed(error.to_string()))?;
        let installations: Vec<String> = clusters::installations(&self.plan.world)
            .iter()
            .map(|installation| format!("{} ({})", installation.name, installation.region))
            .collect();
        let mut text = format!(
            "coordinator   {}\nworkers       {}\nclusters      {}\nlogs          {}\n",
            self.address,
            installations.join(", "),
            names(&report.clusters),
            self.logs().display(),
        );
        if let Some(cluster) = report.clusters.first() {
            let address = if self.address.to_string() == super::LISTEN {
                String::new()
            } else {
                format!(" --address {}", self.address)
            };
            text.push_str(&format!(
                "\ntry, in another terminal:\n  drover{address} workflow start aws-live-migration --id m1 --set installation={} --set cluster={}\n  drover{address} workflow watch m1\n",
                cluster.installation, cluster.id
            ));
        }
        Ok(text)
    }

    /// Where the children's logs are.
    pub(super) fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    /// Waits until a child cannot be begun again. Cancel-safe.
    pub(super) async fn broken(&self) -> Failure {
        match self.broken.lock().await.recv().await {
            Some(failure) => failure,
            // Every child has been ended.
            None => std::future::pending().await,
        }
    }

    /// Leaves the folder where it is, for somebody who wants to look.
    pub(super) fn keep_folder(&self) {
        let mut folder = self.folder.lock().expect("nobody panics with the lock");
        if let Some(folder) = folder.take() {
            // The path is known to `data`.
            drop(folder.keep());
        }
    }

    /// SIGKILL for a process; it is begun again where it was.
    pub(super) fn kill(&self, victim: Victim) {
        match victim {
            Victim::Coordinator => self.children.coordinator.kill(),
            Victim::Worker(n) => self.children.workers[n].kill(),
        }
    }

    /// Ends everything: workers, whom they talk to, whom that one talks to.
    pub(super) async fn stop(self) {
        let Children {
            world,
            coordinator,
            workers,
        } = self.children;
        future::join_all(workers.into_iter().map(Child::stop)).await;
        coordinator.stop().await;
        world.stop().await;
    }
}

fn names(clusters: &[drover_sim::ClusterReport]) -> String {
    let ids: Vec<&str> = clusters
        .iter()
        .map(|cluster| cluster.id.as_str())
        .take(3)
        .collect();
    match clusters.len() {
        0 => "none".to_owned(),
        n if n > ids.len() => format!("{n}: {}, …", ids.join(", ")),
        n => format!("{n}: {}", ids.join(", ")),
    }
}

fn address(ready: &Ready) -> Outcome<SocketAddr> {
    ready
        .listen
        .ok_or_else(|| Failure::failed("a child did not say where it listens; this is a bug"))
}

fn strings<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}

/// The port that it had, or the one that is wanted first.
fn listen(last: Option<&Ready>, first: SocketAddr) -> String {
    last.and_then(|ready| ready.listen)
        .unwrap_or(first)
        .to_string()
}

fn http(last: Option<&Ready>) -> String {
    last.and_then(|ready| ready.http)
        .unwrap_or(([127, 0, 0, 1], 0).into())
        .to_string()
}

fn log(data: &Path, name: &str) -> PathBuf {
    data.join("logs").join(format!("{name}.log"))
}

fn world(data: &Path, plan: &Plan) -> Spec {
    let folder = data.join("world").display().to_string();
    let (words, world) = (plan.source.words(), plan.world.clone());
    Spec {
        name: "the world".to_owned(),
        log: log(data, "world"),
        args: Box::new(move |last| {
            let mut args = strings(["world", "--data", &folder]);
            args.extend(strings([
                "--listen",
                &listen(last, ([127, 0, 0, 1], 0).into()),
            ]));
            args.extend(strings(["--speed", &world.speed.to_string()]));
            args.extend(strings(["--seed", &world.seed.to_string()]));
            args.extend(strings([
                "--installations",
                &world.installations.to_string(),
            ]));
            args.extend(strings(["--log", &world.log]));
            for fault in &world.fault {
                args.extend(strings(["--fault", &fault.to_string()]));
            }
            args.push("--clusters".to_owned());
            args.extend(words.iter().cloned());
            args
        }),
    }
}

fn coordinator(data: &Path, plan: &Plan, world: SocketAddr, key: &Path) -> Spec {
    let folder = data.join("coordinator").display().to_string();
    let (key, first, filter) = (
        key.display().to_string(),
        plan.listen,
        plan.world.log.clone(),
    );
    Spec {
        name: "the coordinator".to_owned(),
        log: log(data, "coordinator"),
        args: Box::new(move |last| {
            strings([
                "coordinator",
                "--world",
                &world.to_string(),
                "--data",
                &folder,
                "--listen",
                &listen(last, first),
                "--http",
                &http(last),
                "--signing-key-file",
                &key,
                "--log",
                &filter,
            ])
        }),
    }
}

fn worker(
    data: &Path,
    plan: &Plan,
    world: SocketAddr,
    coordinator: SocketAddr,
    installation: &InstallationConfig,
) -> Spec {
    let id = format!("{}-1", installation.name);
    let spool = data.join("workers").join(&id).display().to_string();
    let filter = plan.world.log.clone();
    let name = installation.name.clone();
    let labels = format!(
        "region={},partition={}",
        installation.region,
        installation.partition()
    );
    Spec {
        name: format!("worker {id}"),
        log: log(data, &format!("worker-{id}")),
        args: Box::new(move |last| {
            strings([
                "worker",
                "--world",
                &world.to_string(),
                "--coordinator",
                &coordinator.to_string(),
                "--installation",
                &name,
                "--id",
                &id,
                "--spool",
                &spool,
                "--label",
                &labels,
                "--http",
                &http(last),
                "--log",
                &filter,
            ])
        }),
    }
}

/// A key for audit heads, outside of the coordinator's folder.
fn signing_key(data: &Path) -> Outcome<PathBuf> {
    let path = data.join("keys").join("audit.key");
    if path.exists() {
        return Ok(path);
    }
    let write = || {
        fs::create_dir_all(data.join("keys"))?;
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        private_file(&path, &hex::encode(bytes))
    };
    write().map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    Ok(path)
}

fn private_file(path: &Path, text: &str) -> std::io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}
