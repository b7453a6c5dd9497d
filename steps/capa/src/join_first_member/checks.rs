//! What has to be so before etcd gets another member.

use drover_model::names;
use drover_ports::{Member, ObjectRef, Ports, Via};
use drover_step_api::{Context, StepError};

use super::Params;
use crate::{kinds, support::etcd};

/// All vintage members are there and well: with one of three down, a fourth that fails would take the quorum away.
pub(super) async fn vintage_etcd(
    ctx: &Context<Ports>,
    params: &Params,
    members: &[Member],
) -> Result<(), StepError> {
    let refused = |why: String| {
        Err(StepError::refused(
            "etcd-not-whole",
            format!("etcd is not whole: {why}"),
        ))
    };
    let missing = params
        .vintage_members
        .iter()
        .find(|name| !members.iter().any(|member| member.name == **name));
    if let Some(name) = missing {
        return refused(format!("member {name} is missing"));
    }
    match etcd::ailment(ctx, &params.cluster, members).await? {
        Some(why) => refused(why),
        None => Ok(()),
    }
}

/// Nothing replaces a master by itself any more.
pub(super) async fn disarmed(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    let tags = [
        (names::TAG_CLUSTER, params.cluster.as_str()),
        (names::TAG_STACK, names::STACK_MASTERS),
    ];
    let groups = ctx
        .ports()
        .cloud(&params.cluster)
        .describe_auto_scaling_groups(&tags)
        .await?;
    let armed = groups.iter().find(|group| {
        !group
            .suspended
            .iter()
            .any(|process| process == "ReplaceUnhealthy")
    });
    match armed {
        None => Ok(()),
        Some(group) => Err(StepError::refused(
            "not-disarmed",
            format!(
                "Auto Scaling group {} still replaces its master; disarm it first",
                group.name
            ),
        )),
    }
}

/// The vintage migrator takes a membership that it does not expect for its own unfinished work.
pub(super) async fn no_migrator(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    let job = ObjectRef::new(&kinds::job(), "kube-system", "etcd-cluster-migrator");
    let workload = ctx.ports().workload(&params.cluster, Via::OldName);
    match workload.find(&job).await? {
        None => Ok(()),
        Some(_) => Err(StepError::refused(
            "etcd-migrator-there",
            "Job kube-system/etcd-cluster-migrator exists and would rewrite the membership; remove it and its Chart",
        )),
    }
}
