//! `aws.sync_api_load_balancers/1`, a guard: the vintage API's load balancers have every Cluster API node that serves, and
//! none that does not.
//!
//! * Effect: registers running control-plane instances whose API answers our own look, deregisters those that are gone,
//!   leaving, or silent.
//!   When its span ends it makes one last round, so that who came meanwhile is not left out.
//! * Idempotency: registering twice is registering once; two guards at once do the same.
//! * Compensation: undo; takes the Cluster API instances off, once somebody else is in service.
//!
//! It trusts its own looks: a load balancer's health check is content with any answer, so what it believes to be in service
//! says nothing about what customers get. Vintage masters are none of its business: it never registers one, and never
//! deregisters one that lives.

use std::{collections::BTreeSet, time::Duration};

use drover_model::names;
use drover_ports::{Instance, PortErrorKind, Ports, Via};
use drover_step_api::{
    Certainty, Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach,
    Role, Step, StepError, Timeouts,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::support::{
    defaults::{RETRY, minutes, seconds},
    traffic,
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct SyncApiLoadBalancers;

/// Parameters of `aws.sync_api_load_balancers/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// The load balancers.
    pub load_balancers: Vec<String>,
}

/// Output of `aws.sync_api_load_balancers/1`: how its span went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Rounds that were made.
    pub rounds: u64,
    /// Instances registered, counted once for each load balancer.
    pub registered: u64,
    /// Instances deregistered, counted likewise.
    pub deregistered: u64,
}

/// From the end of one round to the beginning of the next.
const PAUSE: Duration = seconds(20);

/// Rounds in a row that may fail before somebody has to look.
const PATIENCE: u32 = 15;

impl Step<Ports> for SyncApiLoadBalancers {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "aws.sync_api_load_balancers",
        version: 1,
        summary: "keeps the vintage API's load balancers at the Cluster API nodes that serve",
        role: Role::Guard,
        class: Class::Guard,
        reach: &[Reach::Workload, Reach::Aws],
        effects: &[
            Effect::repeatable("register"),
            Effect::repeatable("deregister"),
            Effect::repeatable("withdraw"),
        ],
        compensation: Compensation::Undo,
        loss_policy: LossPolicy::RaceOk,
        timeouts: Timeouts {
            schedule_to_start: None,
            start_to_close: None,
            schedule_to_close: None,
            heartbeat: Some(minutes(3)),
        },
        retry: RETRY,
        permissions: &[
            "probe:Api",
            "ec2:DescribeInstances",
            "elasticloadbalancing:DescribeLoadBalancers",
            "elasticloadbalancing:DescribeInstanceHealth",
            "elasticloadbalancing:RegisterInstancesWithLoadBalancer",
            "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
        ],
    };

    async fn pre(&self, _: &Context<Ports>, _: &Params) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let mut output = Output::default();
        let mut failures = 0;
        loop {
            // What became ready since the round before is met by one more, so that the span's end is how it stays.
            let last = ctx.stopped();
            match round(ctx, params, last, &mut output).await {
                Ok(()) => failures = 0,
                Err(error) if is_of_signal(&error) => return Err(error),
                // A blip of AWS must not leave the load balancers without their guard.
                Err(error) if error.certainty() == Certainty::Transient && failures < PATIENCE => {
                    failures += 1;
                    ctx.progress(output.rounds, 0, error.to_string());
                }
                Err(error) => return Err(error),
            }
            output.rounds += 1;
            if last {
                return Ok(output);
            }
            ctx.sleep(PAUSE).await?;
        }
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let mine = machines(ctx, params).await?;
        for load_balancer in &params.load_balancers {
            let on = traffic::registered(ctx, &params.cluster, load_balancer).await?;
            if mine.iter().any(|machine| on.contains(&machine.id)) {
                return Ok(Observed::Partial);
            }
        }
        Ok(Observed::NotDone)
    }

    async fn compensate(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        let mine = machines(ctx, params).await?;
        for load_balancer in &params.load_balancers {
            let on = traffic::registered(ctx, &params.cluster, load_balancer).await?;
            let leaving: Vec<String> = mine
                .iter()
                .filter(|machine| on.contains(&machine.id))
                .map(|machine| machine.id.clone())
                .collect();
            if leaving.is_empty() {
                continue;
            }
            let in_service = traffic::in_service(ctx, &params.cluster, load_balancer).await?;
            if !in_service.iter().any(|id| !leaving.contains(id)) {
                return Err(StepError::transient(
                    "no-other-backend",
                    format!(
                        "nobody else is in service at {load_balancer}; bring the masters back first"
                    ),
                ));
            }
            deregister(ctx, params, load_balancer, &leaving, "withdraw").await?;
        }
        Ok(())
    }
}

