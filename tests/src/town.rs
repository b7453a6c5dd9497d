//! Real processes of one program: the simulated world, a coordinator, one worker for every installation; each can be
//! killed, held still, and begun again where it was.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use drover_proto::v1;
use drover_sim::{InstallationConfig, LedgerEntry, WorldClient, ledger};
use drover_steps_capa::DEFINITIONS;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::{client::Client, eventually_within};

/// What a town is made from.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Installations of the world, one worker each: golem, lotus, …
    pub installations: u16,
    /// So many generated clusters of varied shapes; 0 for the sample with three masters.
    pub generated: usize,
    /// A world to go on with, as [`Town::save_world`] left it; instead of a new one.
    pub saved: Option<PathBuf>,
    /// Domain seconds a real second.
    pub speed: f64,
    /// Faults of the world.
    pub faults: Vec<&'static str>,
    /// Settings of the coordinator; it judges liveness fast unless told otherwise.
    pub coordinator: Vec<String>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            installations: 1,
            generated: 0,
            saved: None,
            speed: 300.0,
            faults: Vec::new(),
            coordinator: strings(["--profile", "test"]),
        }
    }
}

/// One process, and what it takes to begin it again.
struct Process {
    name: String,
    child: Option<Child>,
    args: Vec<String>,
    /// `--listen` and `--http` as it had them.
    addresses: Vec<String>,
    listen: Option<SocketAddr>,
}

/// Domain time is real time many times over: towns that share two cores would run into the timeouts of steps.
static TURN: Mutex<()> = Mutex::const_new(());

/// Waits until no other town runs in this process, for what begins one by itself.
pub async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// A running town, one at a time.
pub struct Town {
    program: PathBuf,
    folder: TempDir,
    world: Process,
    coordinator: Process,
    workers: BTreeMap<String, Process>,
    /// What lies outside.
    pub reality: WorldClient,
    /// The clusters in it and their installations.
    pub clusters: Vec<(String, String)>,
    // The last field: the next town begins once this one's processes are gone.
    _turn: MutexGuard<'static, ()>,
}

/// In which the world keeps itself.
const JOURNAL: &str = "world.journal";

/// Longer than any migration of these tests takes, kills included.
pub const MIGRATION: Duration = Duration::from_secs(180);

fn strings<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}

