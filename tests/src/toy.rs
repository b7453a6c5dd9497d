//! Toy step kinds, and the world they act on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use drover_ports::Caller;
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Permit, Reach,
    Registry, RetryPolicy, Role, Stamp, Step, StepError, Timeouts,
};
use drover_worker::ports::PortsSource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// The toy world: things that steps made, and every mutation with its stamp.
#[derive(Clone, Default)]
pub struct World(Arc<Inner>);

#[derive(Default)]
struct Inner {
    things: Mutex<BTreeSet<String>>,
    ledger: Mutex<Vec<(String, Stamp)>>,
    runs: Mutex<BTreeMap<String, u32>>,
    released: watch::Sender<BTreeSet<String>>,
    failing: Mutex<BTreeMap<String, StepErrorKind>>,
}

/// How a toy step is told to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepErrorKind {
    Transient,
    Refused,
    Failed,
}

impl World {
    /// Things that steps made and have not taken back.
    pub fn things(&self) -> Vec<String> {
        self.0.things.lock().unwrap().iter().cloned().collect()
    }

    /// Every mutation, in order.
    pub fn ledger(&self) -> Vec<(String, Stamp)> {
        self.0.ledger.lock().unwrap().clone()
    }

    /// How often `run` of a step was entered.
    pub fn runs(&self, step: &str) -> u32 {
        self.0.runs.lock().unwrap().get(step).copied().unwrap_or(0)
    }

    /// Lets `toy.block` steps of this name go on.
    pub fn release(&self, step: &str) {
        self.0.released.send_modify(|released| {
            released.insert(step.to_owned());
        });
    }

    /// The next runs of a step fail so, until told otherwise.
    pub fn fail(&self, step: &str, how: Option<StepErrorKind>) {
        let mut failing = self.0.failing.lock().unwrap();
        match how {
            Some(how) => drop(failing.insert(step.to_owned(), how)),
            None => drop(failing.remove(step)),
        }
    }

    fn entered(&self, step: &str) {
        *self
            .0
            .runs
            .lock()
            .unwrap()
            .entry(step.to_owned())
            .or_default() += 1;
    }

    fn check(&self, step: &str) -> Result<(), StepError> {
        match self.0.failing.lock().unwrap().get(step) {
            None => Ok(()),
            Some(StepErrorKind::Transient) => Err(StepError::transient("toy-transient", "told to")),
            Some(StepErrorKind::Refused) => Err(StepError::refused("toy-refused", "told to")),
            Some(StepErrorKind::Failed) => Err(StepError::failed("toy-failed", "told to")),
        }
    }

    fn make(&self, thing: &str, permit: Permit) {
        self.0.things.lock().unwrap().insert(thing.to_owned());
        self.0
            .ledger
            .lock()
            .unwrap()
            .push((format!("make {thing}"), permit.into_stamp()));
    }

    fn remove(&self, thing: &str, permit: Permit) {
        self.0.things.lock().unwrap().remove(thing);
        self.0
            .ledger
            .lock()
            .unwrap()
            .push((format!("remove {thing}"), permit.into_stamp()));
    }

    fn has(&self, thing: &str) -> bool {
        self.0.things.lock().unwrap().contains(thing)
    }
}

#[async_trait]
impl PortsSource<World> for World {
    fn ports(&self, _: Caller, _: &Declaration) -> World {
        self.clone()
    }

    async fn refresh_credentials(&self) {
        self.0
            .runs
            .lock()
            .unwrap()
            .insert("refresh-credentials".to_owned(), 1);
    }
}

const RETRY: RetryPolicy = RetryPolicy {
    initial_interval: Duration::from_millis(50),
    maximum_interval: Duration::from_millis(200),
    backoff_coefficient: 2.0,
    maximum_attempts: 3,
    maximum_losses: 10,
};

const fn declare(
    name: &'static str,
    compensation: Compensation,
    effects: &'static [Effect],
) -> Declaration {
    Declaration {
        name,
        version: 1,
        summary: "plays",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::Aws],
        effects,
        compensation,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: Timeouts {
            schedule_to_start: None,
            start_to_close: Some(Duration::from_secs(600)),
            schedule_to_close: None,
            heartbeat: None,
        },
        retry: RETRY,
        permissions: &[],
    }
}

/// What every toy step takes and gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// Passed through.
    #[serde(default)]
    pub text: String,
}

/// Gives back what it got; changes nothing.
pub struct Echo;

impl Step<World> for Echo {
    type Params = Note;
    type Output = Note;

    const DECLARATION: Declaration = declare("toy.echo", Compensation::RollForward, &[]);

