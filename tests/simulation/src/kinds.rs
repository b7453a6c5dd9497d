//! Toy step kinds: enough to meet every rule of the engine, and nothing of what clusters are.

use std::time::Duration;

use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Registry,
    RetryPolicy, Role, Step, StepError, Timeouts,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::world::Hands;

/// The definition that every workflow of a run follows.
pub(crate) const DEFINITION: &str = r#"
apiVersion: drover/v1
kind: WorkflowDefinition
metadata: { name: simulated, version: 1 }
spec:
  input: { type: object }
  placement: { installation: "${input.installation}" }
  exclusive: "${input.installation}/${input.cluster}"
  pivot: cut
  critical: { from: cut, until: settle }
  guards:
    - { id: watch, uses: sim.keep/1, from: pause, until: settle, autonomy: PT10M }
  steps:
    - { id: look, uses: sim.look/1 }
    - { id: pause, uses: sim.make/1, needs: [look], with: { calls: 2 } }
    - { id: left, uses: sim.make/1, needs: [pause], with: { calls: 4 } }
    - { id: right, uses: sim.race/1, needs: [pause], with: { calls: 3 } }
    - { id: soak, timer: PT40S, needs: [left, right] }
    - { id: ok, needs: [soak], gate: { approvers: [operator], expires: PT2M, evidence: [look] } }
    - { id: cut, uses: sim.cut/1, needs: [ok], with: { calls: 3 } }
    - { id: settle, uses: sim.cut/1, needs: [cut], with: { calls: 2 } }
    - { id: tidy, uses: sim.make/1, needs: [settle], with: { calls: 1 } }
"#;

/// Every kind.
pub(crate) fn registry() -> Registry<Hands> {
    let mut registry = Registry::default();
    registry.register(Look).expect("it is declared well");
    registry.register(Make).expect("it is declared well");
    registry.register(Race).expect("it is declared well");
    registry.register(Cut).expect("it is declared well");
    registry.register(Keep).expect("it is declared well");
    registry
}

/// What a step does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Work {
    /// So many calls, one after the other.
    #[serde(default)]
    calls: u32,
}

const EFFECTS: &[Effect] = &[Effect::once("make"), Effect::once("remove")];

const RETRY: RetryPolicy = RetryPolicy {
    initial_interval: Duration::from_secs(2),
    maximum_interval: Duration::from_secs(20),
    backoff_coefficient: 2.0,
    maximum_attempts: 3,
    maximum_losses: 3,
};

const MAKE: Declaration = Declaration {
    name: "sim.make",
    version: 1,
    summary: "changes something, call by call",
    role: Role::Step,
    class: Class::Light,
    reach: &[Reach::Aws],
    effects: EFFECTS,
    compensation: Compensation::Undo,
    loss_policy: LossPolicy::StopAtPermit,
    timeouts: Timeouts {
        schedule_to_start: None,
        start_to_close: Some(Duration::from_secs(300)),
        schedule_to_close: None,
        heartbeat: Some(Duration::from_secs(60)),
    },
    retry: RETRY,
    permissions: &[],
};

async fn make(ctx: &Context<Hands>, work: &Work) -> Result<(), StepError> {
    let from = ctx.restored::<u32>().unwrap_or(0);
    for n in from..work.calls {
        ctx.ports().change(ctx, "make", n).await?;
        ctx.progress(u64::from(n + 1), u64::from(work.calls), "called");
        ctx.checkpoint(&(n + 1)).await?;
        ctx.sleep(Duration::from_secs(1)).await?;
    }
    ctx.ports().set_done(ctx, true);
    Ok(())
}

fn observed(ctx: &Context<Hands>) -> Observed<()> {
    if ctx.ports().is_done(ctx) {
        Observed::Done(())
    } else {
        Observed::Partial
    }
}

async fn unmake(ctx: &Context<Hands>, work: &Work) -> Result<(), StepError> {
    for n in (0..work.calls).rev() {
        ctx.ports().change(ctx, "remove", n).await?;
    }
    ctx.ports().set_done(ctx, false);
    Ok(())
}

/// Only looks.
struct Look;

impl Step<Hands> for Look {
    type Params = Work;
    type Output = ();

