//! The way back from a machine that has joined, or is about to.
//!
//! Its order keeps customers and quorum out of it: no new instance can start (the Cluster is paused), guards stop sending
//! traffic to the instance (a tag says that it is leaving), its API server ends by itself and so takes itself off the
//! endpoints, its member leaves etcd, and only then the instance ends. A member whose instance died first would count
//! against the quorum for nothing.

use std::time::Duration;

use drover_model::{names, node_job::NodeCommand};
use drover_ports::{Instance, ObjectRef, Ports, Via};
use drover_step_api::{Context, Poll, StepError};
use serde_json::json;

use super::{
    Params,
    join::{Memory, files_secret, instances},
};
use crate::{
    kinds,
    support::{
        cluster::annotation,
        control_plane,
        defaults::{minutes, seconds},
        node_jobs::Task,
        static_pods, traffic,
    },
};

const API_SERVER: &str = "kube-apiserver.yaml";

/// A machine whose member votes has its Node by then, or never.
const BOOTED: Duration = minutes(5);

pub(super) async fn undo(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    if !has_begun(ctx, params).await? {
        return Ok(());
    }
    pause_everything(ctx, params).await?;
    let leaving: Vec<Instance> = instances(ctx, params)
        .await?
        .into_iter()
        .filter(|instance| instance.state != "shutting-down")
        .collect();
    for instance in &leaving {
        mark(ctx, params, instance).await?;
        take_off_traffic(ctx, params, instance).await?;
        stop_api_server(ctx, params, instance).await?;
    }
    remove_members(ctx, params).await?;
    for instance in &leaving {
        let permit = ctx.permit_for("terminate-instance", &instance.id).await?;
        let cloud = ctx.ports().cloud(&params.cluster);
        cloud
            .terminate_instances(permit, std::slice::from_ref(&instance.id))
            .await?;
    }
    wait_until_gone(ctx, params).await?;
    // One that was booting may have added itself after the first look.
    remove_members(ctx, params).await?;
    for instance in &leaving {
        delete_node(ctx, params, &instance.private_dns).await?;
    }
    forget_kubeadm(ctx, params).await?;
    delete_files(ctx, params).await
}

/// The files are the first thing that is written and the last that goes, except while a machine is replaced.
async fn has_begun(ctx: &Context<Ports>, params: &Params) -> Result<bool, StepError> {
    if ctx
        .restored::<Memory>()
        .is_some_and(|memory| memory.replacing.is_some())
    {
        return Ok(true);
    }
    let found = ctx.ports().capi_mc().find(&files_secret(params)).await?;
    let ours =
        found.is_some_and(|secret| annotation(&secret, names::MIGRATION) == Some(ctx.workflow()));
    Ok(ours || !instances(ctx, params).await?.is_empty())
}

async fn pause_everything(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    let (namespace, id) = (params.namespace.as_str(), params.cluster.as_str());
    let capi = ctx.ports().capi_mc();
    let control_plane = kinds::control_plane_of(namespace, id);
    if capi.find(&control_plane).await?.is_some() {
        control_plane::pause(ctx, namespace, id, ("hold", "undo")).await?;
    }
    let cluster = ObjectRef::new(&kinds::cluster(), namespace, id);
    if let Some(found) = capi.find(&cluster).await?
        && found["spec"]["paused"] != true
    {
        let permit = ctx.permit("pause-cluster").await?;
        capi.merge_patch(permit, &cluster, json!({"spec": {"paused": true}}), None)
            .await?;
    }
    Ok(())
}

async fn mark(ctx: &Context<Ports>, params: &Params, instance: &Instance) -> Result<(), StepError> {
    if instance.tags.contains_key(names::TAG_LEAVING) {
        return Ok(());
    }
    let permit = ctx.permit_for("mark-leaving", &instance.id).await?;
    let tags = [(names::TAG_LEAVING, "true")];
    let cloud = ctx.ports().cloud(&params.cluster);
    Ok(cloud
        .create_tags(permit, std::slice::from_ref(&instance.id), &tags)
        .await?)
}

/// Takes the instance off the vintage load balancers, and goes on only when nobody has put it back for longer than a
/// guard's round.
async fn take_off_traffic(
    ctx: &Context<Ports>,
    params: &Params,
    instance: &Instance,
) -> Result<(), StepError> {
    let begin = ctx.now();
    let mut off_since = ctx.now();
    loop {
        if take_off_once(ctx, params, instance).await? {
            off_since = ctx.now();
        }
        if ctx.now().since(off_since) >= seconds(40) {
            return Ok(());
        }
        if ctx.now().since(begin) > minutes(10) {
            return Err(StepError::transient(
                "still-registered",
                format!(
                    "somebody keeps registering {} on the vintage load balancers",
                    instance.id
                ),
            ));
        }
        ctx.progress(0, 0, format!("{} leaves the load balancers", instance.id));
        ctx.sleep(seconds(10)).await?;
    }
}

async fn take_off_once(
    ctx: &Context<Ports>,
    params: &Params,
    instance: &Instance,
) -> Result<bool, StepError> {
    let mut was_on = false;
    for load_balancer in &params.load_balancers {
        let on = traffic::registered(ctx, &params.cluster, load_balancer).await?;
        if on.contains(&instance.id) {
            was_on = true;
            let item = format!("{load_balancer}/{}", instance.id);
            let permit = ctx.permit_for("deregister", &item).await?;
            let cloud = ctx.ports().cloud(&params.cluster);
            cloud
                .deregister_instances_from_load_balancer(
                    permit,
                    load_balancer,
                    std::slice::from_ref(&instance.id),
                )
                .await?;
        }
    }
    Ok(was_on)
}