impl Process {
    fn new(name: &str, args: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            child: None,
            args,
            addresses: Vec::new(),
            listen: None,
        }
    }

    fn begin(&mut self, program: &Path, folder: &Path) {
        assert!(self.child.is_none(), "{} runs", self.name);
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join(format!("{}.log", self.name)))
            .unwrap();
        let mut child = Command::new(program)
            .arg("dev")
            .args(&self.args)
            .args(&self.addresses)
            .arg("--exit-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("{} does not start:\n{}", self.name, self.log(folder)));
        self.addresses = ["listen", "http"]
            .into_iter()
            .filter_map(|key| Some((key, ready[key].as_str()?)))
            .flat_map(|(key, address)| [format!("--{key}"), address.to_owned()])
            .collect();
        self.listen = ready["listen"].as_str().map(|text| text.parse().unwrap());
        self.child = Some(child);
    }

    fn log(&self, folder: &Path) -> String {
        std::fs::read_to_string(folder.join(format!("{}.log", self.name))).unwrap_or_default()
    }

    /// SIGKILL: no handler runs, no buffer is written.
    fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGSTOP or SIGCONT.
    fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.as_ref().expect("it runs").id()).unwrap();
        let id = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Town {
    /// Begins everything, and registers the live migration.
    pub async fn start(program: &str, plan: &Plan) -> Self {
        let turn = turn().await;
        let folder = tempfile::tempdir().unwrap();
        let program = PathBuf::from(program);
        let mut args = strings(["world", "--installations"]);
        args.push(plan.installations.to_string());
        args.extend(["--speed".to_owned(), plan.speed.to_string()]);
        for fault in &plan.faults {
            args.extend(strings(["--fault", fault]));
        }
        let clusters = if plan.generated == 0 {
            let path = folder.path().join("sample.yaml");
            std::fs::write(&path, drover_sim::sample_crs()).unwrap();
            path.display().to_string()
        } else {
            plan.generated.to_string()
        };
        args.extend(["--clusters".to_owned(), clusters]);
        let kept = folder.path().join("world");
        if let Some(saved) = &plan.saved {
            std::fs::create_dir(&kept).unwrap();
            std::fs::copy(saved, kept.join(JOURNAL)).unwrap();
        }
        args.extend(["--data".to_owned(), kept.display().to_string()]);
        let mut world = Process::new("world", args);
        world.begin(&program, folder.path());
        let outside = world.listen.unwrap().to_string();

        let data = folder.path().join("coordinator").display().to_string();
        let mut args = strings(["coordinator", "--world", &outside, "--data", &data]);
        args.extend(plan.coordinator.iter().cloned());
        let mut coordinator = Process::new("coordinator", args);
        coordinator.addresses = strings(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        coordinator.begin(&program, folder.path());

        let mut workers = BTreeMap::new();
        for installation in InstallationConfig::several(usize::from(plan.installations)) {
            let name = &installation.name;
            let args = worker(name, "1", &outside, coordinator.listen.unwrap(), &folder);
            let mut process = Process::new(&format!("worker-{name}"), args);
            process.addresses = strings(["--http", "127.0.0.1:0"]);
            process.begin(&program, folder.path());
            workers.insert(name.clone(), process);
        }
        let reality = WorldClient::connect(&format!("http://{outside}"), Duration::from_secs(30))
            .await
            .unwrap();
        let report = reality.report().await.unwrap();
        let town = Self {
            program,
            folder,
            world,
            coordinator,
            workers,
            _turn: turn,
            reality,
            clusters: report
                .clusters
                .into_iter()
                .map(|cluster| (cluster.id, cluster.installation))
                .collect(),
        };
        let mut client = town.client().await;
        client.workers(usize::from(plan.installations)).await;
        for text in DEFINITIONS {
            client.register_text(text).await.unwrap();
        }
        town
    }

    /// Where the coordinator listens, whenever it runs.
    pub fn address(&self) -> SocketAddr {
        self.coordinator.listen.unwrap()
    }

    /// A client of it, once it runs.
    pub async fn client(&self) -> Client {
        Client::connect(self.address()).await
    }

    /// Starts the migration of a cluster; true once the coordinator has said that it did.
    pub async fn migrate(&self, client: &mut Client, id: &str, n: usize) -> bool {
        self.migrate_with(client, id, n, &json!({})).await.is_ok()
    }

    /// The same with more input.
    pub async fn migrate_with(
        &self,
        client: &mut Client,
        id: &str,
        n: usize,
        more: &Value,
    ) -> Result<(), tonic::Status> {
        let (cluster, installation) = &self.clusters[n];
        let mut input = json!({ "installation": installation, "cluster": cluster });
        for (key, value) in more.as_object().unwrap() {
            input[key] = value.clone();
        }
        let request = v1::StartWorkflowRequest {
            id: id.to_owned(),
            definition: "aws-live-migration".to_owned(),
            input: Some(v1::Json {
                text: serde_json::to_vec(&input).unwrap(),
            }),
            ..v1::StartWorkflowRequest::default()
        };
        client.workflows.start_workflow(request).await.map(drop)
    }

    /// Keeps the world as it is now: the same clusters, with the same keys, for another town.
    pub fn save_world(&self, file: &Path) {
        let journal = self.folder.path().join("world").join(JOURNAL);
        std::fs::copy(journal, file).unwrap();
    }

    /// Runs the operator's command; exit code, stdout and stderr.
    pub fn drover(&self, args: &[&str]) -> (i32, String, String) {
        let output = Command::new(&self.program)
            .args(["--address", &self.address().to_string()])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    /// The coordinator's process id, while it runs.
    pub fn coordinator_id(&self) -> u32 {
        self.coordinator.child.as_ref().expect("it runs").id()
    }

    /// SIGKILL.
    pub fn kill_coordinator(&mut self) {
        self.coordinator.kill();
    }

    /// Begins it where it was.
    pub fn begin_coordinator(&mut self) {
        self.coordinator.begin(&self.program, self.folder.path());
    }

    /// SIGKILL.
    pub fn kill_worker(&mut self, installation: &str) {
        self.worker(installation).kill();
    }

    /// Begins it where it was: same id, same spool.
    pub fn begin_worker(&mut self, installation: &str) {
        let process = self.workers.get_mut(installation).unwrap();
        process.begin(&self.program, self.folder.path());
    }

    /// One worker more, beside the first one.
    pub fn begin_peer(&mut self, installation: &str, peer: &str) {
        let outside = self.world.listen.unwrap().to_string();
        let args = worker(installation, peer, &outside, self.address(), &self.folder);
        let name = format!("{installation}-{peer}");
        let mut process = Process::new(&format!("worker-{name}"), args);
        process.addresses = strings(["--http", "127.0.0.1:0"]);
        process.begin(&self.program, self.folder.path());
        self.workers.insert(name, process);
    }

    /// Holds a worker still: it is there and says nothing.
    pub fn hold_worker(&mut self, installation: &str) {
        self.worker(installation)
            .signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on.
    pub fn let_worker_go_on(&mut self, installation: &str) {
        self.worker(installation)
            .signal(rustix::process::Signal::CONT);
    }

    fn worker(&mut self, installation: &str) -> &mut Process {
        self.workers.get_mut(installation).unwrap()
    }

    /// Where everything is kept: stores, spools and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a process has logged.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("{name}.log"))).unwrap()
    }

    /// The world without times and random ids, once finished Jobs are deleted: that is up to the clock of the world.
    pub async fn world_at_rest(&self) -> Value {
        eventually_within(MIGRATION, "finished Jobs are deleted", async || {
            let world = self.reality.normalized().await.unwrap();
            (!world.to_string().contains(r#""Job.batch "#)).then_some(world)
        })
        .await
    }

    /// Asserts what the ledger proves: nothing superseded acted, and nothing was done twice.
    pub async fn assert_ledger_is_clean(&self) -> Vec<LedgerEntry> {
        let entries = self.reality.ledger(0).await.unwrap();
        let violations = ledger::check_kinds(&entries, &drover_worker::registry().unwrap());
        assert_eq!(violations, []);
        entries
    }

    /// Waits, with patience for a whole migration, until a workflow has ended or waits for a person.
    pub async fn settled(&self, id: &str) -> v1::Workflow {
        let mut client = self.client().await;
        let settled = async {
            loop {
                let request = v1::DescribeWorkflowRequest { id: id.to_owned() };
                let workflow = client.workflows.describe_workflow(request).await;
                let workflow = workflow.unwrap().into_inner();
                if is_settled(&workflow) {
                    return workflow;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(MIGRATION, settled).await {
            Ok(workflow) => workflow,
            Err(_) => panic!(
                "{id} does not end: {:#?}",
                crate::client::summary(client.describe(id).await)
            ),
        }
    }

    /// Waits until a step is in a state, however long a migration takes to come to it.
    pub async fn until_step(&self, id: &str, step: &str, state: v1::StepState) {
        let mut client = self.client().await;
        let seen = async {
            loop {
                let workflow = client.describe(id).await;
                let mut steps = workflow.steps.iter().chain(&workflow.guards);
                if steps.any(|found| found.id == step && found.state() == state) {
                    return;
                }
                assert!(
                    !is_settled(&workflow),
                    "{:#?}",
                    crate::client::summary(workflow)
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = tokio::time::timeout(MIGRATION, seen).await;
        assert!(seen.is_ok(), "{id}/{step} is never {state:?}");
    }
}

fn is_settled(workflow: &v1::Workflow) -> bool {
    matches!(
        workflow.state(),
        v1::WorkflowState::Completed
            | v1::WorkflowState::RolledBack
            | v1::WorkflowState::Cancelled
            | v1::WorkflowState::Terminated
            | v1::WorkflowState::Removed
            | v1::WorkflowState::Stuck
            | v1::WorkflowState::Paused
    )
}

fn worker(
    installation: &str,
    n: &str,
    outside: &str,
    coordinator: SocketAddr,
    folder: &TempDir,
) -> Vec<String> {
    let id = format!("{installation}-{n}");
    let spool = folder
        .path()
        .join("workers")
        .join(&id)
        .display()
        .to_string();
    strings([
        "worker",
        "--world",
        outside,
        "--coordinator",
        &coordinator.to_string(),
        "--installation",
        installation,
        "--id",
        &id,
        "--spool",
        &spool,
    ])
}
