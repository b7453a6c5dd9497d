//! Definitions that workflows are started with: read, validated and compiled once, not at every start.

use std::{collections::HashMap, sync::Arc};

use drover_core::{
    catalog::Registered,
    declaration::KindDeclaration,
    definition::{Definition, Kinds},
    plan::{Plan, PlanSource},
};

use super::Engine;
use crate::refusal::Refusal;

/// A definition with the kinds that it has now.
#[derive(Clone)]
pub(super) struct Prepared {
    /// Compiled.
    pub(super) plan: Arc<Plan>,
    /// What is stored of it with the first workflow.
    pub(super) source: Arc<PlanSource>,
    kinds: Vec<Arc<KindDeclaration>>,
}

impl Prepared {
    /// False once one of its kinds is announced in another way.
    fn holds(&self, known: &Kinds) -> bool {
        let same = |kind: &Arc<KindDeclaration>| {
            let now = known.get(&kind.kind);
            now.is_some_and(|now| Arc::ptr_eq(now, kind))
        };
        self.kinds.iter().all(same)
    }
}

/// Those that were started with, by name and version.
pub(super) type AllPrepared = HashMap<(Arc<str>, u32), Prepared>;

impl Engine {
    /// A registered definition, ready to be started with.
    pub(super) fn prepare(&mut self, registered: &Registered) -> Result<Prepared, Refusal> {
        let key = (Arc::clone(&registered.name), registered.version);
        let known = self.pools.kinds();
        if let Some(prepared) = self
            .prepared
            .get(&key)
            .filter(|known_before| known_before.holds(known))
        {
            return Ok(prepared.clone());
        }
        let definition = Definition::parse(&registered.text).map_err(Refusal::problems)?;
        // Kinds may have come since it was registered; none can have gone.
        let problems = definition.validate(known);
        if !problems.is_empty() {
            return Err(Refusal::problems(problems));
        }
        let kinds: Vec<Arc<KindDeclaration>> = definition
            .kinds()
            .filter_map(|kind| known.get(kind))
            .cloned()
            .collect();
        let source = PlanSource {
            definition: registered.text.to_string(),
            kinds: kinds.iter().map(|kind| (**kind).clone()).collect(),
        };
        let plan = match self.catalog.plan(&source.digest()) {
            Some(plan) => Arc::clone(plan),
            None => Arc::new(Plan::compile(&source).map_err(Refusal::problems)?),
        };
        let prepared = Prepared {
            plan,
            source: Arc::new(source),
            kinds,
        };
        self.prepared.insert(key, prepared.clone());
        Ok(prepared)
    }
}
