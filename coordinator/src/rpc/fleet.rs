//! `drover.v1.FleetService`.

use std::time::Duration;

use drover_core::{ids::Actor, query::Query};
use drover_proto::v1;
use tonic::{Request, Response, Status};

use super::{Shared, actor, id, to_wire};
use crate::{
    engine::messages::{BrakeReport, Input, WorkerAct, WorkerCommand},
    refusal::{Kind, Refusal},
};

/// How long a worker may take to answer a command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// The service.
#[derive(Clone)]
pub(super) struct Service(pub(super) Shared);

impl Service {
    async fn act(
        &self,
        actor: Actor,
        request: v1::WorkerRequest,
        act: WorkerAct,
    ) -> Result<v1::WorkerResponse, Status> {
        let v1::WorkerRequest {
            id: worker,
            reason,
            dry_run,
        } = request;
        let id = id("worker", &worker)?;
        let (worker, message) = self
            .0
            .engine
            .ask(|answer| Input::Worker {
                id,
                act,
                dry_run,
                actor,
                reason,
                answer,
            })
            .await?;
        Ok(v1::WorkerResponse {
            worker: Some(to_wire::worker(&worker)),
            message,
        })
    }
}

fn brake(report: &BrakeReport) -> v1::SetBrakeResponse {
    v1::SetBrakeResponse {
        brake: Some(to_wire::brake(&report.brake)),
        workflows: report
            .workflows
            .iter()
            .map(|(state, count)| v1::StateCount {
                state: to_wire::workflow_state(*state).into(),
                count: *count,
            })
            .collect(),
    }
}

#[tonic::async_trait]
impl v1::fleet_service_server::FleetService for Service {
    async fn list_workers(
        &self,
        request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let invalid = |error: drover_core::query::QueryError| {
            Refusal::new(Kind::Invalid, "query-invalid", error.to_string())
        };
        let query = Query::compile(&request.into_inner().query).map_err(invalid)?;
        let all = self
            .0
            .engine
            .ask(|answer| Input::Workers { answer })
            .await?;
        let mut workers = Vec::new();
        for worker in &all {
            let json = serde_json::to_value(worker).expect("views serialize");
            if query.matches(&json).map_err(invalid)? {
                workers.push(to_wire::worker(worker));
            }
        }
        Ok(Response::new(v1::ListWorkersResponse { workers }))
    }

    async fn describe_worker(
        &self,
        request: Request<v1::WorkerRequest>,
    ) -> Result<Response<v1::Worker>, Status> {
        let actor = actor(&request);
        let response = self
            .act(actor, request.into_inner(), WorkerAct::Describe)
            .await?;
        Ok(Response::new(response.worker.unwrap_or_default()))
    }

    async fn drain_worker(
        &self,
        request: Request<v1::DrainWorkerRequest>,
    ) -> Result<Response<v1::WorkerResponse>, Status> {
        let actor = actor(&request);
        let v1::DrainWorkerRequest {
            id,
            reason,
            dry_run,
            exit,
        } = request.into_inner();
        let request = v1::WorkerRequest {
            id,
            reason,
            dry_run,
        };
        let drained = self.act(actor, request, WorkerAct::Drain { exit }).await;
        drained.map(Response::new)
    }

    async fn undrain_worker(
        &self,
        request: Request<v1::WorkerRequest>,
    ) -> Result<Response<v1::WorkerResponse>, Status> {
        let actor = actor(&request);
        let undrained = self
            .act(actor, request.into_inner(), WorkerAct::Undrain)
            .await;
        undrained.map(Response::new)
    }

    async fn declare_worker_dead(
        &self,
        request: Request<v1::WorkerRequest>,
    ) -> Result<Response<v1::WorkerResponse>, Status> {
        let actor = actor(&request);
        self.act(actor, request.into_inner(), WorkerAct::DeclareDead)
            .await
            .map(Response::new)
    }

    async fn command_worker(
        &self,
        request: Request<v1::CommandWorkerRequest>,
    ) -> Result<Response<v1::CommandWorkerResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let id = id("worker", &request.id)?;
        let command = match request.command() {
            v1::WorkerCommand::Unspecified => {
                return Err(Refusal::new(
                    Kind::Invalid,
                    "no-command",
                    "the request names no command",
                )
                .into());
            }
            v1::WorkerCommand::RefreshCredentials => WorkerCommand::RefreshCredentials,
            v1::WorkerCommand::SetLogLevel => WorkerCommand::SetLogLevel(request.argument.clone()),
            v1::WorkerCommand::DumpState => WorkerCommand::DumpState,
        };
        let reason = request.reason;
        let asked = self.0.engine.ask(|answer| Input::Command {
            id,
            command,
            actor,
            reason,
            answer,
        });
        let answer = tokio::time::timeout(COMMAND_TIMEOUT, asked)
            .await
            .map_err(|_| {
                Refusal::new(
                    Kind::Unavailable,
                    "command-timed-out",
                    "the worker did not answer in time",
                )
            })??;
        Ok(Response::new(v1::CommandWorkerResponse {
            answer: Some(to_wire::json(&answer)),
        }))
    }

    async fn list_installations(
        &self,
        _: Request<v1::ListInstallationsRequest>,
    ) -> Result<Response<v1::ListInstallationsResponse>, Status> {
        let installations = self
            .0
            .engine
            .ask(|answer| Input::Installations { answer })
            .await?;
        Ok(Response::new(v1::ListInstallationsResponse {
            installations: installations.iter().map(to_wire::installation).collect(),
        }))
    }

    async fn get_brake(
        &self,
        _: Request<v1::GetBrakeRequest>,
    ) -> Result<Response<v1::Brake>, Status> {
        let report = self.0.engine.ask(|answer| Input::Brake { answer }).await?;
        Ok(Response::new(to_wire::brake(&report.brake)))
    }

    async fn set_brake(
        &self,
        request: Request<v1::SetBrakeRequest>,
    ) -> Result<Response<v1::SetBrakeResponse>, Status> {
        let actor = actor(&request);
        let v1::SetBrakeRequest {
            on,
            reason,
            dry_run,
        } = request.into_inner();
        let report = self
            .0
            .engine
            .ask(|answer| Input::SetBrake {
                on,
                dry_run,
                actor,
                reason,
                answer,
            })
            .await?;
        Ok(Response::new(brake(&report)))
    }
}
