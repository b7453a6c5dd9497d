//! A client that reads as a sentence.

use std::net::SocketAddr;

use drover_proto::v1::{
    self, admin_service_client::AdminServiceClient,
    definition_service_client::DefinitionServiceClient, fleet_service_client::FleetServiceClient,
    workflow_service_client::WorkflowServiceClient,
};
use serde_json::Value;
use tonic::{Status, transport::Channel};

use crate::eventually;

/// All services of one coordinator.
#[derive(Clone)]
pub struct Client {
    pub workflows: WorkflowServiceClient<Channel>,
    pub definitions: DefinitionServiceClient<Channel>,
    pub fleet: FleetServiceClient<Channel>,
    pub admin: AdminServiceClient<Channel>,
}

impl Client {
    /// Connects, waiting until somebody listens.
    pub async fn connect(address: SocketAddr) -> Self {
        let endpoint = tonic::transport::Endpoint::try_from(format!("http://{address}")).unwrap();
        let channel = eventually("the coordinator listens", async || {
            endpoint.connect().await.ok()
        })
        .await;
        Self {
            workflows: WorkflowServiceClient::new(channel.clone()),
            definitions: DefinitionServiceClient::new(channel.clone()),
            fleet: FleetServiceClient::new(channel.clone()),
            admin: AdminServiceClient::new(channel),
        }
    }

    /// Waits until so many workers are connected.
    pub async fn workers(&mut self, n: usize) {
        eventually("workers are connected", async || {
            let workers = self
                .fleet
                .list_workers(v1::ListWorkersRequest::default())
                .await
                .ok()?
                .into_inner()
                .workers;
            let up = workers
                .iter()
                .filter(|worker| worker.state() == v1::WorkerState::Connected)
                .count();
            (up >= n).then_some(())
        })
        .await;
    }

    /// Registers a definition named `toy` with these steps (the part below `spec:` after placement).
    pub async fn register(&mut self, version: u32, spec: &str) {
        self.try_register(version, spec).await.unwrap();
    }

    /// As [`Client::register`].
    pub async fn try_register(&mut self, version: u32, spec: &str) -> Result<(), Status> {
        let text = format!(
            "apiVersion: drover/v1\nkind: WorkflowDefinition\nmetadata: {{ name: toy, version: {version} }}\nspec:\n  input: {{ type: object }}\n  placement: {{ installation: golem }}\n{spec}"
        );
        self.register_text(&text).await
    }

    /// Registers any definition.
    pub async fn register_text(&mut self, text: &str) -> Result<(), Status> {
        let request = v1::RegisterDefinitionRequest {
            text: text.to_owned(),
            dry_run: false,
        };
        self.definitions
            .register_definition(request)
            .await
            .map(drop)
    }

    /// Starts a workflow of `toy`.
    pub async fn start(&mut self, id: &str) -> v1::Workflow {
        self.try_start(id, &serde_json::json!({}))
            .await
            .unwrap()
            .workflow
            .unwrap()
    }

