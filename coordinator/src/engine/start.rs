//! Starting workflows.

use std::sync::Arc;

use drover_core::{
    audit::AuditEvent,
    catalog::CatalogEvent,
    expr::Scope,
    ids::{Actor, Digest, InstallationName, WorkflowId},
    plan::{Plan, PlanSource},
    stream::{Recorded, StreamId},
    view,
    workflow::{Env, INPUT_BYTES_MAX, Workflow, event::Created},
};
use serde_json::Value;

use super::{Engine, Slot, messages::Start, prepared::Prepared};
use crate::refusal::{Kind, Refusal};

/// A checked start: everything that the first event will say.
struct Checked {
    created: Created,
    prepared: Prepared,
}

/// `placement` and `exclusive` see the input and nothing else.
struct InputOnly<'a>(&'a Value);

impl Scope for InputOnly<'_> {
    fn input(&self) -> &Value {
        self.0
    }

    fn output(&self, _: &str) -> Option<&Value> {
        None
    }
}

impl Engine {
    pub(super) fn start(&mut self, start: Start) {
        let Start {
            id,
            definition,
            version,
            input,
            dry_run,
            actor,
            reason,
            answer,
        } = start;
        let result = match self.existing(&id, &definition, version, &input) {
            Some(Ok(view)) => Ok((view, false)),
            Some(Err(refusal)) => Err(refusal),
            None => self
                .check_start(&id, &definition, version, input, reason)
                .and_then(|checked| self.create(&id, checked, &actor, dry_run)),
        };
        self.outbox.answer(move || drop(answer.send(result)));
    }

    /// The same id again: the workflow, when it was started in the same way.
    fn existing(
        &self,
        id: &WorkflowId,
        definition: &str,
        version: u32,
        input: &Value,
    ) -> Option<Result<view::Workflow, Refusal>> {
        let (known, known_version, known_input) = match self.workflows.get(id)? {
            Slot::Open(workflow) => {
                let created = &workflow.created;
                (
                    Arc::clone(&created.definition),
                    created.version,
                    Digest::of_json(&created.input),
                )
            }
            Slot::Ended(ended) => (Arc::clone(&ended.definition), ended.version, ended.input),
            Slot::Retired(entry) => {
                return Some(Err(Refusal::new(
                    Kind::Refused,
                    "id-used",
                    format!(
                        "the id was used: {}; choose another id",
                        self.retired(id, *entry)
                    ),
                )));
            }
            Slot::Quarantined(why) => {
                return Some(Err(Refusal::new(
                    Kind::Refused,
                    "quarantined",
                    format!("{id} is quarantined: {why}; choose another id"),
                )));
            }
        };
        let same = *known == *definition
            && (version == 0 || version == known_version)
            && known_input == Digest::of_json(input);
        Some(if same {
            self.describe(id)
        } else {
            Err(Refusal::new(
                Kind::Refused,
                "id-taken",
                format!(
                    "{id} was already started with {known}@{known_version} and another input: choose another id"
                ),
            ))
        })
    }