    async fn pre(&self, _: &Context<World>, _: &Note) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, ctx: &Context<World>, params: &Note) -> Result<Note, StepError> {
        ctx.ports().entered(ctx.step());
        ctx.ports().check(ctx.step())?;
        Ok(params.clone())
    }

    async fn observe(&self, _: &Context<World>, _: &Note) -> Result<Observed<Note>, StepError> {
        Ok(Observed::NotDone)
    }
}

/// A newer version of [`Echo`], which answers louder.
pub struct EchoTwo;

impl Step<World> for EchoTwo {
    type Params = Note;
    type Output = Note;

    const DECLARATION: Declaration = Declaration {
        version: 2,
        ..Echo::DECLARATION
    };

    async fn pre(&self, _: &Context<World>, _: &Note) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, ctx: &Context<World>, params: &Note) -> Result<Note, StepError> {
        ctx.ports().entered(ctx.step());
        Ok(Note {
            text: params.text.to_uppercase(),
        })
    }

    async fn observe(&self, _: &Context<World>, _: &Note) -> Result<Observed<Note>, StepError> {
        Ok(Observed::NotDone)
    }
}

/// [`Block`] that nobody else may go on with for an hour.
pub struct Surgery;

impl Step<World> for Surgery {
    type Params = Note;
    type Output = Note;

    const DECLARATION: Declaration = Declaration {
        loss_policy: LossPolicy::FinishCritical {
            max: Duration::from_secs(3600),
        },
        ..declare("toy.surgery", Compensation::Undo, MAKE)
    };

    async fn pre(&self, ctx: &Context<World>, params: &Note) -> Result<(), StepError> {
        Block.pre(ctx, params).await
    }

    async fn run(&self, ctx: &Context<World>, params: &Note) -> Result<Note, StepError> {
        Block.run(ctx, params).await
    }

    async fn observe(
        &self,
        ctx: &Context<World>,
        params: &Note,
    ) -> Result<Observed<Note>, StepError> {
        Block.observe(ctx, params).await
    }

    async fn compensate(&self, ctx: &Context<World>, params: &Note) -> Result<(), StepError> {
        Block.compensate(ctx, params).await
    }
}

/// How much to give.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    /// Bytes of text.
    pub bytes: usize,
}

/// Gives much; what it is taken back with shows in its ledger entry.
pub struct Large;

impl Step<World> for Large {
    type Params = Amount;
    type Output = Note;

    const DECLARATION: Declaration = declare("toy.large", Compensation::Undo, MAKE);

    async fn pre(&self, _: &Context<World>, _: &Amount) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, ctx: &Context<World>, params: &Amount) -> Result<Note, StepError> {
        ctx.ports().entered(ctx.step());
        Ok(Note {
            text: "abcdefgh".repeat(params.bytes / 8),
        })
    }

    async fn observe(&self, _: &Context<World>, _: &Amount) -> Result<Observed<Note>, StepError> {
        Ok(Observed::NotDone)
    }

    async fn compensate(&self, ctx: &Context<World>, _: &Amount) -> Result<(), StepError> {
        let bytes = ctx.output::<Note>().map_or(0, |note| note.text.len());
        let permit = ctx.permit("remove").await?;
        ctx.ports().remove(&format!("{bytes} bytes"), permit);
        Ok(())
    }
}

const MAKE: &[Effect] = &[Effect::once("make"), Effect::once("remove")];

/// Makes a thing named after its step; takes it back.
pub struct Make;

impl Step<World> for Make {
    type Params = Note;
    type Output = Note;

    const DECLARATION: Declaration = declare("toy.make", Compensation::Undo, MAKE);

    async fn pre(&self, ctx: &Context<World>, _: &Note) -> Result<(), StepError> {
        ctx.ports().check(ctx.step())
    }

    async fn run(&self, ctx: &Context<World>, params: &Note) -> Result<Note, StepError> {
        ctx.ports().entered(ctx.step());
        let permit = ctx.permit("make").await?;
        ctx.ports().make(ctx.step(), permit);
        Ok(params.clone())
    }

    async fn observe(
        &self,
        ctx: &Context<World>,
        params: &Note,
    ) -> Result<Observed<Note>, StepError> {
        Ok(if ctx.ports().has(ctx.step()) {
            Observed::Done(params.clone())
        } else {
            Observed::NotDone
        })
    }

    async fn compensate(&self, ctx: &Context<World>, _: &Note) -> Result<(), StepError> {
        ctx.ports().check(&format!("undo {}", ctx.step()))?;
        if ctx.ports().has(ctx.step()) {
            let permit = ctx.permit("remove").await?;
            ctx.ports().remove(ctx.step(), permit);
        }
        Ok(())
    }
}

