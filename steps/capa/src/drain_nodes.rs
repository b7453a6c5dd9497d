//! `vintage.drain_nodes/1`: nodes are cordoned and drained, one at a time.
//!
//! * Effect: each Node is unschedulable; its pods have left through the eviction API, which honours disruption budgets, and run
//!   elsewhere; its volumes are detached. DaemonSets' pods and mirror pods stay.
//! * Idempotency: a cordoned Node stays so; a pod that was asked to leave is not asked to do anything else.
//! * Compensation: roll forward; the pods run elsewhere, and where they are is the scheduler's affair.
//!
//! A budget that holds a pod for ten minutes ends it, named, and so does a pod that does not end: the migration pauses, and
//! nothing is ended that is not drained. With `force` an operator says what may be overridden.

use drover_ports::Ports;
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::support::{
    cluster::still_there,
    defaults::{RETRY, minutes, timeouts},
    drain::{self, Drain},
    nodes,
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct DrainNodes;

/// Parameters of `vintage.drain_nodes/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// Names of the Nodes, in the order in which they are drained.
    pub nodes: Vec<String>,
    /// What an operator allows to be overridden, each `namespace/name`: budgets, and pods that no controller would make again.
    #[serde(default)]
    pub force: Vec<String>,
}

/// Output of `vintage.drain_nodes/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Nodes that are drained or gone.
    pub drained: Vec<String>,
}

impl Step<Ports> for DrainNodes {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "vintage.drain_nodes",
        version: 1,
        summary: "cordons and drains vintage nodes one at a time, honouring disruption budgets",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::VintageMc, Reach::Workload],
        effects: &[
            Effect::once("cordon"),
            Effect::once("evict"),
            Effect::once("delete-pod"),
        ],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(120)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "workload:get:Node",
            "workload:patch:Node",
            "workload:list:Pod",
            "workload:evict:Pod",
            "workload:delete:Pod",
            "workload:list:PodDisruptionBudget",
            "workload:list:VolumeAttachment",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster).await?;
        for node in &params.nodes {
            if let Some(why) = drain::unmanaged(ctx, &params.drain(node)).await? {
                return Err(StepError::refused("pod-unmanaged", why));
            }
        }
        Ok(())
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let total = params.nodes.len() as u64;
        for (done, node) in (0..).zip(&params.nodes) {
            ctx.progress(done, total, format!("draining {node}"));
            nodes::cordon(ctx, &params.cluster, node).await?;
            drain::drain(ctx, &params.drain(node)).await?;
            ctx.progress(done + 1, total, format!("{node} is drained"));
        }
        Ok(params.output())
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let (mut drained, mut touched) = (0, 0);
        for node in &params.nodes {
            let cordoned = match nodes::find(ctx, &params.cluster, node).await? {
                Some(found) => nodes::is_cordoned(&found),
                None => true,
            };
            touched += usize::from(cordoned);
            let undrained = drain::undrained(ctx, &params.cluster, node).await?;
            drained += usize::from(undrained.is_none());
        }
        Ok(match (drained, touched) {
            (n, _) if n == params.nodes.len() => Observed::Done(params.output()),
            (_, 0) => Observed::NotDone,
            _ => Observed::Partial,
        })
    }
}

impl Params {
    fn drain<'p>(&'p self, node: &'p str) -> Drain<'p> {
        Drain {
            cluster: &self.cluster,
            node,
            force: &self.force,
        }
    }

    fn output(&self) -> Output {
        Output {
            drained: self.nodes.clone(),
        }
    }
}
