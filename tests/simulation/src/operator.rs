//! The operator: starts workflows, looks, and does what operators do; when nothing goes wrong any more, helps every
//! workflow to its end.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use drover_proto::v1::{
    self, admin_service_client::AdminServiceClient,
    definition_service_client::DefinitionServiceClient, fleet_service_client::FleetServiceClient,
    workflow_service_client::WorkflowServiceClient,
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::{
    chance::Chance,
    history::{Recorder, Seen, What},
    kinds, net,
    scenario::Scenario,
};

/// Between two rounds of help.
const ROUND: Duration = Duration::from_secs(5);

/// The operator, seen from outside.
#[derive(Clone)]
pub(crate) struct Operator(Arc<Inner>);

struct Inner {
    seed: u64,
    /// Ids, and when they are started.
    starts: Vec<(String, String, Duration)>,
    recorder: Recorder,
    over: AtomicBool,
    done: AtomicBool,
    open: Mutex<Vec<String>>,
    backup: Mutex<Vec<u8>>,
}

impl Operator {
    pub(crate) fn new(scenario: &Scenario, recorder: Recorder) -> Self {
        let mut chance = Chance::of(scenario.seed, "starts");
        let pools = scenario.pools();
        let starts = (0..scenario.workflows)
            .map(|n| {
                let at = chance.between(Duration::from_secs(2), scenario.trouble * 2 / 3);
                (format!("m{n}"), chance.pick(&pools).to_owned(), at)
            })
            .collect();
        Self(Arc::new(Inner {
            seed: scenario.seed,
            starts,
            recorder,
            over: AtomicBool::new(false),
            done: AtomicBool::new(false),
            open: Mutex::new(Vec::new()),
            backup: Mutex::new(Vec::new()),
        }))
    }

    /// Nothing goes wrong any more.
    pub(crate) fn faults_are_over(&self) {
        self.0.over.store(true, Ordering::Relaxed);
    }

    /// Every workflow has ended, and a backup was taken.
    pub(crate) fn is_done(&self) -> bool {
        self.0.done.load(Ordering::Relaxed)
    }

    /// Workflows that had not ended when it looked last, and how they stood.
    pub(crate) fn open(&self) -> Vec<String> {
        self.0
            .open
            .lock()
            .expect("nobody panics while holding it")
            .clone()
    }

    /// The backup.
    pub(crate) fn backup(&self) -> Vec<u8> {
        self.0
            .backup
            .lock()
            .expect("nobody panics while holding it")
            .clone()
    }

    pub(crate) async fn run(self) -> turmoil::Result {
        let mut desk = Desk::new(self.0.clone());
        desk.register().await;
        while !self.0.over.load(Ordering::Relaxed) {
            let pause = desk
                .chance
                .between(Duration::from_millis(500), Duration::from_secs(7));
            tokio::time::sleep(pause).await;
            desk.start_due().await;
            desk.something().await;
        }
        loop {
            desk.start_due().await;
            if desk.help().await {
                break;
            }
            tokio::time::sleep(ROUND).await;
        }
        while desk.take_backup().await.is_err() {
            tokio::time::sleep(ROUND).await;
        }
        self.0.done.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// What the operator works with.
struct Desk {
    inner: Arc<Inner>,
    chance: Chance,
    started: BTreeSet<String>,
    workflows: WorkflowServiceClient<Channel>,
    definitions: DefinitionServiceClient<Channel>,
    fleet: FleetServiceClient<Channel>,
    admin: AdminServiceClient<Channel>,
}

impl Desk {
    fn new(inner: Arc<Inner>) -> Self {
        let endpoint = Endpoint::from(net::coordinator())
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(10))
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true);
        let channel = net::channel(&endpoint);
        Self {
            chance: Chance::of(inner.seed, "operator"),
            started: BTreeSet::new(),
            inner,
            workflows: WorkflowServiceClient::new(channel.clone()),
            definitions: DefinitionServiceClient::new(channel.clone()),
            fleet: FleetServiceClient::new(channel.clone()),
            admin: AdminServiceClient::new(channel),
        }
    }

