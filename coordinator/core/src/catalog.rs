//! Definitions that may be started, and plans that workflows are pinned to: the fold of the catalog stream.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Actor, Digest},
    plan::{Plan, PlanSource},
    stream::Recorded,
    time::Timestamp,
    yaml::Problem,
};

/// What happened to the catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum CatalogEvent {
    /// A definition may be started from here on.
    DefinitionRegistered {
        /// Its name.
        name: Arc<str>,
        /// Its version.
        version: u32,
        /// SHA-256 of its text.
        digest: Digest,
        /// Its text.
        text: Arc<str>,
    },
    /// A workflow was started with it; others may share it.
    PlanPinned(Box<PlanSource>),
}

/// A registered definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Registered {
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub version: u32,
    /// SHA-256 of its text.
    pub digest: Digest,
    /// Its text.
    pub text: Arc<str>,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Option<Actor>,
}

/// The fold of the catalog stream.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Seq of the newest event.
    pub head: u64,
    definitions: BTreeMap<(Arc<str>, u32), Registered>,
    plans: BTreeMap<Digest, Arc<Plan>>,
}

/// The stored catalog cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plan {digest} does not compile: {}", problems.first().map_or_else(String::new, ToString::to_string))]
pub struct BadPlan {
    /// Which plan.
    pub digest: Digest,
    /// Why.
    pub problems: Vec<Problem>,
}

impl Catalog {
    /// Takes one event in.
    ///
    /// # Errors
    /// When a stored plan does not compile: the store is damaged, or was written by a later version.
    pub fn apply(&mut self, event: &Recorded<CatalogEvent>) -> Result<(), BadPlan> {
        self.head = event.seq;
        match &event.body {
            CatalogEvent::DefinitionRegistered {
                name,
                version,
                digest,
                text,
            } => {
                let registered = Registered {
                    name: Arc::clone(name),
                    version: *version,
                    digest: *digest,
                    text: Arc::clone(text),
                    at: event.at,
                    by: event.actor.clone(),
                };
                self.definitions
                    .insert((Arc::clone(name), *version), registered);
            }
            CatalogEvent::PlanPinned(source) => {
                let digest = source.digest();
                let plan =
                    Plan::compile(source).map_err(|problems| BadPlan { digest, problems })?;
                self.plans.insert(digest, Arc::new(plan));
            }
        }
        Ok(())
    }

    /// A definition; version 0 means the newest.
    #[must_use]
    pub fn definition(&self, name: &str, version: u32) -> Option<&Registered> {
        let mut versions = self
            .definitions
            .values()
            .filter(|found| &*found.name == name);
        if version == 0 {
            versions.next_back()
        } else {
            versions.find(|found| found.version == version)
        }
    }

    /// All definitions, ordered by name and version.
    pub fn definitions(&self) -> impl Iterator<Item = &Registered> {
        self.definitions.values()
    }

    /// A pinned plan.
    #[must_use]
    pub fn plan(&self, digest: &Digest) -> Option<&Arc<Plan>> {
        self.plans.get(digest)
    }
}