    fn check_start(
        &mut self,
        id: &WorkflowId,
        name: &str,
        version: u32,
        input: Value,
        reason: String,
    ) -> Result<Checked, Refusal> {
        self.check_low()?;
        let invalid = |code, message: String| Refusal::new(Kind::Invalid, code, message);
        let registered = self.catalog.definition(name, version).cloned();
        let registered = registered.ok_or_else(|| {
            if version == 0 || self.catalog.definition(name, 0).is_none() {
                Refusal::not_found("definition", name)
            } else {
                Refusal::not_found("definition", &format!("{name}@{version}"))
            }
        })?;
        let bytes = serde_json::to_vec(&input).map_or(0, |text| text.len());
        if bytes > INPUT_BYTES_MAX {
            return Err(invalid(
                "input-too-large",
                format!("the input has {bytes} bytes; at most {INPUT_BYTES_MAX} are allowed"),
            ));
        }
        let prepared = self.prepare(&registered)?;
        let (plan, definition) = (&prepared.plan, &prepared.plan.definition);
        let problems = plan.input_problems(&input);
        if !problems.is_empty() {
            return Err(invalid(
                "input-invalid",
                format!("the input does not fit {name}: {}", problems.join("; ")),
            ));
        }
        let scope = InputOnly(&input);
        let installation = definition
            .placement
            .evaluate(&scope)
            .map_err(|error| invalid("placement-invalid", error.to_string()))?;
        let installation = InstallationName::new(installation.as_str().unwrap_or_default())
            .map_err(|error| invalid("placement-invalid", format!("placement: {error}")))?;
        let exclusive = match &definition.exclusive {
            None => None,
            Some(template) => {
                let key = template
                    .evaluate(&scope)
                    .map_err(|error| invalid("exclusive-invalid", error.to_string()))?;
                let key: Arc<str> =
                    Arc::from(key.as_str().map_or_else(|| key.to_string(), str::to_owned));
                if let Some(holder) = self.exclusive.get(&key) {
                    return Err(Refusal::new(
                        Kind::Refused,
                        "exclusive-held",
                        format!("{holder} already works on {key}: wait until it has ended"),
                    ));
                }
                Some(key)
            }
        };
        let created = Created {
            id: id.clone(),
            definition: Arc::clone(&registered.name),
            version: registered.version,
            definition_digest: registered.digest,
            plan: plan.digest,
            input: Arc::new(input),
            exclusive,
            installation,
            reason,
        };
        Ok(Checked { created, prepared })
    }

    fn create(
        &mut self,
        id: &WorkflowId,
        checked: Checked,
        actor: &Actor,
        dry_run: bool,
    ) -> Result<(view::Workflow, bool), Refusal> {
        let Checked { created, prepared } = checked;
        let plan = prepared.plan;
        if dry_run {
            return Ok((self.preview(created, actor, plan), true));
        }
        self.pin(&plan.digest, &prepared.source)?;
        let exclusive = created.exclusive.clone();
        let definition = created.definition.to_string();
        let reason = created.reason.clone();
        let facts = self.facts();
        let env = Env {
            now: self.now,
            epoch: self.epoch,
            facts: &facts,
        };
        let (workflow, decision) = Workflow::create(created, actor.clone(), plan, &env);
        if let Some(key) = exclusive {
            self.exclusive.insert(key, id.clone());
        }
        self.workflows
            .insert(id.clone(), Slot::Open(Box::new(workflow)));
        self.streams
            .push_events(&StreamId::Workflow(id.clone()), &decision.events);
        self.effects(id, &decision.events);
        let entry = AuditEvent::Acted {
            act: drover_core::audit::WORKFLOW_START.to_owned(),
            target: id.to_string(),
            reason,
            message: definition,
        };
        self.record_audit(actor, entry);
        self.metrics.started();
        self.describe(id).map(|view| (view, true))
    }

    /// Stores a plan that a workflow goes by from here on, unless others do already.
    pub(super) fn pin(&mut self, digest: &Digest, source: &PlanSource) -> Result<(), Refusal> {
        if self.catalog.plan(digest).is_some() {
            return Ok(());
        }
        let event = Recorded {
            seq: self.catalog.head + 1,
            at: self.now,
            actor: None,
            body: CatalogEvent::PlanPinned(Box::new(source.clone())),
        };
        if let Err(error) = self.catalog.apply(&event) {
            return Err(Refusal::problems(error.problems));
        }
        self.streams.push(&StreamId::Catalog, &event);
        Ok(())
    }

    /// What a start would look like.
    fn preview(&self, created: Created, actor: &Actor, plan: Arc<Plan>) -> view::Workflow {
        let facts = self.facts();
        let env = Env {
            now: self.now,
            epoch: self.epoch,
            facts: &facts,
        };
        let (workflow, _) = Workflow::create(created, actor.clone(), plan, &env);
        workflow.describe(&env, &self.live())
    }
}
