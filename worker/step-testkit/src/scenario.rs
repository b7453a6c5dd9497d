//! What a family says about one of its kinds.

use std::marker::PhantomData;

use drover_ports::Ports;
use drover_step_api::{Declaration, Step};
use futures_util::future::LocalBoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::stage::Stage;

/// A place where two worlds, or two outputs, may differ, and why that is right.
#[derive(Clone, Debug)]
pub(crate) struct Waiver {
    /// JSON pointer whose segments may be `*`; covers everything below it.
    pub(crate) pattern: &'static str,
    pub(crate) reason: &'static str,
}

/// How to bring a fresh world to where a kind starts, and what may be expected of it.
pub struct Scenario<W> {
    pub(crate) declaration: Declaration,
    pub(crate) variant: &'static str,
    pub(crate) prepare: Box<dyn Prepare<W>>,
    /// Guards only: what happens while the guard runs.
    pub(crate) story: Option<Box<dyn Story<W>>>,
    pub(crate) residues: Vec<Waiver>,
    pub(crate) varying: Vec<Waiver>,
    pub(crate) varying_output: Vec<Waiver>,
    pub(crate) params_samples: Vec<Value>,
    pub(crate) output_samples: Vec<Value>,
    pub(crate) reparse_params: Reparse,
    pub(crate) reparse_output: Reparse,
}

/// Parses JSON as a type and writes it again.
pub(crate) type Reparse = fn(&Value) -> Result<Value, serde_json::Error>;

impl<W: 'static> Scenario<W> {
    /// For a kind that runs and ends. `prepare` brings the fresh world to where the kind starts and returns the kind's
    /// params.
    pub fn step<S: Step<Ports>>(
        prepare: impl AsyncFn(&Stage<W>) -> S::Params + Send + Sync + 'static,
    ) -> Self {
        Self {
            declaration: S::DECLARATION,
            variant: "",
            prepare: Box::new(Typed(prepare, PhantomData)),
            story: None,
            residues: Vec::new(),
            varying: Vec::new(),
            varying_output: Vec::new(),
            params_samples: Vec::new(),
            output_samples: Vec::new(),
            reparse_params: reparse::<S::Params>,
            reparse_output: reparse::<S::Output>,
        }
    }

    /// For a guard. `story` happens beside it; when the story ends, the guard's span has ended and it is told to stop.
    ///
    /// The story goes on over crashes of the guard, so it should change what the guard watches, and then last as long
    /// as the guard needs to see it.
    pub fn guard<S: Step<Ports>>(
        prepare: impl AsyncFn(&Stage<W>) -> S::Params + Send + Sync + 'static,
        story: impl AsyncFn(&Stage<W>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            story: Some(Box::new(story)),
            ..Self::step::<S>(prepare)
        }
    }

    /// Names one of several scenarios of the same kind. Effects and permissions count as used when one of them does.
    #[must_use]
    pub fn named(mut self, variant: &'static str) -> Self {
        self.variant = variant;
        self
    }

    /// What compensation leaves behind on purpose: a JSON pointer into the snapshot whose segments may be `*`, and the
    /// reason. It covers everything below it. One that never occurs fails the scenario.
    #[must_use]
    pub fn residue(mut self, pattern: &'static str, reason: &'static str) -> Self {
        self.residues.push(Waiver { pattern, reason });
        self
    }

    /// What may differ between a disturbed and an undisturbed run; else as [`Scenario::residue`].
    #[must_use]
    pub fn varying(mut self, pattern: &'static str, reason: &'static str) -> Self {
        self.varying.push(Waiver { pattern, reason });
        self
    }

    /// What may differ between the outputs of two attempts; a pattern into the output, else as [`Scenario::residue`].
    #[must_use]
    pub fn varying_output(mut self, pattern: &'static str, reason: &'static str) -> Self {
        self.varying_output.push(Waiver { pattern, reason });
        self
    }

    /// Params as a definition passed them once. They must parse for as long as the version exists.
    #[must_use]
    pub fn params_sample(mut self, sample: Value) -> Self {
        self.params_samples.push(sample);
        self
    }

    /// An output as a worker stored it once. It must parse for as long as the version exists.
    #[must_use]
    pub fn output_sample(mut self, sample: Value) -> Self {
        self.output_samples.push(sample);
        self
    }

    /// `name/version` of the kind.
    pub(crate) fn kind(&self) -> String {
        format!("{}/{}", self.declaration.name, self.declaration.version)
    }
}

/// An async closure that prepares, behind a pointer.
pub(crate) trait Prepare<W>: Send + Sync {
    fn prepare<'a>(
        &'a self,
        stage: &'a Stage<W>,
    ) -> LocalBoxFuture<'a, Result<Value, serde_json::Error>>;
}

struct Typed<F, P>(F, PhantomData<fn() -> P>);

impl<W, F, P> Prepare<W> for Typed<F, P>
where
    F: AsyncFn(&Stage<W>) -> P + Send + Sync,
    P: Serialize,
{
    fn prepare<'a>(
        &'a self,
        stage: &'a Stage<W>,
    ) -> LocalBoxFuture<'a, Result<Value, serde_json::Error>> {
        Box::pin(async move { serde_json::to_value((self.0)(stage).await) })
    }
}

/// An async closure that happens beside a guard, behind a pointer.
pub(crate) trait Story<W>: Send + Sync {
    fn play<'a>(&'a self, stage: &'a Stage<W>) -> LocalBoxFuture<'a, ()>;
}

impl<W, F: AsyncFn(&Stage<W>) + Send + Sync> Story<W> for F {
    fn play<'a>(&'a self, stage: &'a Stage<W>) -> LocalBoxFuture<'a, ()> {
        Box::pin(self(stage))
    }
}

fn reparse<T: Serialize + DeserializeOwned>(value: &Value) -> Result<Value, serde_json::Error> {
    serde_json::from_value::<T>(value.clone()).and_then(serde_json::to_value)
}