/// Somebody wants the attempt to end here, and waits for exactly that answer.
fn is_of_signal(error: &StepError) -> bool {
    matches!(
        error.certainty(),
        Certainty::Cancelled | Certainty::Superseded | Certainty::Yielded
    )
}

/// Instances of the control plane's machines that have not been terminated.
async fn machines(ctx: &Context<Ports>, params: &Params) -> Result<Vec<Instance>, StepError> {
    let tag = names::tag_capa_cluster(&params.cluster);
    let tags = [
        (tag.as_str(), "owned"),
        (names::TAG_CAPA_ROLE, "control-plane"),
    ];
    Ok(ctx
        .ports()
        .cloud(&params.cluster)
        .describe_instances(&tags)
        .await?)
}

async fn round(
    ctx: &Context<Ports>,
    params: &Params,
    last: bool,
    output: &mut Output,
) -> Result<(), StepError> {
    let machines = machines(ctx, params).await?;
    let mut on = Vec::new();
    for load_balancer in &params.load_balancers {
        on.push(traffic::registered(ctx, &params.cluster, load_balancer).await?);
    }
    let mut serving = Vec::new();
    for machine in &machines {
        if machine.tags.contains_key(names::TAG_LEAVING) || machine.state != "running" {
            continue;
        }
        // To take one off is a step to make sure of; to put one on waits for the next round at worst, if there is one.
        let via = Via::Instance {
            id: machine.id.clone(),
        };
        let found = if last || on.iter().any(|on| on.contains(&machine.id)) {
            traffic::answers_at_last(ctx, &params.cluster, via).await?
        } else {
            traffic::answers(ctx, &params.cluster, via).await?
        };
        if found.is_ok() {
            serving.push(machine.id.clone());
        }
    }
    for (load_balancer, on) in params.load_balancers.iter().zip(&on) {
        sync(
            ctx,
            params,
            (load_balancer, on),
            &machines,
            &serving,
            output,
        )
        .await?;
    }
    // A violation would tell nobody any more, and what follows the span waits for this round.
    if !last {
        watch(ctx, params).await?;
    }
    ctx.progress(
        output.rounds + 1,
        0,
        format!("{} Cluster API nodes serve", serving.len()),
    );
    Ok(())
}

async fn sync(
    ctx: &Context<Ports>,
    params: &Params,
    (load_balancer, on): (&str, &BTreeSet<String>),
    machines: &[Instance],
    serving: &[String],
    output: &mut Output,
) -> Result<(), StepError> {
    let missing: Vec<String> = serving
        .iter()
        .filter(|id| !on.contains(*id))
        .cloned()
        .collect();
    if !missing.is_empty() {
        let permit = ctx.permit_for("register", load_balancer).await?;
        let cloud = ctx.ports().cloud(&params.cluster);
        match cloud
            .register_instances_with_load_balancer(permit, load_balancer, &missing)
            .await
        {
            Ok(()) => output.registered += missing.len() as u64,
            // One has died since it was listed, and takes the whole request with it; the next round knows.
            Err(error) if error.kind == PortErrorKind::Invalid => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    let silent: Vec<String> = machines
        .iter()
        .map(|machine| machine.id.clone())
        .filter(|id| on.contains(id) && !serving.contains(id))
        .collect();
    // The last backend stays: a silent one may come back, none at all cannot.
    let others = on.iter().any(|id| !silent.contains(id)) || !missing.is_empty();
    if !silent.is_empty() && others {
        deregister(ctx, params, load_balancer, &silent, "deregister").await?;
        output.deregistered += silent.len() as u64;
    }
    Ok(())
}

async fn deregister(
    ctx: &Context<Ports>,
    params: &Params,
    load_balancer: &str,
    instances: &[String],
    effect: &str,
) -> Result<(), StepError> {
    let permit = ctx.permit_for(effect, load_balancer).await?;
    let cloud = ctx.ports().cloud(&params.cluster);
    Ok(cloud
        .deregister_instances_from_load_balancer(permit, load_balancer, instances)
        .await?)
}

/// What the guard is there to prevent.
async fn watch(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    for load_balancer in &params.load_balancers {
        if traffic::in_service(ctx, &params.cluster, load_balancer)
            .await?
            .is_empty()
        {
            ctx.violation(
                "api-without-backend",
                &format!("{load_balancer} has no instance in service"),
            );
        }
    }
    if let Err(why) = traffic::answers_at_last(ctx, &params.cluster, Via::OldName).await? {
        ctx.violation(
            "old-name-silent",
            &format!("the old name does not answer: {why}"),
        );
    }
    Ok(())
}
