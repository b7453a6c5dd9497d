//! `drover.v1.WorkflowService`.

use std::pin::Pin;

use drover_core::{
    ids::{Actor, Digest},
    query::Query,
    stream::StreamId,
    workflow::Act,
};
use drover_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};

use super::{Shared, actor, from_wire, id, list, objects, to_wire};
use crate::{
    engine::messages::{ActOn, Follower, Input, Replan, Start},
    refusal::{Kind, Refusal},
};

/// Items of a stream that may wait for a slow client.
const STREAM_QUEUE: usize = 16;

/// Records of a history that are read at once.
const READ_AT_ONCE: usize = 256;

const PAGE_DEFAULT: usize = 500;
const PAGE_MAX: usize = 5000;

pub(super) type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
#[derive(Clone)]
pub(super) struct Service(pub(super) Shared);

impl Service {
    async fn act(
        &self,
        workflow: &str,
        act: Act,
        actor: Actor,
        reason: String,
        dry_run: bool,
    ) -> Result<Response<v1::ActResponse>, Status> {
        let id = id("workflow", workflow)?;
        let (workflow, message) = self
            .0
            .engine
            .ask(|answer| {
                Input::Act(Box::new(ActOn {
                    id,
                    act,
                    dry_run,
                    actor,
                    reason,
                    answer,
                }))
            })
            .await?;
        Ok(Response::new(v1::ActResponse {
            workflow: Some(to_wire::workflow(&workflow)),
            message,
        }))
    }

    async fn act_simply(
        &self,
        request: Request<v1::ActRequest>,
        act: Act,
    ) -> Result<Response<v1::ActResponse>, Status> {
        let actor = actor(&request);
        let v1::ActRequest {
            id,
            reason,
            dry_run,
        } = request.into_inner();
        self.act(&id, act, actor, reason, dry_run).await
    }

    async fn decide(
        &self,
        request: Request<v1::GateRequest>,
        act: fn(drover_core::ids::StepId, Option<Digest>) -> Act,
    ) -> Result<Response<v1::ActResponse>, Status> {
        let actor = actor(&request);
        let v1::GateRequest {
            id: workflow,
            step,
            reason,
            evidence,
            dry_run,
        } = request.into_inner();
        let step = id("step", &step)?;
        let evidence = if evidence.is_empty() {
            None
        } else {
            let refusal = || {
                Refusal::new(
                    Kind::Invalid,
                    "bad-evidence",
                    "the evidence is 64 hex digits",
                )
            };
            Some(Digest::parse(&evidence).ok_or_else(refusal)?)
        };
        self.act(&workflow, act(step, evidence), actor, reason, dry_run)
            .await
    }
}

#[tonic::async_trait]
impl v1::workflow_service_server::WorkflowService for Service {
    type ReadHistoryStream = BoxStream<v1::HistoryLines>;
    type ReadOutputStream = BoxStream<v1::ObjectPart>;
    type WatchWorkflowStream = BoxStream<v1::Workflow>;

