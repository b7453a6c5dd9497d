//! A plain sequential driver: one attempt of one kind after the other, by hand.
//!
//! It plays the coordinator's part without one: it counts attempts and fences, keeps checkpoints and outputs, and mints
//! permits. Scenarios use it to bring a world to where their kind starts; end-to-end tests use it to play a whole
//! migration.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use drover_ports::{Door, Ports};
use drover_step_api::{Clock, Declaration, Fence, Registry, Step};
use serde_json::Value;

use crate::{driven::DrivenStep, tripwire::Tripwire};

/// Runs attempts of one workflow against one world.
#[derive(Clone)]
pub struct Driver {
    shared: Arc<Shared>,
}

/// What all steps of the workflow share.
pub(crate) struct Shared {
    registry: Arc<Registry<Ports>>,
    pub(crate) door: Arc<dyn Door>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) installation: String,
    pub(crate) workflow: String,
    fences: AtomicU64,
    pub(crate) tripwire: Arc<Mutex<Tripwire>>,
}

impl Driver {
    /// A driver of the workflow `workflow` in `installation`. `clock` must run on tokio's time, one to one.
    pub fn new(
        registry: Arc<Registry<Ports>>,
        door: Arc<dyn Door>,
        clock: Arc<dyn Clock>,
        installation: impl Into<String>,
        workflow: impl Into<String>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                registry,
                door,
                clock,
                installation: installation.into(),
                workflow: workflow.into(),
                fences: AtomicU64::new(0),
                tripwire: Arc::default(),
            }),
        }
    }

    /// The domain clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// The step `id` of kind `S`, before its first attempt. What is kept of a step is kept in the value returned: keep
    /// it for as long as the step has attempts.
    ///
    /// # Panics
    /// When the registry has no such kind, or `params` do not serialize.
    pub fn step<S: Step<Ports>>(&self, id: &str, params: &S::Params) -> DrivenStep {
        let Declaration { name, version, .. } = S::DECLARATION;
        let params = serde_json::to_value(params)
            .unwrap_or_else(|error| panic!("{name}/{version}: params do not serialize: {error}"));
        self.step_named(id, name, version, params)
    }

    /// As [`Driver::step`], of a kind given by name and version as definitions do.
    ///
    /// # Panics
    /// When the registry has no such kind.
    pub fn step_named(&self, id: &str, kind: &str, version: u32, params: Value) -> DrivenStep {
        let found = self.shared.registry.get(kind, version);
        let kind = found.unwrap_or_else(|| panic!("the registry has no kind {kind}/{version}"));
        DrivenStep::new(Arc::clone(&self.shared), Arc::clone(kind), id, params)
    }

    /// Runs one attempt of `S` as the step `id` and returns its output.
    ///
    /// # Panics
    /// When it does not end with one, with what happened instead.
    pub async fn play<S: Step<Ports>>(&self, id: &str, params: &S::Params) -> S::Output {
        let Declaration { name, version, .. } = S::DECLARATION;
        let output = self
            .step::<S>(id, params)
            .run()
            .await
            .done()
            .unwrap_or_else(|what| panic!("{name}/{version} as step {id}: {what}"));
        serde_json::from_value(output)
            .unwrap_or_else(|error| panic!("{name}/{version}: the output does not parse: {error}"))
    }

    /// The same workflow in a copy of its world.
    pub(crate) fn moved_to(&self, door: Arc<dyn Door>, clock: Arc<dyn Clock>) -> Self {
        let Shared {
            registry,
            installation,
            workflow,
            fences,
            tripwire,
            ..
        } = &*self.shared;
        let tripwire = tripwire
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Self {
            shared: Arc::new(Shared {
                registry: Arc::clone(registry),
                door,
                clock,
                installation: installation.clone(),
                workflow: workflow.clone(),
                fences: AtomicU64::new(fences.load(Ordering::Relaxed)),
                tripwire: Arc::new(Mutex::new(tripwire)),
            }),
        }
    }

    pub(crate) fn tripwire(&self) -> &Arc<Mutex<Tripwire>> {
        &self.shared.tripwire
    }
}

impl Shared {
    /// The newest fence, or the next one.
    pub(crate) fn fence(&self, next: bool) -> Fence {
        let before = self.fences.fetch_add(u64::from(next), Ordering::Relaxed);
        Fence {
            epoch: 1,
            counter: before + u64::from(next),
        }
    }
}
