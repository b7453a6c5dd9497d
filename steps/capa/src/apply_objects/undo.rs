//! The careful way back from the Cluster API objects.
//!
//! A plain deletion of the Cluster would run CAPA's teardown, which takes the VPC if CAPA calls it its own and the
//! customer's load balancers if it was told to collect them, and machines would be ended with their etcd members still
//! counted. So nothing is left to the controllers:
//!
//! 1. they are told to keep what Services made, and paused, so that none of them acts on what follows;
//! 2. nothing goes on while a machine has an instance: taking that back is another step's duty, because of etcd;
//! 3. Secrets of this migration are orphaned, or they would go with the control plane that has made itself their owner;
//! 4. objects lose their finalizers and are deleted, dependants first, the Cluster near the end: without it, no controller
//!    acts on anything;
//! 5. what CAPA made in AWS is deleted last.

use drover_model::{ClusterPlan, names, target, target::EXTERNAL_RESOURCE_GC};
use drover_ports::{ObjectRef, Ports};
use drover_step_api::{Context, StepError};
use serde_json::{Value, json};

use super::labels;
use crate::{
    kinds,
    support::{
        applied::reference,
        cluster::{annotation, name},
        control_plane,
    },
};

pub(super) async fn undo(ctx: &Context<Ports>, plan: &ClusterPlan) -> Result<(), StepError> {
    let objects: Vec<ObjectRef> = target::render(plan).objects.iter().map(reference).collect();
    if !any_of_ours(ctx, plan, &objects).await? {
        return Ok(());
    }
    keep_load_balancers(ctx, plan).await?;
    pause(ctx, plan).await?;
    refuse_instances(ctx, plan).await?;
    orphan_secrets(ctx, plan).await?;
    // Machines and what belongs to them, then the objects in the reverse order of their application, the Cluster last but
    // for the identity, which everything before was done with.
    for gvk in [
        kinds::capa_machine(),
        kinds::kubeadm_config(),
        kinds::machine(),
    ] {
        for object in ctx
            .ports()
            .capi_mc()
            .list(&gvk, &plan.namespace, &labels(plan))
            .await?
        {
            let reference = ObjectRef::new(&gvk, &plan.namespace, &name(&object));
            remove(ctx, &reference).await?;
        }
    }
    for kind in [
        "MachineHealthCheck",
        "KubeadmControlPlane",
        "AWSMachineTemplate",
        "AWSCluster",
        "Cluster",
    ] {
        for object in objects.iter().filter(|object| object.gvk.kind == kind) {
            remove(ctx, object).await?;
        }
    }
    delete_load_balancer(ctx, plan).await?;
    delete_security_groups(ctx, plan).await?;
    // The identity goes last: as long as it is there, an interrupted way back is found again.
    for object in objects
        .iter()
        .filter(|object| object.gvk.kind == "AWSClusterRoleIdentity")
    {
        remove(ctx, object).await?;
    }
    Ok(())
}

/// Whether anything bears this migration's mark. What does not is somebody else's, and is left alone.
async fn any_of_ours(
    ctx: &Context<Ports>,
    plan: &ClusterPlan,
    objects: &[ObjectRef],
) -> Result<bool, StepError> {
    let mut ours = false;
    for object in objects {
        let Some(found) = ctx.ports().capi_mc().find(object).await? else {
            continue;
        };
        if annotation(&found, names::MIGRATION) == Some(ctx.workflow()) {
            ours = true;
        } else if ours {
            return Err(StepError::failed(
                "object-foreign",
                format!(
                    "{} {} of cluster {} was not made by this migration; take it apart by hand",
                    object.gvk.kind, object.name, plan.id
                ),
            ));
        }
    }
    Ok(ours)
}

async fn keep_load_balancers(ctx: &Context<Ports>, plan: &ClusterPlan) -> Result<(), StepError> {
    let object = ObjectRef::new(&kinds::capa_cluster(), &plan.namespace, &plan.id);
    let Some(found) = ctx.ports().capi_mc().find(&object).await? else {
        return Ok(());
    };
    if annotation(&found, EXTERNAL_RESOURCE_GC) == Some("false") {
        return Ok(());
    }
    let permit = ctx.permit_for("pause", "collection").await?;
    let patch = json!({"metadata": {"annotations": {EXTERNAL_RESOURCE_GC: "false"}}});
    ctx.ports()
        .capi_mc()
        .merge_patch(permit, &object, patch, None)
        .await?;
    Ok(())
}

