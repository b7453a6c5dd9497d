//! `cni.switch_over/1`: the Cluster API side manages the pods' network, and every agent talks to the API by its new name.
//!
//! * Effect: the cluster's app-operator is restarted, so that it sees the control plane; then Cilium's agents, a few at a time, the
//!   Cluster API nodes first.
//! * Idempotency: an agent that has the new name is left alone. Which app-operator pods are restarted stands in the checkpoint.
//! * Compensation: roll forward.
//!
//! An agent that restarts is away for some seconds, in which its node learns of no change. That harms nobody as long as the others
//! are there, so the next ones go only when these are back.

use std::collections::BTreeMap;

use drover_ports::{Kube, ObjectRef, Ports, Via};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Poll, Reach, Role,
    Step, StepError,
};
use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    kinds,
    support::{
        cluster::{name, still_there},
        defaults::{RETRY, minutes, seconds, timeouts},
        traffic,
    },
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct SwitchOverCni;

/// Parameters of `cni.switch_over/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// The new name of its API.
    pub new_name: String,
}

/// Output of `cni.switch_over/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The name of the API that agents talk to.
    pub api: String,
}

/// Pods of app-operator that were there when the step began, by uid.
#[derive(Debug, Serialize, Deserialize)]
struct Kick {
    uids: Vec<String>,
}

/// One batch is this part of all nodes, but at least one.
const BATCHES: usize = 10;

impl Step<Ports> for SwitchOverCni {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "cni.switch_over",
        version: 1,
        summary: "hands Cilium over to the Cluster API side and restarts its agents a few at a time",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::VintageMc, Reach::CapiMc, Reach::Workload],
        effects: &[Effect::once("kick"), Effect::once("restart-agent")],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(180)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "capi-mc:list:Pod",
            "capi-mc:delete:Pod",
            "capi-mc:list:HelmRelease",
            "workload:get:Chart",
            "workload:get:DaemonSet",
            "workload:list:Node",
            "workload:list:Pod",
            "workload:delete:Pod",
            "probe:Api",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster).await?;
        let chart = ObjectRef::new(&kinds::chart(), "giantswarm", "cilium");
        if workload(ctx, params).find(&chart).await?.is_some() {
            return Err(StepError::refused(
                "cilium-not-released",
                "Chart giantswarm/cilium is still there, and two would manage one release; quiesce the apps first",
            ));
        }
        Ok(())
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        if let Some(why) = not_adopted(ctx, params).await? {
            ctx.progress(0, 0, why);
            kick(ctx, params).await?;
        }
        let what = "the Cluster API side to adopt the apps";
        ctx.wait_until(what, seconds(10), minutes(30), || async {
            Ok(match not_adopted(ctx, params).await? {
                None => Poll::Ready(()),
                Some(why) => Poll::Pending(why),
            })
        })
        .await?;
        let workload = workload(ctx, params);
        refuse_overlaps(&nodes(&workload).await?)?;
        roll(ctx, params, &workload).await?;
        Ok(output(params))
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        if not_adopted(ctx, params).await?.is_some() {
            return Ok(if is_kicked(ctx, params).await? {
                Observed::Partial
            } else {
                Observed::NotDone
            });
        }
        let old = old_agents(&workload(ctx, params), &params.new_name).await?;
        Ok(if old.is_empty() {
            Observed::Done(output(params))
        } else {
            Observed::Partial
        })
    }
}

fn output(params: &Params) -> Output {
    Output {
        api: params.new_name.clone(),
    }
}

fn workload(ctx: &Context<Ports>, params: &Params) -> Kube {
    ctx.ports().workload(&params.cluster, Via::NewName)
}

/// Why the Cluster API side does not manage the apps yet; `None` when it does.
async fn not_adopted(ctx: &Context<Ports>, params: &Params) -> Result<Option<String>, StepError> {
    let labels = [(kinds::CLUSTER_LABEL, params.cluster.as_str())];
    let mc = ctx.ports().capi_mc();
    let releases = mc
        .list(&kinds::helm_release(), &params.namespace, &labels)
        .await?;
    if releases.is_empty() {
        return Ok(Some("there are no HelmReleases".to_owned()));
    }
    if let Some(release) = releases.iter().find(|release| !is_ready(release)) {
        return Ok(Some(format!("HelmRelease {} is not ready", name(release))));
    }
    let cilium = ObjectRef::new(&kinds::daemon_set(), "kube-system", "cilium");
    let cilium = workload(ctx, params).get(&cilium).await?;
    let api = api_of(&cilium["spec"]["template"]["spec"]);
    Ok((api != Some(params.new_name.as_str()))
        .then(|| "Cilium is not configured with the new name".to_owned()))
}

fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// The name of the API that the agent of a pod's spec talks to.
fn api_of(spec: &Value) -> Option<&str> {
    let containers = spec["containers"].as_array()?.iter();
    let env = containers.flat_map(|container| container["env"].as_array().into_iter().flatten());
    env.into_iter()
        .find(|variable| variable["name"] == "KUBERNETES_SERVICE_HOST")
        .and_then(|variable| variable["value"].as_str())
}

async fn app_operator(ctx: &Context<Ports>, params: &Params) -> Result<Vec<Value>, StepError> {
    let instance = format!("{}-app-operator", params.cluster);
    let labels = [("app.kubernetes.io/instance", instance.as_str())];
    let mc = ctx.ports().capi_mc();
    Ok(mc.list(&kinds::pod(), &params.namespace, &labels).await?)
}

fn uid(pod: &Value) -> String {
    let uid = pod["metadata"]["uid"].as_str();
    uid.unwrap_or_default().to_owned()
}

