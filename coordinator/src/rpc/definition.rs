//! `drover.v1.DefinitionService`.

use drover_core::catalog::Registered;
use drover_proto::v1;
use tonic::{Request, Response, Status};

use super::{Shared, actor, to_wire};
use crate::{engine::messages::Input, refusal::Refusal};

/// The service.
#[derive(Clone)]
pub(super) struct Service(pub(super) Shared);

fn definition(registered: &Registered, with_text: bool) -> v1::Definition {
    v1::Definition {
        r#ref: Some(v1::DefinitionRef {
            name: registered.name.to_string(),
            version: registered.version,
            digest: registered.digest.to_string(),
        }),
        registered_at: Some(to_wire::timestamp(registered.at)),
        registered_by: registered.by.as_ref().map(|actor| v1::Actor {
            name: actor.to_string(),
        }),
        text: if with_text {
            registered.text.to_string()
        } else {
            String::new()
        },
    }
}

#[tonic::async_trait]
impl v1::definition_service_server::DefinitionService for Service {
    async fn register_definition(
        &self,
        request: Request<v1::RegisterDefinitionRequest>,
    ) -> Result<Response<v1::RegisterDefinitionResponse>, Status> {
        let actor = actor(&request);
        let v1::RegisterDefinitionRequest { text, dry_run } = request.into_inner();
        let (reference, created) = self
            .0
            .engine
            .ask(|answer| Input::Register {
                text,
                dry_run,
                actor,
                answer,
            })
            .await?;
        Ok(Response::new(v1::RegisterDefinitionResponse {
            definition: Some(to_wire::definition_ref(&reference)),
            created,
        }))
    }

    async fn validate_definition(
        &self,
        request: Request<v1::ValidateDefinitionRequest>,
    ) -> Result<Response<v1::ValidateDefinitionResponse>, Status> {
        let text = request.into_inner().text;
        let problems = self
            .0
            .engine
            .ask(|answer| Input::Validate { text, answer })
            .await?;
        Ok(Response::new(v1::ValidateDefinitionResponse {
            problems: problems.iter().map(to_wire::problem).collect(),
        }))
    }

    async fn list_definitions(
        &self,
        _: Request<v1::ListDefinitionsRequest>,
    ) -> Result<Response<v1::ListDefinitionsResponse>, Status> {
        let found = self
            .0
            .engine
            .ask(|answer| Input::Definitions { answer })
            .await?;
        let definitions = found
            .iter()
            .map(|registered| definition(registered, false))
            .collect();
        Ok(Response::new(v1::ListDefinitionsResponse { definitions }))
    }

    async fn get_definition(
        &self,
        request: Request<v1::GetDefinitionRequest>,
    ) -> Result<Response<v1::Definition>, Status> {
        let v1::GetDefinitionRequest { name, version } = request.into_inner();
        let found = self
            .0
            .engine
            .ask(|answer| Input::Definitions { answer })
            .await?;
        let mut versions = found.iter().filter(|registered| *registered.name == *name);
        let registered = if version == 0 {
            versions.next_back()
        } else {
            versions.find(|registered| registered.version == version)
        };
        let registered = registered.ok_or_else(|| {
            let wanted = if version == 0 {
                name.clone()
            } else {
                format!("{name}@{version}")
            };
            Refusal::not_found("definition", &wanted)
        })?;
        Ok(Response::new(definition(registered, true)))
    }

    async fn list_kinds(
        &self,
        _: Request<v1::ListKindsRequest>,
    ) -> Result<Response<v1::ListKindsResponse>, Status> {
        let kinds = self.0.engine.ask(|answer| Input::Kinds { answer }).await?;
        let kinds = kinds
            .iter()
            .map(|declaration| to_wire::declaration(declaration))
            .collect();
        Ok(Response::new(v1::ListKindsResponse { kinds }))
    }
}
