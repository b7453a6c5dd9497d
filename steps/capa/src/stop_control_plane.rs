//! `vintage.stop_control_plane/1`: the vintage control plane ends, component by component, while its etcd goes on.
//!
//! * Effect: on every master, through Jobs: timers with teeth are stopped; controller manager and scheduler go first, so that
//!   the Cluster API ones get the leases; then the API servers, one master at a time, while the old name keeps answering.
//! * Idempotency: a manifest that is parked stays parked; Jobs have the same name in every attempt.
//! * Compensation: undo; withdraws Jobs that have not run yet, moves the manifests back, and waits until every master's API
//!   answers. Its etcd is still there for that.

use drover_model::{Partition, node_job::NodeCommand};
use drover_ports::{ObjectRef, Ports, Via};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Poll, Reach, Role,
    Step, StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    kinds,
    support::{
        cluster::still_there,
        defaults::{RETRY, minutes, seconds, timeouts},
        node_jobs::Task,
        static_pods::{self, API_HEALTHZ, API_SERVER, CONTROLLER_MANAGER, SCHEDULER},
        traffic,
    },
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct StopControlPlane;

/// One master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MasterNode {
    /// Name of its Node.
    pub node: String,
    /// Its EC2 instance.
    pub instance: String,
}

/// Parameters of `vintage.stop_control_plane/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// AWS partition: decides where the Jobs' image comes from.
    pub partition: Partition,
    /// The masters.
    pub masters: Vec<MasterNode>,
    /// The Cluster API node that takes over.
    pub node: String,
    /// The load balancers that must not send traffic to the masters any more.
    pub load_balancers: Vec<String>,
}

/// Output of `vintage.stop_control_plane/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Nodes whose control plane is stopped.
    pub stopped: Vec<String>,
}

const CONTROLLERS: [&str; 2] = [CONTROLLER_MANAGER, SCHEDULER];
const API: [&str; 2] = [API_HEALTHZ, API_SERVER];
const ALL: [&str; 4] = [CONTROLLER_MANAGER, SCHEDULER, API_HEALTHZ, API_SERVER];

/// Units that act on the node or the cluster by themselves.
const TIMERS: [&str; 3] = [
    // Condemns its own instance once its API server is gone and the old name still answers.
    "master-instance-healthcheck.timer",
    // Puts role labels back.
    "k8s-label-node.timer",
    // Blocks a member for seconds, at a time of its own choice.
    "etcd3-defragmentation.timer",
];

const LEASES: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];

impl Step<Ports> for StopControlPlane {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "vintage.stop_control_plane",
        version: 1,
        summary: "stops the vintage controller managers, schedulers and API servers, one after the other",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::VintageMc, Reach::Workload, Reach::Aws],
        effects: &[
            Effect::once("stop-controllers"),
            Effect::once("stop-api"),
            Effect::once("withdraw-job"),
            Effect::once("start-api"),
            Effect::once("start-controllers"),
        ],
        compensation: Compensation::Undo,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(75)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "workload:list:Pod",
            "workload:get:Job",
            "workload:create:Job",
            "workload:delete:Job",
            "workload:get:Lease",
            "probe:Api",
            "elasticloadbalancing:DescribeLoadBalancers",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster).await?;
        for load_balancer in &params.load_balancers {
            let on = traffic::registered(ctx, &params.cluster, load_balancer).await?;
            if let Some(master) = params
                .masters
                .iter()
                .find(|master| on.contains(&master.instance))
            {
                return Err(StepError::refused(
                    "traffic-not-moved",
                    format!(
                        "{load_balancer} still sends traffic to {}; move it first",
                        master.instance
                    ),
                ));
            }
        }
        Ok(())
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        for master in &params.masters {
            stop(
                ctx,
                params,
                master,
                "stop-controllers",
                &CONTROLLERS,
                &TIMERS,
            )
            .await?;
        }
        wait_for_leases(ctx, params).await?;
        for master in &params.masters {
            // One at a time, and only while somebody else answers.
            answers(ctx, params).await?;
            stop(ctx, params, master, "stop-api", &API, &[]).await?;
        }
        answers(ctx, params).await?;
        Ok(output(params))
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let pods = static_pods::list(ctx, &params.cluster, Via::OldName).await?;
        let running: usize = params
            .masters
            .iter()
            .map(|master| pods.running(&ALL, &master.node).len())
            .sum();
        if running == 0 {
            return Ok(Observed::Done(output(params)));
        }
        let mut pending = false;
        for master in &params.masters {
            for (effect, manifests, units) in STOPS {
                pending |= task(params, master, effect, commands(manifests, units))
                    .is_pending(ctx)
                    .await?;
            }
        }
        let whole = running == params.masters.len() * ALL.len();
        Ok(if whole && !pending {
            Observed::NotDone
        } else {
            Observed::Partial
        })
    }

    async fn compensate(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        let mut stopped = Vec::new();
        for master in &params.masters {
            stopped.push(withdraw(ctx, params, master).await?);
        }
        // API servers first: their controllers need them.
        for (master, stopped) in params.masters.iter().zip(&stopped) {
            if *stopped {
                start(ctx, params, master, "start-api", &API, &[]).await?;
            }
        }
        for (master, stopped) in params.masters.iter().zip(&stopped) {
            if *stopped {
                start(
                    ctx,
                    params,
                    master,
                    "start-controllers",
                    &CONTROLLERS,
                    &TIMERS,
                )
                .await?;
            }
        }
        Ok(())
    }
}