    async fn start_workflow(
        &self,
        request: Request<v1::StartWorkflowRequest>,
    ) -> Result<Response<v1::StartWorkflowResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let id = id("id", &request.id)?;
        let input = match &request.input {
            Some(input) => from_wire::json(input)?,
            None => serde_json::json!({}),
        };
        let (workflow, created) = self
            .0
            .engine
            .ask(|answer| {
                Input::Start(Box::new(Start {
                    id,
                    definition: request.definition,
                    version: request.version,
                    input,
                    dry_run: request.dry_run,
                    actor,
                    reason: request.reason,
                    answer,
                }))
            })
            .await?;
        Ok(Response::new(v1::StartWorkflowResponse {
            workflow: Some(to_wire::workflow(&workflow)),
            created,
        }))
    }

    async fn describe_workflow(
        &self,
        request: Request<v1::DescribeWorkflowRequest>,
    ) -> Result<Response<v1::Workflow>, Status> {
        let id = id("workflow", &request.into_inner().id)?;
        let workflow = self
            .0
            .engine
            .ask(|answer| Input::Describe { id, answer })
            .await?;
        Ok(Response::new(to_wire::workflow(&workflow)))
    }

    async fn list_workflows(
        &self,
        request: Request<v1::ListWorkflowsRequest>,
    ) -> Result<Response<v1::ListWorkflowsResponse>, Status> {
        let request = request.into_inner();
        let query = Query::compile(&request.query)
            .map_err(|error| Refusal::new(Kind::Invalid, "query-invalid", error.to_string()))?;
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(id("page token", token)?),
        };
        let limit = match request.limit as usize {
            0 => PAGE_DEFAULT,
            limit => limit.min(PAGE_MAX),
        };
        let (workflows, next) = list::matching(&self.0.engine, after, limit, query).await?;
        Ok(Response::new(v1::ListWorkflowsResponse {
            workflows: workflows.iter().map(to_wire::workflow).collect(),
            next_page_token: next,
        }))
    }

    async fn read_history(
        &self,
        request: Request<v1::ReadHistoryRequest>,
    ) -> Result<Response<Self::ReadHistoryStream>, Status> {
        let request = request.into_inner();
        let stream = StreamId::Workflow(id("workflow", &request.id)?);
        let lines = follow(&self.0, stream, request.from_seq, request.follow).await?;
        let lines = tokio_stream::StreamExt::map(lines, |lines| {
            lines.map(|lines| v1::HistoryLines { lines })
        });
        Ok(Response::new(Box::pin(lines)))
    }

    async fn read_output(
        &self,
        request: Request<v1::ReadOutputRequest>,
    ) -> Result<Response<Self::ReadOutputStream>, Status> {
        let parts = objects::send_output(&self.0, request.into_inner()).await?;
        Ok(Response::new(Box::pin(parts)))
    }

    async fn watch_workflow(
        &self,
        request: Request<v1::WatchWorkflowRequest>,
    ) -> Result<Response<Self::WatchWorkflowStream>, Status> {
        let id = id("workflow", &request.into_inner().id)?;
        let mut watched = self
            .0
            .engine
            .ask(|answer| Input::Watch { id, answer })
            .await?;
        let (to, from) = mpsc::channel(STREAM_QUEUE);
        self.0.tasks.spawn(async move {
            loop {
                let workflow = to_wire::workflow(&watched.borrow_and_update().clone());
                if to.send(Ok(workflow)).await.is_err() {
                    return;
                }
                // Both are cancel-safe: a watch's changed and a channel's closed.
                let changed = tokio::select! {
                    changed = watched.changed() => changed,
                    () = to.closed() => return,
                };
                if changed.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(from))))
    }

    async fn pause_workflow(
        &self,
        request: Request<v1::ActRequest>,
    ) -> Result<Response<v1::ActResponse>, Status> {
        self.act_simply(request, Act::Pause).await
    }

    async fn resume_workflow(
        &self,
        request: Request<v1::ActRequest>,
    ) -> Result<Response<v1::ActResponse>, Status> {
        self.act_simply(request, Act::Resume).await
    }

    async fn cancel_workflow(
        &self,
        request: Request<v1::ActRequest>,
    ) -> Result<Response<v1::ActResponse>, Status> {
        self.act_simply(request, Act::Cancel).await
    }

    async fn terminate_workflow(
        &self,
        request: Request<v1::ActRequest>,
    ) -> Result<Response<v1::ActResponse>, Status> {
        self.act_simply(request, Act::Terminate).await
    }

    async fn retry_step(
        &self,
        request: Request<v1::RetryStepRequest>,
    ) -> Result<Response<v1::ActResponse>, Status> {
        let actor = actor(&request);
        let v1::RetryStepRequest {
            id: workflow,
            step,
            params,
            reason,
            dry_run,
        } = request.into_inner();
        let step = id("step", &step)?;
        let params = params.as_ref().map(from_wire::json).transpose()?;
        self.act(
            &workflow,
            Act::Retry { step, params },
            actor,
            reason,
            dry_run,
        )
        .await
    }

    async fn skip_step(
        &self,
        request: Request<v1::SkipStepRequest>,
    ) -> Result<Response<v1::ActResponse>, Status> {
        let actor = actor(&request);
        let v1::SkipStepRequest {
            id: workflow,
            step,
            output,
            reason,
            dry_run,
        } = request.into_inner();
        let step = id("step", &step)?;
        let output = output.as_ref().map(from_wire::json).transpose()?;
        self.act(
            &workflow,
            Act::Skip { step, output },
            actor,
            reason,
            dry_run,
        )
        .await
    }

    async fn approve_gate(
        &self,
        request: Request<v1::GateRequest>,
    ) -> Result<Response<v1::ActResponse>, Status> {
        self.decide(request, |step, evidence| Act::Approve { step, evidence })
            .await
    }

    async fn reject_gate(
        &self,
        request: Request<v1::GateRequest>,
    ) -> Result<Response<v1::ActResponse>, Status> {
        self.decide(request, |step, evidence| Act::Reject { step, evidence })
            .await
    }

    async fn replan_workflow(
        &self,
        request: Request<v1::ReplanRequest>,
    ) -> Result<Response<v1::ReplanResponse>, Status> {
        let actor = actor(&request);
        let v1::ReplanRequest {
            id: workflow,
            definition,
            version,
            reason,
            dry_run,
        } = request.into_inner();
        let id = id("workflow", &workflow)?;
        let replanned = self
            .0
            .engine
            .ask(|answer| {
                Input::Replan(Box::new(Replan {
                    id,
                    definition: Some(definition).filter(|name| !name.is_empty()),
                    version,
                    dry_run,
                    actor,
                    reason,
                    answer,
                }))
            })
            .await?;
        let changes = replanned.diff.changes.into_iter();
        Ok(Response::new(v1::ReplanResponse {
            workflow: Some(to_wire::workflow(&replanned.workflow)),
            message: replanned.message,
            changes: changes
                .map(|change| v1::StepChange {
                    step: change.step.to_string(),
                    change: change.change.to_owned(),
                    aspects: change.aspects,
                    effect: change.effect.to_owned(),
                })
                .collect(),
            problems: replanned.diff.problems,
        }))
    }
}

