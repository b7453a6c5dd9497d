//! The trait that a step kind implements, and its type-erased form for registries.

use std::future::Future;

use async_trait::async_trait;
use schemars::{JsonSchema, Schema};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Context, Declaration, StepError};

/// The largest output of a step, in bytes of JSON. More than 256 KiB do not travel with the result: they are uploaded, and
/// events hold a reference.
pub const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// What the world says about a step, without changing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed<O> {
    /// Nothing of it is there.
    NotDone,
    /// All of it is there; the output as `run` would have given it.
    Done(O),
    /// Some of it is there; `run` goes on from here.
    Partial,
    /// Something is there that this step did not make and will not touch; one sentence for the operator.
    Foreign(String),
}

impl<O> Observed<O> {
    /// The same with another output.
    pub fn map<T>(self, output: impl FnOnce(O) -> T) -> Observed<T> {
        match self {
            Self::NotDone => Observed::NotDone,
            Self::Done(done) => Observed::Done(output(done)),
            Self::Partial => Observed::Partial,
            Self::Foreign(why) => Observed::Foreign(why),
        }
    }
}

/// What `observe` says once its output has become JSON.
pub type ObservedJson = Observed<Value>;

/// One step kind. `P` is the ports it is written against.
///
/// `run`, `observe` and `compensate` may be called any number of times, by different processes, after any of them
/// stopped at any outside call: everything they need to know they read from the world or from a checkpoint.
pub trait Step<P>: Send + Sync + 'static
where
    P: Send + Sync + 'static,
{
    /// What a definition passes with `with:`. Never holds a secret.
    type Params: Serialize + DeserializeOwned + JsonSchema + Send + Sync;
    /// What later steps read. Never holds a secret; at most [`OUTPUT_BYTES_MAX`] as JSON.
    type Output: Serialize + DeserializeOwned + JsonSchema + Send + Sync;

    /// What the engine must know before the first attempt.
    const DECLARATION: Declaration;

    /// May I? Reads only. Called before each `run`; a refusal here exempts the step from compensation.
    fn pre(
        &self,
        ctx: &Context<P>,
        params: &Self::Params,
    ) -> impl Future<Output = Result<(), StepError>> + Send;

    /// Does it, and returns only when it is done and proved.
    fn run(
        &self,
        ctx: &Context<P>,
        params: &Self::Params,
    ) -> impl Future<Output = Result<Self::Output, StepError>> + Send;

    /// What does the world say? Reads only. Kinds that only read answer [`Observed::NotDone`].
    fn observe(
        &self,
        ctx: &Context<P>,
        params: &Self::Params,
    ) -> impl Future<Output = Result<Observed<Self::Output>, StepError>> + Send;

    /// Takes the effects back; called only for kinds that declare [`crate::Compensation::Undo`]. Must cope with the
    /// step never having acted, and with having been called before.
    fn compensate(
        &self,
        ctx: &Context<P>,
        params: &Self::Params,
    ) -> impl Future<Output = Result<(), StepError>> + Send {
        let _ = (ctx, params);
        async {
            Err(StepError::failed(
                "no-compensation",
                format!("{} declares no way back", Self::DECLARATION.name),
            ))
        }
    }
}

/// A step kind with its parameters and output as JSON.
#[async_trait]
pub trait ErasedStep<P>: Send + Sync
where
    P: Send + Sync + 'static,
{
    /// What the kind declares.
    fn declaration(&self) -> Declaration;
    /// JSON Schema of the parameters.
    fn params_schema(&self) -> Schema;
    /// JSON Schema of the output.
    fn output_schema(&self) -> Schema;
    /// [`Step::pre`] and then [`Step::run`].
    async fn run(&self, ctx: &Context<P>, params: Value) -> Result<Value, StepError>;
    /// [`Step::observe`].
    async fn observe(&self, ctx: &Context<P>, params: Value) -> Result<ObservedJson, StepError>;
    /// [`Step::compensate`].
    async fn compensate(&self, ctx: &Context<P>, params: Value) -> Result<(), StepError>;
}

#[async_trait]
impl<P, S> ErasedStep<P> for S
where
    P: Send + Sync + 'static,
    S: Step<P>,
{
    fn declaration(&self) -> Declaration {
        S::DECLARATION
    }

    fn params_schema(&self) -> Schema {
        schemars::schema_for!(S::Params)
    }

    fn output_schema(&self) -> Schema {
        schemars::schema_for!(S::Output)
    }

    async fn run(&self, ctx: &Context<P>, params: Value) -> Result<Value, StepError> {
        let params = parse::<S::Params>(params)?;
        self.pre(ctx, &params).await?;
        let output = Step::run(self, ctx, &params).await?;
        to_json(&output)
    }

    async fn observe(&self, ctx: &Context<P>, params: Value) -> Result<ObservedJson, StepError> {
        let params = parse::<S::Params>(params)?;
        Ok(match Step::observe(self, ctx, &params).await? {
            Observed::NotDone => Observed::NotDone,
            Observed::Done(output) => Observed::Done(to_json(&output)?),
            Observed::Partial => Observed::Partial,
            Observed::Foreign(what) => Observed::Foreign(what),
        })
    }

    async fn compensate(&self, ctx: &Context<P>, params: Value) -> Result<(), StepError> {
        let params = parse::<S::Params>(params)?;
        Step::compensate(self, ctx, &params).await
    }
}

fn parse<T: DeserializeOwned>(params: Value) -> Result<T, StepError> {
    serde_json::from_value(params)
        .map_err(|error| StepError::refused("params-invalid", error.to_string()))
}

fn to_json<T: Serialize>(output: &T) -> Result<Value, StepError> {
    serde_json::to_value(output)
        .map_err(|error| StepError::failed("output-invalid", error.to_string()))
}