type Stop = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);
const STOPS: [Stop; 2] = [
    ("stop-controllers", &CONTROLLERS, &TIMERS),
    ("stop-api", &API, &[]),
];

fn output(params: &Params) -> Output {
    Output {
        stopped: params
            .masters
            .iter()
            .map(|master| master.node.clone())
            .collect(),
    }
}

fn task<'p>(
    params: &'p Params,
    master: &'p MasterNode,
    effect: &'p str,
    commands: Vec<NodeCommand>,
) -> Task<'p> {
    Task {
        cluster: &params.cluster,
        partition: params.partition,
        node: &master.node,
        effect,
        commands,
    }
}

fn commands(manifests: &[&str], units: &[&str]) -> Vec<NodeCommand> {
    let units = units.iter().map(|unit| NodeCommand::StopUnit {
        unit: (*unit).to_owned(),
    });
    let manifests = manifests.iter().map(|manifest| NodeCommand::Park {
        manifest: (*manifest).to_owned(),
    });
    units.chain(manifests).collect()
}

async fn stop(
    ctx: &Context<Ports>,
    params: &Params,
    master: &MasterNode,
    effect: &str,
    manifests: &[&str],
    units: &[&str],
) -> Result<(), StepError> {
    let pods = static_pods::list(ctx, &params.cluster, Via::OldName).await?;
    if !pods.running(manifests, &master.node).is_empty() {
        task(params, master, effect, commands(manifests, units))
            .run(ctx)
            .await?;
    }
    let what = format!("the pods of {effect} on {} to end", master.node);
    ctx.wait_until(&what, seconds(5), minutes(5), || async {
        let pods = static_pods::list(ctx, &params.cluster, Via::OldName).await?;
        let running = pods.running(manifests, &master.node);
        Ok(match running.first() {
            None => Poll::Ready(()),
            Some(manifest) => Poll::Pending(format!("{manifest} still runs")),
        })
    })
    .await
}

/// The Cluster API components lead: only they sign the certificates of the nodes to come.
async fn wait_for_leases(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    ctx.wait_until("the leases to move", seconds(5), minutes(5), || async {
        for name in LEASES {
            let object = ObjectRef::new(&kinds::lease(), "kube-system", name);
            let workload = ctx.ports().workload(&params.cluster, Via::OldName);
            let lease = workload.get(&object).await?;
            let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
            if !holder.starts_with(&params.node) {
                return Ok(Poll::Pending(format!("{name} is led by {holder}")));
            }
        }
        Ok(Poll::Ready(()))
    })
    .await
}

async fn answers(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    match traffic::answers(ctx, &params.cluster, Via::OldName).await? {
        Ok(()) => Ok(()),
        Err(why) => Err(StepError::transient(
            "old-name-silent",
            format!("the old name does not answer, so no further API server is stopped: {why}"),
        )),
    }
}

/// Takes back Jobs that have not acted. True when something on this master is stopped, or may be.
async fn withdraw(
    ctx: &Context<Ports>,
    params: &Params,
    master: &MasterNode,
) -> Result<bool, StepError> {
    let mut known = false;
    for (effect, manifests, units) in STOPS {
        let task = task(params, master, effect, commands(manifests, units));
        known |= task.find(ctx).await?.is_some();
        task.withdraw(ctx, "withdraw-job").await?;
    }
    let pods = static_pods::list(ctx, &params.cluster, Via::OldName).await?;
    let missing = pods.running(&ALL, &master.node).len() < ALL.len();
    // A Job that ran a moment ago may not show in the pods yet.
    Ok(missing || (known && !started_again(ctx, params, master).await?))
}

async fn started_again(
    ctx: &Context<Ports>,
    params: &Params,
    master: &MasterNode,
) -> Result<bool, StepError> {
    let start = task(params, master, "start-controllers", Vec::new());
    Ok(start.find(ctx).await?.is_some())
}

async fn start(
    ctx: &Context<Ports>,
    params: &Params,
    master: &MasterNode,
    effect: &str,
    manifests: &[&str],
    units: &[&str],
) -> Result<(), StepError> {
    let manifest_commands = manifests.iter().map(|manifest| NodeCommand::Unpark {
        manifest: (*manifest).to_owned(),
    });
    let unit_commands = units.iter().map(|unit| NodeCommand::StartUnit {
        unit: (*unit).to_owned(),
    });
    let commands = manifest_commands.chain(unit_commands).collect();
    task(params, master, effect, commands).run(ctx).await?;
    let what = format!("the pods of {effect} on {} to run", master.node);
    ctx.wait_until(&what, seconds(5), minutes(10), || async {
        let pods = static_pods::list(ctx, &params.cluster, Via::OldName).await?;
        if pods.running(manifests, &master.node).len() < manifests.len() {
            return Ok(Poll::Pending("not all of them run".to_owned()));
        }
        let via = Via::Instance {
            id: master.instance.clone(),
        };
        Ok(match traffic::answers(ctx, &params.cluster, via).await? {
            Ok(()) => Poll::Ready(()),
            Err(why) => Poll::Pending(why),
        })
    })
    .await
}
