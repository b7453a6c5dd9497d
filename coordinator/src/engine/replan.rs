//! A running workflow goes on by another registered definition.

use std::sync::Arc;

use drover_core::{
    audit::AuditEvent,
    workflow::{Act, Input, Reply},
};

use super::{
    Engine,
    messages::{Replan, Replanned},
};
use crate::refusal::Refusal;

impl Engine {
    pub(super) fn replan(&mut self, request: Replan) {
        let answer = self.try_replan(&request);
        let to = request.answer;
        self.outbox.answer(move || drop(to.send(answer)));
    }

    fn try_replan(&mut self, request: &Replan) -> Result<Replanned, Refusal> {
        let id = &request.id;
        self.check_full()?;
        let name = match &request.definition {
            Some(name) => name.clone(),
            None => self.open(id)?.plan.definition.name.to_string(),
        };
        let registered = self
            .catalog
            .definition(&name, request.version)
            .cloned()
            .ok_or_else(|| {
                let which = match request.version {
                    0 => name.clone(),
                    version => format!("{name}@{version}"),
                };
                Refusal::not_found("definition", &which)
            })?;
        let prepared = self.prepare(&registered)?;
        let diff = self.open(id)?.compare(&prepared.plan);
        if request.dry_run {
            let message = format!(
                "would go on by {}@{}: {}",
                registered.name,
                registered.version,
                diff.summary()
            );
            return Ok(Replanned {
                workflow: self.describe(id)?,
                diff,
                message,
            });
        }
        // A refused plan is not worth keeping; only one that fits is pinned.
        if diff.problems.is_empty() {
            self.pin(&prepared.plan.digest, &prepared.source)?;
        }
        let input = Input::Act {
            actor: request.actor.clone(),
            reason: request.reason.clone(),
            act: Act::Replan {
                plan: Arc::clone(&prepared.plan),
            },
        };
        let message = match self.react(id, input) {
            Some(Reply::Done(message)) => message,
            Some(Reply::Refused(rejection)) => return Err(rejection.into()),
            Some(Reply::Noted | Reply::Leased(_) | Reply::NotReady | Reply::Verdict(_)) | None => {
                return Err(Refusal::not_found("workflow", id.as_str()));
            }
        };
        let entry = AuditEvent::Acted {
            act: "workflow.replan".to_owned(),
            target: id.to_string(),
            reason: request.reason.clone(),
            message: message.clone(),
        };
        self.record_audit(&request.actor, entry);
        Ok(Replanned {
            workflow: self.describe(id)?,
            diff,
            message,
        })
    }
}