    /// As [`Client::start`].
    pub async fn try_start(
        &mut self,
        id: &str,
        input: &Value,
    ) -> Result<v1::StartWorkflowResponse, Status> {
        let request = v1::StartWorkflowRequest {
            id: id.to_owned(),
            definition: "toy".to_owned(),
            version: 0,
            input: Some(v1::Json {
                text: serde_json::to_vec(input).unwrap(),
            }),
            dry_run: false,
            reason: String::new(),
        };
        self.workflows
            .start_workflow(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// A workflow as it stands.
    pub async fn describe(&mut self, id: &str) -> v1::Workflow {
        let request = v1::DescribeWorkflowRequest { id: id.to_owned() };
        self.workflows
            .describe_workflow(request)
            .await
            .unwrap()
            .into_inner()
    }

    /// Waits until a workflow is in a state.
    pub async fn until(&mut self, id: &str, state: v1::WorkflowState) -> v1::Workflow {
        let mut last = None;
        let what = format!("{id} is {state:?}");
        let mut client = self.clone();
        let found = tokio::time::timeout(std::time::Duration::from_secs(10), async {
            loop {
                let workflow = client.describe(id).await;
                if workflow.state() == state {
                    return workflow;
                }
                last = Some(workflow);
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        found.unwrap_or_else(|_| panic!("it never came to: {what}; it is {:#?}", last.map(summary)))
    }

    /// Waits until a step is in a state.
    pub async fn until_step(&mut self, id: &str, step: &str, state: v1::StepState) -> v1::Step {
        let mut client = self.clone();
        eventually(&format!("{id}/{step} is {state:?}"), async || {
            let workflow = client.describe(id).await;
            workflow
                .steps
                .into_iter()
                .chain(workflow.guards)
                .find(|found| found.id == step && found.state() == state)
        })
        .await
    }

    /// Something simple done to a workflow.
    pub fn act(id: &str) -> v1::ActRequest {
        v1::ActRequest {
            id: id.to_owned(),
            reason: "the test wants it".to_owned(),
            dry_run: false,
        }
    }

    /// A whole backup.
    pub async fn backup(&mut self) -> Vec<u8> {
        let request = v1::BackupRequest {};
        let mut stream = self.admin.backup(request).await.unwrap().into_inner();
        let mut backup = Vec::new();
        while let Some(chunk) = stream.message().await.unwrap() {
            backup.extend(chunk.data);
        }
        backup
    }

    /// Fills an empty coordinator.
    pub async fn restore(&mut self, backup: &[u8]) -> Result<v1::RestoreResponse, Status> {
        let chunks: Vec<v1::RestoreRequest> = backup
            .chunks(1000)
            .map(|data| v1::RestoreRequest {
                data: data.to_vec(),
                reason: "the disk is gone".into(),
            })
            .collect();
        let restored = self.admin.restore(tokio_stream::iter(chunks)).await;
        restored.map(tonic::Response::into_inner)
    }

    /// How the continuous backup is.
    pub async fn backup_status(&mut self) -> v1::BackupStatus {
        let request = v1::GetBackupStatusRequest {};
        let status = self.admin.get_backup_status(request).await;
        status.unwrap().into_inner()
    }

    /// Waits until everything up to now is in the continuous backup.
    pub async fn copied(&mut self) -> v1::BackupStatus {
        let mut client = self.clone();
        eventually("everything is copied", async || {
            let status = client.backup_status().await;
            let lag = status.lag.unwrap_or_default();
            let done = status.failure.is_none() && status.records > 0;
            (done && lag == prost_types::Duration::default()).then_some(status)
        })
        .await
    }

    /// Every chain and every tombstone holds.
    pub async fn audit_is_sound(&mut self) {
        let request = v1::VerifyAuditRequest {};
        let report = self.admin.verify_audit(request).await.unwrap().into_inner();
        assert_eq!(report.faults, [], "{report:?}");
    }

    /// A step's output, wherever it lies.
    pub async fn output(&mut self, id: &str, step: &str) -> Result<Value, Status> {
        let request = v1::ReadOutputRequest {
            id: id.to_owned(),
            step: step.to_owned(),
        };
        let mut parts = self.workflows.read_output(request).await?.into_inner();
        let mut text = Vec::new();
        while let Some(part) = parts.message().await? {
            text.extend(part.data);
        }
        Ok(serde_json::from_slice(&text).unwrap())
    }

    /// What a connected worker says it holds and does.
    pub async fn dump(&mut self, worker: &str) -> Result<Value, Status> {
        let request = v1::CommandWorkerRequest {
            id: worker.to_owned(),
            command: v1::WorkerCommand::DumpState.into(),
            ..v1::CommandWorkerRequest::default()
        };
        let answer = self
            .fleet
            .command_worker(request)
            .await?
            .into_inner()
            .answer;
        Ok(serde_json::from_slice(&answer.unwrap_or_default().text).unwrap())
    }

    /// The history so far.
    pub async fn history(&mut self, id: &str) -> String {
        let request = v1::ReadHistoryRequest {
            id: id.to_owned(),
            from_seq: 0,
            follow: false,
        };
        let mut stream = self
            .workflows
            .read_history(request)
            .await
            .unwrap()
            .into_inner();
        let mut lines = Vec::new();
        while let Some(more) = stream.message().await.unwrap() {
            lines.extend(more.lines);
        }
        String::from_utf8(lines).unwrap()
    }
}

/// What matters of a workflow in a failure message.
pub fn summary(workflow: v1::Workflow) -> Vec<String> {
    let state = format!("{:?}", workflow.state());
    let steps = workflow.steps.iter().chain(&workflow.guards);
    let steps = steps.map(|step| {
        let error = step.last_error.as_ref().map_or("", |error| &error.message);
        format!(
            "{} {:?} attempt {} {error}",
            step.id,
            step.state(),
            step.attempt
        )
    });
    let holds = workflow
        .holds
        .iter()
        .map(|hold| format!("hold {}: {}", hold.code, hold.message));
    std::iter::once(state).chain(steps).chain(holds).collect()
}

/// The stable code of a refusal.
pub fn code(status: &Status) -> String {
    status
        .metadata()
        .get("drover-code")
        .map_or_else(String::new, |code| code.to_str().unwrap().to_owned())
}