/// Whether app-operator has been restarted by an earlier attempt.
async fn is_kicked(ctx: &Context<Ports>, params: &Params) -> Result<bool, StepError> {
    let Some(kick) = ctx.restored::<Kick>() else {
        return Ok(false);
    };
    let pods = app_operator(ctx, params).await?;
    Ok(!pods.iter().any(|pod| kick.uids.contains(&uid(pod))))
}

/// Restarts the cluster's app-operator, once.
async fn kick(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    let what = "the cluster's app-operator to be there";
    let pods = ctx
        .wait_until(what, seconds(10), minutes(15), || async {
            let pods = app_operator(ctx, params).await?;
            Ok(if pods.is_empty() {
                Poll::Pending("it has no pod".to_owned())
            } else {
                Poll::Ready(pods)
            })
        })
        .await?;
    let kick = match ctx.restored::<Kick>() {
        Some(kick) => kick,
        None => {
            let kick = Kick {
                uids: pods.iter().map(uid).collect(),
            };
            ctx.checkpoint(&kick).await?;
            kick
        }
    };
    for pod in pods.iter().filter(|pod| kick.uids.contains(&uid(pod))) {
        let reference = ObjectRef::new(&kinds::pod(), &params.namespace, &name(pod));
        let permit = ctx.permit_for("kick", &reference.name).await?;
        let mc = ctx.ports().capi_mc();
        mc.delete_seen(permit, &reference, pod).await?;
    }
    Ok(())
}

/// Nodes by name.
async fn nodes(workload: &Kube) -> Result<BTreeMap<String, Value>, StepError> {
    let nodes = workload.list(&kinds::node(), "", &[]).await?;
    Ok(nodes.into_iter().map(|node| (name(&node), node)).collect())
}

/// Two nodes with one pod CIDR give two pods one address, and new agents make that real.
fn refuse_overlaps(nodes: &BTreeMap<String, Value>) -> Result<(), StepError> {
    let ranges: Vec<(&String, Ipv4Net)> = nodes
        .iter()
        .filter_map(|(name, node)| {
            let range = node["spec"]["podCIDR"].as_str()?;
            Some((name, range.parse().ok()?))
        })
        .collect();
    for (n, (one, range)) in ranges.iter().enumerate() {
        let overlaps =
            |(_, other): &&(&String, Ipv4Net)| range.contains(other) || other.contains(range);
        if let Some((other, _)) = ranges[n + 1..].iter().find(overlaps) {
            return Err(StepError::failed(
                "pod-cidrs-overlap",
                format!("{one} and {other} have one pod CIDR; replace the younger node first"),
            ));
        }
    }
    Ok(())
}

/// Agents that do not talk to the new name, by node.
async fn old_agents(workload: &Kube, new_name: &str) -> Result<BTreeMap<String, Value>, StepError> {
    let agents = agents(workload).await?;
    Ok(agents
        .into_iter()
        .filter(|(_, pod)| api_of(&pod["spec"]) != Some(new_name))
        .collect())
}

async fn agents(workload: &Kube) -> Result<BTreeMap<String, Value>, StepError> {
    let labels = [
        ("app.kubernetes.io/part-of", "cilium"),
        ("k8s-app", "cilium"),
    ];
    let pods = workload.list(&kinds::pod(), "kube-system", &labels).await?;
    Ok(pods
        .into_iter()
        .map(|pod| {
            let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
            (node.to_owned(), pod)
        })
        .collect())
}

async fn roll(ctx: &Context<Ports>, params: &Params, workload: &Kube) -> Result<(), StepError> {
    let nodes = nodes(workload).await?;
    // What Cluster API has made carries the name of its Machine.
    let is_new = |node: &String| {
        nodes.get(node).is_some_and(|node| {
            !node["metadata"]["annotations"]["cluster.x-k8s.io/machine"].is_null()
        })
    };
    let mut old: Vec<(String, Value)> = old_agents(workload, &params.new_name)
        .await?
        .into_iter()
        .collect();
    old.sort_by_key(|(node, _)| !is_new(node));
    let size = (nodes.len() / BATCHES).max(1);
    let all = old.len() as u64;
    // Those of an attempt that ended early have to be back as well.
    wait_for_all(ctx, workload).await?;
    for (n, batch) in old.chunks(size).enumerate() {
        for (node, pod) in batch {
            let reference = ObjectRef::new(&kinds::pod(), "kube-system", &name(pod));
            let permit = ctx.permit_for("restart-agent", node).await?;
            workload.delete_seen(permit, &reference, pod).await?;
        }
        wait_for_all(ctx, workload).await?;
        traffic::answers_at_last(ctx, &params.cluster, Via::NewName)
            .await?
            .map_err(|why| StepError::transient("api-silent", why))?;
        let done = ((n + 1) * size) as u64;
        ctx.progress(done.min(all), all, "agents talk to the new name");
    }
    Ok(())
}

/// Waits until every node that is ready has an agent that is.
async fn wait_for_all(ctx: &Context<Ports>, workload: &Kube) -> Result<(), StepError> {
    let what = "every node to have an agent";
    ctx.wait_until(what, seconds(5), minutes(10), || async {
        let agents = agents(workload).await?;
        let nodes = nodes(workload).await?;
        let mut ready = nodes.iter().filter(|(_, node)| is_ready(node));
        let without = ready.find(|(name, _)| !agents.get(*name).is_some_and(is_ready));
        Ok(match without {
            None => Poll::Ready(()),
            Some((name, _)) => Poll::Pending(format!("{name} has none")),
        })
    })
    .await
}