/// Waits until the test releases it, then makes its thing.
pub struct Block;

impl Step<World> for Block {
    type Params = Note;
    type Output = Note;

    const DECLARATION: Declaration = declare("toy.block", Compensation::Undo, MAKE);

    async fn pre(&self, _: &Context<World>, _: &Note) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, ctx: &Context<World>, params: &Note) -> Result<Note, StepError> {
        ctx.ports().entered(ctx.step());
        ctx.checkpoint(&"begun").await?;
        let mut released = ctx.ports().0.released.subscribe();
        loop {
            if released.borrow_and_update().contains(ctx.step()) {
                break;
            }
            ctx.progress(0, 0, "blocked");
            // A safe point every few milliseconds.
            ctx.sleep(Duration::from_millis(5)).await?;
        }
        let permit = ctx.permit("make").await?;
        ctx.ports().make(ctx.step(), permit);
        Ok(params.clone())
    }

    async fn observe(
        &self,
        ctx: &Context<World>,
        params: &Note,
    ) -> Result<Observed<Note>, StepError> {
        Ok(if ctx.ports().has(ctx.step()) {
            Observed::Done(params.clone())
        } else {
            Observed::NotDone
        })
    }

    async fn compensate(&self, ctx: &Context<World>, _: &Note) -> Result<(), StepError> {
        if ctx.ports().has(ctx.step()) {
            let permit = ctx.permit("remove").await?;
            ctx.ports().remove(ctx.step(), permit);
        }
        Ok(())
    }
}

/// Keeps its thing there until its span ends.
pub struct Keep;

impl Step<World> for Keep {
    type Params = Note;
    type Output = ();

    const DECLARATION: Declaration = Declaration {
        role: Role::Guard,
        class: Class::Guard,
        loss_policy: LossPolicy::RaceOk,
        timeouts: Timeouts {
            schedule_to_start: None,
            start_to_close: None,
            schedule_to_close: None,
            heartbeat: None,
        },
        ..declare("toy.keep", Compensation::Undo, MAKE)
    };

    async fn pre(&self, _: &Context<World>, _: &Note) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, ctx: &Context<World>, _: &Note) -> Result<(), StepError> {
        ctx.ports().entered(ctx.step());
        while !ctx.stopped() {
            if !ctx.ports().has(ctx.step()) {
                let permit = ctx.permit("make").await?;
                ctx.ports().make(ctx.step(), permit);
            }
            ctx.sleep(Duration::from_millis(20)).await?;
        }
        Ok(())
    }

    async fn observe(&self, _: &Context<World>, _: &Note) -> Result<Observed<()>, StepError> {
        Ok(Observed::NotDone)
    }

    async fn compensate(&self, ctx: &Context<World>, _: &Note) -> Result<(), StepError> {
        if ctx.ports().has(ctx.step()) {
            let permit = ctx.permit("remove").await?;
            ctx.ports().remove(ctx.step(), permit);
        }
        Ok(())
    }
}

/// Leaks what it should not.
pub struct Leak;

impl Step<World> for Leak {
    type Params = Note;
    type Output = Note;

    const DECLARATION: Declaration = declare("toy.leak", Compensation::RollForward, &[]);

    async fn pre(&self, _: &Context<World>, _: &Note) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, _: &Context<World>, _: &Note) -> Result<Note, StepError> {
        Ok(Note {
            text: format!("-----BEGIN {} KEY-----", "PRIVATE"),
        })
    }

    async fn observe(&self, _: &Context<World>, _: &Note) -> Result<Observed<Note>, StepError> {
        Ok(Observed::NotDone)
    }
}

/// Panics.
pub struct Panic;

impl Step<World> for Panic {
    type Params = Note;
    type Output = Note;

    const DECLARATION: Declaration = declare("toy.panic", Compensation::RollForward, &[]);

    async fn pre(&self, _: &Context<World>, _: &Note) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, _: &Context<World>, _: &Note) -> Result<Note, StepError> {
        panic!("a bug, planted")
    }

    async fn observe(&self, _: &Context<World>, _: &Note) -> Result<Observed<Note>, StepError> {
        Ok(Observed::NotDone)
    }
}

/// Every toy kind.
pub fn registry() -> Registry<World> {
    let mut registry = Registry::default();
    registry.register(Echo).unwrap();
    registry.register(Make).unwrap();
    registry.register(Block).unwrap();
    registry.register(Keep).unwrap();
    registry.register(Large).unwrap();
    registry.register(Leak).unwrap();
    registry.register(Panic).unwrap();
    registry.register(Surgery).unwrap();
    registry
}