/// The lines of a stream, exactly as they were stored, and with `follow` those that come.
pub(super) async fn follow(
    shared: &Shared,
    stream: StreamId,
    from_seq: u64,
    follow: bool,
) -> Result<ReceiverStream<Result<Vec<u8>, Status>>, Status> {
    let name = stream.clone();
    let Follower { store, mut head } = shared
        .engine
        .ask(|answer| Input::Follow {
            stream: name,
            answer,
        })
        .await?;
    let (to, from) = mpsc::channel(STREAM_QUEUE);
    shared.tasks.spawn(async move {
        let mut next = from_seq.max(1);
        loop {
            let until = *head.borrow_and_update();
            while next <= until {
                let (store, stream) = (store.clone(), stream.clone());
                let read =
                    tokio::task::spawn_blocking(move || store.read(&stream, next, READ_AT_ONCE))
                        .await;
                let records = match read {
                    Ok(Ok(records)) if !records.is_empty() => records,
                    Ok(Ok(_)) => {
                        let gone = "its events were retired while they were read";
                        drop(to.send(Err(Status::not_found(gone))).await);
                        return;
                    }
                    Ok(Err(error)) => {
                        let message = crate::supervise::chain(&error);
                        drop(to.send(Err(Status::unavailable(message))).await);
                        return;
                    }
                    Err(_) => return,
                };
                let mut lines = Vec::new();
                for record in &records {
                    for (seq, line) in (record.first..).zip(record.lines()) {
                        if seq >= next && seq <= until {
                            lines.extend_from_slice(line);
                            lines.push(b'\n');
                        }
                    }
                }
                // The store may hold more than is known to be durable: that is for the next round.
                let read = records.last().map_or(until, |record| record.head().seq);
                next = read.min(until) + 1;
                if to.send(Ok(lines)).await.is_err() {
                    return;
                }
            }
            if !follow {
                return;
            }
            // Both are cancel-safe: a watch's changed and a channel's closed.
            let changed = tokio::select! {
                changed = head.changed() => changed,
                () = to.closed() => return,
            };
            if changed.is_err() && *head.borrow() < next {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(from))
}
