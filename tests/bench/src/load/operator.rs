//! The operator: registers the definition and starts workflows, over a connection of its own.

use std::net::SocketAddr;

use anyhow::Context as _;
use drover_proto::v1::{
    self, definition_service_client::DefinitionServiceClient,
    workflow_service_client::WorkflowServiceClient,
};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use super::kind;

/// What an operator does to a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Pause,
    Resume,
    Cancel,
}

/// A client, and the starts that are under way.
pub(crate) struct Operator {
    channel: Channel,
    workflows: WorkflowServiceClient<Channel>,
    starts: JoinSet<anyhow::Result<v1::StartWorkflowResponse>>,
    next: u32,
}

impl Operator {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let channel = Endpoint::try_from(format!("http://{address}"))?
            .tcp_nodelay(true)
            .connect()
            .await
            .context("the operator's connection")?;
        Ok(Self {
            workflows: WorkflowServiceClient::new(channel.clone()),
            channel,
            starts: JoinSet::new(),
            next: 0,
        })
    }

    /// Registers the definition of so many steps. Its kind must be known: the worker comes first.
    pub(crate) async fn register(&self, steps: u32) -> anyhow::Result<()> {
        let request = v1::RegisterDefinitionRequest {
            text: kind::definition(steps),
            dry_run: false,
        };
        DefinitionServiceClient::new(self.channel.clone())
            .register_definition(request)
            .await
            .context("registering the definition")?;
        Ok(())
    }

    /// Starts one more workflow; [`Operator::started`] says how that went.
    pub(crate) fn start(&mut self) {
        self.next += 1;
        let request = v1::StartWorkflowRequest {
            id: format!("w{:07}", self.next),
            definition: kind::DEFINITION.to_owned(),
            version: 1,
            input: Some(v1::Json {
                text: b"{}".to_vec(),
            }),
            dry_run: false,
            reason: String::new(),
        };
        let mut client = self.workflows.clone();
        self.starts.spawn(async move {
            let answer = client
                .start_workflow(request)
                .await
                .context("starting a workflow")?
                .into_inner();
            anyhow::ensure!(answer.created, "a workflow was there already");
            Ok(answer)
        });
    }

    /// Pauses a workflow, lets it go on, or cancels it, and waits for the answer.
    pub(crate) async fn act(&self, act: Act, id: &str) -> anyhow::Result<()> {
        let request = v1::ActRequest {
            id: id.to_owned(),
            ..v1::ActRequest::default()
        };
        let mut client = self.workflows.clone();
        match act {
            Act::Pause => client.pause_workflow(request).await,
            Act::Resume => client.resume_workflow(request).await,
            Act::Cancel => client.cancel_workflow(request).await,
        }
        .with_context(|| format!("{act:?} {id}"))?;
        Ok(())
    }

    /// Starts that are not answered.
    pub(crate) fn under_way(&self) -> usize {
        self.starts.len()
    }

    /// The next answer to a start; waits for ever while none is under way. Cancel-safe.
    pub(crate) async fn started(&mut self) -> anyhow::Result<v1::StartWorkflowResponse> {
        match self.starts.join_next().await {
            Some(answer) => answer?,
            None => std::future::pending().await,
        }
    }
}