async fn pause(ctx: &Context<Ports>, plan: &ClusterPlan) -> Result<(), StepError> {
    let capi = ctx.ports().capi_mc();
    let (namespace, id) = (plan.namespace.as_str(), plan.id.as_str());
    let control_plane = kinds::control_plane_of(namespace, id);
    if capi.find(&control_plane).await?.is_some() {
        control_plane::pause(ctx, namespace, id, ("pause", "control-plane")).await?;
    }
    let cluster = ObjectRef::new(&kinds::cluster(), namespace, id);
    if let Some(found) = capi.find(&cluster).await?
        && found["spec"]["paused"] != true
    {
        let permit = ctx.permit_for("pause", "cluster").await?;
        capi.merge_patch(permit, &cluster, json!({"spec": {"paused": true}}), None)
            .await?;
    }
    Ok(())
}

/// Without the join script no machine has booted; with it another step has let one boot, and takes it back first.
async fn refuse_instances(ctx: &Context<Ports>, plan: &ClusterPlan) -> Result<(), StepError> {
    let tag = names::tag_capa_cluster(&plan.id);
    let tags = [
        (tag.as_str(), "owned"),
        (names::TAG_CAPA_ROLE, "control-plane"),
    ];
    let instances = ctx
        .ports()
        .cloud(&plan.id)
        .describe_instances(&tags)
        .await?;
    match instances.first() {
        None => Ok(()),
        Some(instance) => Err(StepError::failed(
            "instance-still-there",
            format!(
                "instance {} has booted and may be a member of etcd; take its join back, or remove the member and end the instance by hand",
                instance.id
            ),
        )),
    }
}

async fn orphan_secrets(ctx: &Context<Ports>, plan: &ClusterPlan) -> Result<(), StepError> {
    let capi = ctx.ports().capi_mc();
    for secret in capi
        .list(&kinds::secret(), &plan.namespace, &labels(plan))
        .await?
    {
        let is_ours = annotation(&secret, names::MIGRATION).is_some();
        let is_owned = secret["metadata"]["ownerReferences"]
            .as_array()
            .is_some_and(|owners| !owners.is_empty());
        if is_ours && is_owned {
            let object = ObjectRef::new(&kinds::secret(), &plan.namespace, &name(&secret));
            let permit = ctx.permit_for("orphan-secret", &object.name).await?;
            let patch = json!({"metadata": {"ownerReferences": null}});
            capi.merge_patch(permit, &object, patch, None).await?;
        }
    }
    Ok(())
}

/// Kinds on which the controllers that are paused now set finalizers.
const WITH_FINALIZERS: [&str; 5] = [
    "AWSMachine",
    "Machine",
    "KubeadmControlPlane",
    "AWSCluster",
    "Cluster",
];

async fn remove(ctx: &Context<Ports>, object: &ObjectRef) -> Result<(), StepError> {
    let capi = ctx.ports().capi_mc();
    let Some(found) = capi.find(object).await? else {
        return Ok(());
    };
    let item = format!("{}/{}", object.gvk.kind, object.name);
    if has_finalizers(&found) {
        if !WITH_FINALIZERS.contains(&object.gvk.kind.as_str()) {
            return Err(StepError::failed(
                "finalizer-foreign",
                format!(
                    "{item} has a finalizer that Cluster API does not set; find out whose it is, and remove it by hand"
                ),
            ));
        }
        let permit = ctx.permit_for("strip-finalizers", &item).await?;
        let patch = json!({"metadata": {"finalizers": null}});
        match capi.merge_patch(permit, object, patch, None).await {
            Ok(_) => {}
            // It was being deleted and waited for nothing else.
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    let permit = ctx.permit_for("delete-object", &item).await?;
    Ok(capi.delete(permit, object).await?)
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|finalizers| !finalizers.is_empty())
}

async fn delete_load_balancer(ctx: &Context<Ports>, plan: &ClusterPlan) -> Result<(), StepError> {
    let cloud = ctx.ports().cloud(&plan.id);
    let name = &plan.load_balancers.capa;
    match cloud.describe_load_balancer(name).await {
        Ok(_) => {}
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let permit = ctx.permit("delete-load-balancer").await?;
    Ok(cloud.delete_load_balancer(permit, name).await?)
}

async fn delete_security_groups(ctx: &Context<Ports>, plan: &ClusterPlan) -> Result<(), StepError> {
    let cloud = ctx.ports().cloud(&plan.id);
    let tag = names::tag_capa_cluster(&plan.id);
    for group in cloud.describe_security_groups(&plan.network.vpc).await? {
        if group.tags.get(&tag).map(String::as_str) == Some("owned") {
            let permit = ctx.permit_for("delete-security-group", &group.name).await?;
            cloud.delete_security_group(permit, &group.id).await?;
        }
    }
    Ok(())
}
