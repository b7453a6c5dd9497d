//! The coordinator, as the lab's own client sees it.

use std::time::{Duration, Instant};

use anyhow::ensure;
use drover_proto::v1::{
    self, definition_service_client::DefinitionServiceClient,
    fleet_service_client::FleetServiceClient, workflow_service_client::WorkflowServiceClient,
};
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};

use crate::{management::until, town::COORDINATOR};

/// From one look at a workflow to the next.
const LOOK: Duration = Duration::from_millis(200);

/// A coordinator that may be away for a while.
pub(crate) struct Client {
    workflows: WorkflowServiceClient<Channel>,
    definitions: DefinitionServiceClient<Channel>,
    fleet: FleetServiceClient<Channel>,
}

impl Client {
    pub(crate) async fn connect() -> anyhow::Result<Self> {
        let endpoint = Endpoint::try_from(format!("http://{COORDINATOR}"))?
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(10));
        let channel = endpoint.connect_lazy();
        Ok(Self {
            workflows: WorkflowServiceClient::new(channel.clone()),
            definitions: DefinitionServiceClient::new(channel.clone()),
            fleet: FleetServiceClient::new(channel),
        })
    }

    pub(crate) async fn worker(&mut self) -> anyhow::Result<()> {
        let fleet = self.fleet.clone();
        until("a worker", Duration::from_secs(60), async || {
            let workers = fleet
                .clone()
                .list_workers(v1::ListWorkersRequest::default())
                .await?;
            let workers = workers.into_inner().workers;
            let connected = workers
                .iter()
                .any(|worker| worker.state() == v1::WorkerState::Connected);
            anyhow::ensure!(connected, "none is connected; see the worker's log");
            Ok(())
        })
        .await
    }

    pub(crate) async fn register(&mut self, text: &str) -> anyhow::Result<()> {
        let request = v1::RegisterDefinitionRequest {
            text: text.to_owned(),
            dry_run: false,
        };
        self.definitions
            .register_definition(request)
            .await
            .map_err(plain)?;
        Ok(())
    }

    pub(crate) async fn start(
        &mut self,
        id: &str,
        definition: &str,
        input: &Value,
    ) -> anyhow::Result<()> {
        let request = v1::StartWorkflowRequest {
            id: id.to_owned(),
            definition: definition.to_owned(),
            input: Some(v1::Json {
                text: serde_json::to_vec(input)?,
            }),
            ..v1::StartWorkflowRequest::default()
        };
        self.workflows
            .start_workflow(request)
            .await
            .map_err(plain)?;
        Ok(())
    }

    pub(crate) async fn describe(&mut self, id: &str) -> anyhow::Result<v1::Workflow> {
        let workflows = self.workflows.clone();
        until("the coordinator", Duration::from_secs(60), async || {
            let request = v1::DescribeWorkflowRequest { id: id.to_owned() };
            Ok(workflows
                .clone()
                .describe_workflow(request)
                .await?
                .into_inner())
        })
        .await
    }

    /// Shows `seen` a workflow again and again until it has ended or waits for a person, and answers which.
    ///
    /// # Errors
    /// When it is not that far within `patience`; as `seen`.
    pub(crate) async fn follow(
        &mut self,
        id: &str,
        patience: Duration,
        mut seen: impl AsyncFnMut(&v1::Workflow) -> anyhow::Result<()>,
    ) -> anyhow::Result<anyhow::Result<()>> {
        let begin = Instant::now();
        loop {
            ensure!(
                begin.elapsed() < patience,
                "{id} has not ended within {} s",
                patience.as_secs()
            );
            let workflow = self.describe(id).await?;
            seen(&workflow).await?;
            if let Some(ended) = settled(&workflow) {
                return Ok(ended);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// `None` while it goes on.
fn settled(workflow: &v1::Workflow) -> Option<anyhow::Result<()>> {
    match workflow.state() {
        v1::WorkflowState::Completed => Some(Ok(())),
        v1::WorkflowState::Pending | v1::WorkflowState::Running | v1::WorkflowState::Waiting => {
            None
        }
        state => {
            let why: Vec<String> = workflow
                .steps
                .iter()
                .chain(&workflow.guards)
                .filter_map(|step| {
                    let error = step.last_error.as_ref()?;
                    Some(format!("{}: {}: {}", step.id, error.code, error.message))
                })
                .collect();
            Some(Err(anyhow::anyhow!(
                "it is {}: {}",
                state.as_str_name(),
                why.join("; ")
            )))
        }
    }
}

fn plain(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}