/// Ends the API server of an instance, and waits until it is off the endpoints.
///
/// Without a vote in etcd it has none that serves. With one it comes up within a minute or two, at first without a Node, and
/// so without a way to end it: then its Node is waited for, unless it seems that none will ever come.
async fn stop_api_server(
    ctx: &Context<Ports>,
    params: &Params,
    instance: &Instance,
) -> Result<(), StepError> {
    if !votes(ctx, params, instance).await? {
        return Ok(());
    }
    let begin = ctx.now();
    ctx.wait_until(
        "the instance to leave the endpoints",
        seconds(5),
        minutes(10),
        || async {
            let workload = ctx.ports().workload(&params.cluster, Via::OldName);
            let node = &instance.private_dns;
            let pods = static_pods::list(ctx, &params.cluster, Via::OldName).await?;
            if pods.runs(API_SERVER, node) {
                park(ctx, params, node).await?;
                return Ok(Poll::Pending("its API server ends".to_owned()));
            }
            if is_endpoint(ctx, params, instance).await? {
                let address = &instance.private_ip;
                return Ok(Poll::Pending(format!("{address} is still listed")));
            }
            let registered = workload.find(&reference(node)).await?.is_some();
            Ok(if registered || ctx.now().since(begin) >= BOOTED {
                Poll::Ready(())
            } else {
                Poll::Pending(format!("{node} has not registered yet"))
            })
        },
    )
    .await
}

async fn votes(
    ctx: &Context<Ports>,
    params: &Params,
    instance: &Instance,
) -> Result<bool, StepError> {
    let members = ctx.ports().etcd(&params.cluster).member_list().await?;
    let own = members
        .iter()
        .find(|member| member.name == instance.private_dns);
    Ok(own.is_some_and(|member| !member.learner))
}

async fn park(ctx: &Context<Ports>, params: &Params, node: &str) -> Result<(), StepError> {
    let task = Task {
        cluster: &params.cluster,
        partition: params.partition,
        node,
        effect: "stop-api-server",
        commands: vec![NodeCommand::Park {
            manifest: API_SERVER.to_owned(),
        }],
    };
    task.start(ctx).await
}

/// Whether requests inside the cluster may go to it.
async fn is_endpoint(
    ctx: &Context<Ports>,
    params: &Params,
    instance: &Instance,
) -> Result<bool, StepError> {
    let object = ObjectRef::new(&kinds::endpoints(), "default", "kubernetes");
    let workload = ctx.ports().workload(&params.cluster, Via::OldName);
    let endpoints = workload.get(&object).await?;
    Ok(endpoints["subsets"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|subset| subset["addresses"].as_array())
        .flatten()
        .any(|address| address["ip"] == instance.private_ip.as_str()))
}

/// Removes every member that is not a vintage one; leadership goes to a vintage one first.
async fn remove_members(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    let etcd = ctx.ports().etcd(&params.cluster);
    let members = etcd.member_list().await?;
    let strangers: Vec<_> = members
        .iter()
        .filter(|member| !params.vintage_members.contains(&member.name))
        .collect();
    if strangers.is_empty() {
        return Ok(());
    }
    let keeper = params
        .vintage_members
        .iter()
        .find(|name| members.iter().any(|member| member.name == **name))
        .ok_or_else(|| {
            StepError::failed(
                "no-vintage-member",
                "no vintage etcd member is left; there is no way back from here",
            )
        })?;
    let leader = etcd.status(keeper).await?.leader;
    if strangers.iter().any(|member| member.id == leader) {
        let permit = ctx.permit("move-leader").await?;
        etcd.move_leader(permit, keeper).await?;
    }
    for member in strangers {
        let permit = ctx
            .permit_for("remove-member", &format!("{:x}", member.id))
            .await?;
        match etcd.member_remove(permit, member.id).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn wait_until_gone(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    ctx.wait_until("the instances to end", seconds(10), minutes(10), || async {
        Ok(match instances(ctx, params).await?.first() {
            None => Poll::Ready(()),
            Some(instance) => Poll::Pending(format!("{} is {}", instance.id, instance.state)),
        })
    })
    .await
}

fn reference(node: &str) -> ObjectRef {
    ObjectRef::new(&kinds::node(), "", node)
}

async fn delete_node(ctx: &Context<Ports>, params: &Params, node: &str) -> Result<(), StepError> {
    let object = reference(node);
    let workload = ctx.ports().workload(&params.cluster, Via::OldName);
    if workload.find(&object).await?.is_none() {
        return Ok(());
    }
    let permit = ctx.permit_for("delete-node", node).await?;
    Ok(workload.delete(permit, &object).await?)
}

/// What kubeadm uploaded. Cluster API calls a control plane initialised while it is there, and another first machine would
/// then wait to join instead of initialising.
async fn forget_kubeadm(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    let workload = ctx.ports().workload(&params.cluster, Via::OldName);
    for name in ["kubeadm-config", "kubelet-config"] {
        let object = ObjectRef::new(&kinds::config_map(), "kube-system", name);
        if workload.find(&object).await?.is_some() {
            let permit = ctx.permit_for("delete-config-map", name).await?;
            workload.delete(permit, &object).await?;
        }
    }
    Ok(())
}

async fn delete_files(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    let object = files_secret(params);
    let capi = ctx.ports().capi_mc();
    let Some(found) = capi.find(&object).await? else {
        return Ok(());
    };
    if annotation(&found, names::MIGRATION) != Some(ctx.workflow()) {
        return Ok(());
    }
    let permit = ctx.permit_for("withdraw-files", "undo").await?;
    Ok(capi.delete_seen(permit, &object, &found).await?)
}