    /// The definition needs kinds, and those come with the first worker.
    async fn register(&mut self) {
        loop {
            let request = v1::RegisterDefinitionRequest {
                text: kinds::DEFINITION.to_owned(),
                dry_run: false,
            };
            if self.definitions.register_definition(request).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Starts what is due and was not acknowledged yet.
    async fn start_due(&mut self) {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        for (id, installation, at) in self.inner.starts.clone() {
            if at > now || self.started.contains(&id) {
                continue;
            }
            let input = serde_json::json!({ "installation": installation, "cluster": id });
            let request = v1::StartWorkflowRequest {
                id: id.clone(),
                definition: "simulated".to_owned(),
                version: 0,
                input: Some(v1::Json {
                    text: input.to_string().into_bytes(),
                }),
                dry_run: false,
                reason: String::new(),
            };
            let Ok(answer) = self.workflows.start_workflow(request).await else {
                continue;
            };
            self.inner.recorder.note(What::Started {
                workflow: id.clone(),
            });
            self.saw(answer.into_inner().workflow.as_ref());
            self.started.insert(id);
        }
    }

    fn saw(&self, workflow: Option<&v1::Workflow>) {
        if let Some(workflow) = workflow {
            let seen = Box::new(Seen::from(workflow));
            self.inner.recorder.note(What::Seen(seen));
        }
    }

    /// One thing that operators do, to one workflow.
    async fn something(&mut self) {
        let Some(id) = self.some_workflow() else {
            return;
        };
        match self.chance.number(0, 100) {
            0..30 => {
                if let Some(workflow) = self.describe(&id).await {
                    self.saw(Some(&workflow));
                }
            }
            30..45 => {
                self.list().await;
            }
            45..50 => self.act("pause", &id).await,
            50..62 => self.act("resume", &id).await,
            62..66 => self.act("cancel", &id).await,
            66..67 => self.act("terminate", &id).await,
            67..90 => {
                if let Some(workflow) = self.describe(&id).await {
                    self.help_one(&workflow).await;
                }
            }
            90..93 => self.brake(true).await,
            _ => self.brake(false).await,
        }
    }

    fn some_workflow(&mut self) -> Option<String> {
        let n = self.started.len();
        (n > 0)
            .then(|| self.chance.index(n))
            .and_then(|index| self.started.iter().nth(index).cloned())
    }

    async fn describe(&mut self, id: &str) -> Option<v1::Workflow> {
        let request = v1::DescribeWorkflowRequest { id: id.to_owned() };
        let answer = self.workflows.describe_workflow(request).await;
        answer.ok().map(tonic::Response::into_inner)
    }

    async fn list(&mut self) -> Option<Vec<v1::Workflow>> {
        let request = v1::ListWorkflowsRequest::default();
        let answer = self.workflows.list_workflows(request).await.ok()?;
        let workflows = answer.into_inner().workflows;
        for workflow in &workflows {
            self.saw(Some(workflow));
        }
        Some(workflows)
    }

    async fn act(&mut self, act: &'static str, id: &str) {
        let request = v1::ActRequest {
            id: id.to_owned(),
            reason: "the simulation wants it".to_owned(),
            dry_run: false,
        };
        let answer = match act {
            "pause" => self.workflows.pause_workflow(request).await,
            "resume" => self.workflows.resume_workflow(request).await,
            "cancel" => self.workflows.cancel_workflow(request).await,
            _ => self.workflows.terminate_workflow(request).await,
        };
        self.acted(act, id, answer);
    }

    fn acted(
        &self,
        act: &'static str,
        id: &str,
        answer: Result<tonic::Response<v1::ActResponse>, Status>,
    ) {
        let code = match answer {
            Ok(answer) => {
                self.saw(answer.into_inner().workflow.as_ref());
                String::new()
            }
            Err(status) => code(&status),
        };
        self.inner.recorder.note(What::Acted {
            workflow: id.to_owned(),
            act,
            code,
        });
    }

    async fn brake(&mut self, on: bool) {
        let request = v1::SetBrakeRequest {
            on,
            reason: "the simulation wants it".to_owned(),
            dry_run: false,
        };
        let answer = self.fleet.set_brake(request).await;
        self.inner.recorder.note(What::Acted {
            workflow: String::new(),
            act: if on { "brake" } else { "release" },
            code: answer
                .err()
                .map_or_else(String::new, |status| code(&status)),
        });
    }

    /// Does for every workflow what lets it go on. True when all have ended.
    async fn help(&mut self) -> bool {
        self.brake(false).await;
        let Some(workflows) = self.list().await else {
            return false;
        };
        let mut open = Vec::new();
        for workflow in workflows {
            if has_ended(workflow.state()) {
                continue;
            }
            self.help_one(&workflow).await;
            open.push(sentence(&workflow));
        }
        let all = open.is_empty() && self.started.len() == self.inner.starts.len();
        *self
            .inner
            .open
            .lock()
            .expect("nobody panics while holding it") = open;
        all
    }

    async fn help_one(&mut self, workflow: &v1::Workflow) {
        let id = &workflow.id;
        if workflow.state() == v1::WorkflowState::Paused {
            self.act("resume", id).await;
        }
        for step in workflow.steps.iter().chain(&workflow.guards) {
            match step.state() {
                v1::StepState::Paused | v1::StepState::Stuck => {
                    let request = v1::RetryStepRequest {
                        id: id.clone(),
                        step: step.id.clone(),
                        ..v1::RetryStepRequest::default()
                    };
                    let answer = self.workflows.retry_step(request).await;
                    self.acted("retry", id, answer);
                }
                v1::StepState::Waiting if step.kind == "gate" => {
                    let request = v1::GateRequest {
                        id: id.clone(),
                        step: step.id.clone(),
                        ..v1::GateRequest::default()
                    };
                    let answer = self.workflows.approve_gate(request).await;
                    self.acted("approve", id, answer);
                }
                _ => {}
            }
        }
    }

    async fn take_backup(&mut self) -> Result<(), Status> {
        let request = v1::BackupRequest::default();
        let mut chunks = self.admin.backup(request).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.message().await? {
            bytes.extend(chunk.data);
        }
        *self
            .inner
            .backup
            .lock()
            .expect("nobody panics while holding it") = bytes;
        Ok(())
    }
}

fn code(status: &Status) -> String {
    status
        .metadata()
        .get("drover-code")
        .and_then(|code| code.to_str().ok())
        .map_or_else(|| format!("{:?}", status.code()), ToOwned::to_owned)
}

fn has_ended(state: v1::WorkflowState) -> bool {
    matches!(
        state,
        v1::WorkflowState::Completed
            | v1::WorkflowState::RolledBack
            | v1::WorkflowState::Cancelled
            | v1::WorkflowState::Terminated
            | v1::WorkflowState::Removed
    )
}

fn sentence(workflow: &v1::Workflow) -> String {
    let steps: Vec<String> = workflow
        .steps
        .iter()
        .chain(&workflow.guards)
        .map(|step| format!("{} {:?} attempt {}", step.id, step.state(), step.attempt))
        .collect();
    let holds: Vec<&str> = workflow
        .holds
        .iter()
        .map(|hold| hold.message.as_str())
        .collect();
    format!(
        "{} is {:?}: {}; {}",
        workflow.id,
        workflow.state(),
        steps.join(", "),
        holds.join("; ")
    )
}
