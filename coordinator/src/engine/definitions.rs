//! Registering and validating definitions.

use std::sync::Arc;

use drover_core::{
    audit::AuditEvent,
    catalog::CatalogEvent,
    definition::Definition,
    ids::{Actor, Digest},
    stream::{Recorded, StreamId},
    view,
    yaml::Problem,
};

use super::Engine;
use crate::refusal::{Kind, Refusal};

impl Engine {
    pub(super) fn validate(&self, text: &str) -> Vec<Problem> {
        match Definition::parse(text) {
            Ok(definition) => definition.validate(self.pools.kinds()),
            Err(problems) => problems,
        }
    }

    pub(super) fn register(
        &mut self,
        text: &str,
        dry_run: bool,
        actor: &Actor,
    ) -> Result<(view::DefinitionRef, bool), Refusal> {
        self.check_low()?;
        let definition = Definition::parse(text).map_err(Refusal::problems)?;
        let problems = definition.validate(self.pools.kinds());
        if !problems.is_empty() {
            return Err(Refusal::problems(problems));
        }
        let digest = Digest::of(text.as_bytes());
        let reference = view::DefinitionRef {
            name: definition.name.to_string(),
            version: definition.version,
            digest: digest.to_string(),
        };
        if let Some(known) = self
            .catalog
            .definition(&definition.name, definition.version)
        {
            if known.digest == digest {
                return Ok((reference, false));
            }
            return Err(Refusal::new(
                Kind::Refused,
                "version-taken",
                format!(
                    "{}@{} is registered with another text: give this one a new version",
                    definition.name, definition.version
                ),
            ));
        }
        if dry_run {
            return Ok((reference, true));
        }
        let event = Recorded {
            seq: self.catalog.head + 1,
            at: self.now,
            actor: Some(actor.clone()),
            body: CatalogEvent::DefinitionRegistered {
                name: Arc::clone(&definition.name),
                version: definition.version,
                digest,
                text: Arc::from(text),
            },
        };
        self.catalog
            .apply(&event)
            .map_err(|error| Refusal::problems(error.problems))?;
        self.streams.push(&StreamId::Catalog, &event);
        let entry = AuditEvent::Acted {
            act: "definition.register".to_owned(),
            target: format!("{}@{}", definition.name, definition.version),
            reason: String::new(),
            message: digest.to_string(),
        };
        self.record_audit(actor, entry);
        Ok((reference, true))
    }
}