    const DECLARATION: Declaration = Declaration {
        name: "sim.look",
        summary: "looks",
        effects: &[],
        compensation: Compensation::RollForward,
        ..MAKE
    };

    async fn pre(&self, _: &Context<Hands>, _: &Work) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, ctx: &Context<Hands>, _: &Work) -> Result<(), StepError> {
        ctx.ports().look(ctx).await
    }

    async fn observe(&self, _: &Context<Hands>, _: &Work) -> Result<Observed<()>, StepError> {
        Ok(Observed::NotDone)
    }
}

/// Changes something.
struct Make;

impl Step<Hands> for Make {
    type Params = Work;
    type Output = ();

    const DECLARATION: Declaration = MAKE;

    async fn pre(&self, _: &Context<Hands>, _: &Work) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, ctx: &Context<Hands>, work: &Work) -> Result<(), StepError> {
        make(ctx, work).await
    }

    async fn observe(&self, ctx: &Context<Hands>, _: &Work) -> Result<Observed<()>, StepError> {
        Ok(observed(ctx))
    }

    async fn compensate(&self, ctx: &Context<Hands>, work: &Work) -> Result<(), StepError> {
        unmake(ctx, work).await
    }
}

/// Changes something that two may change at once.
struct Race;

impl Step<Hands> for Race {
    type Params = Work;
    type Output = ();

    const DECLARATION: Declaration = Declaration {
        name: "sim.race",
        class: Class::CloudApi,
        loss_policy: LossPolicy::RaceOk,
        ..MAKE
    };

    async fn pre(&self, _: &Context<Hands>, _: &Work) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, ctx: &Context<Hands>, work: &Work) -> Result<(), StepError> {
        make(ctx, work).await
    }

    async fn observe(&self, ctx: &Context<Hands>, _: &Work) -> Result<Observed<()>, StepError> {
        Ok(observed(ctx))
    }

    async fn compensate(&self, ctx: &Context<Hands>, work: &Work) -> Result<(), StepError> {
        unmake(ctx, work).await
    }
}

/// Changes something that must not be left half-way.
struct Cut;

impl Step<Hands> for Cut {
    type Params = Work;
    type Output = ();

    const DECLARATION: Declaration = Declaration {
        name: "sim.cut",
        class: Class::EtcdSurgery,
        loss_policy: LossPolicy::FinishCritical {
            max: Duration::from_secs(90),
        },
        ..MAKE
    };

    async fn pre(&self, _: &Context<Hands>, _: &Work) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, ctx: &Context<Hands>, work: &Work) -> Result<(), StepError> {
        make(ctx, work).await
    }

    async fn observe(&self, ctx: &Context<Hands>, _: &Work) -> Result<Observed<()>, StepError> {
        Ok(observed(ctx))
    }

    async fn compensate(&self, ctx: &Context<Hands>, work: &Work) -> Result<(), StepError> {
        unmake(ctx, work).await
    }
}

/// Guards: acts again and again until its span ends.
struct Keep;

impl Step<Hands> for Keep {
    type Params = Work;
    type Output = ();

    const DECLARATION: Declaration = Declaration {
        name: "sim.keep",
        role: Role::Guard,
        class: Class::Guard,
        loss_policy: LossPolicy::RaceOk,
        effects: &[Effect::repeatable("make"), Effect::repeatable("remove")],
        timeouts: Timeouts {
            start_to_close: None,
            ..MAKE.timeouts
        },
        ..MAKE
    };

    async fn pre(&self, _: &Context<Hands>, _: &Work) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, ctx: &Context<Hands>, _: &Work) -> Result<(), StepError> {
        while !ctx.stopped() {
            ctx.ports().change(ctx, "make", 0).await?;
            ctx.sleep(Duration::from_secs(10)).await?;
        }
        Ok(())
    }

    async fn observe(&self, _: &Context<Hands>, _: &Work) -> Result<Observed<()>, StepError> {
        Ok(Observed::NotDone)
    }

    async fn compensate(&self, ctx: &Context<Hands>, _: &Work) -> Result<(), StepError> {
        ctx.ports().change(ctx, "remove", 0).await
    }
}
