//! `etcd.converge/1`, the pivot: the control plane is released and removes the vintage members from etcd.
//!
//! * Effect: a last snapshot, leadership at the new member, the pause of the KubeadmControlPlane removed; and then what its
//!   controller does: every member that belongs to no Machine goes, one after the other.
//! * Idempotency: each of it is looked at before it is done.
//! * Compensation: roll forward. Once the first vintage member is gone, the truth lives on the new node.

use drover_ports::{Ports, SecretRef, Via};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Poll, Reach, Role,
    Step, StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    save_snapshot,
    support::{
        cluster::still_there,
        control_plane,
        defaults::{RETRY, minutes, seconds, timeouts},
        etcd, looks,
        static_pods::{self, API_SERVER},
        traffic,
    },
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct ConvergeEtcd;

/// Parameters of `etcd.converge/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Installation, for the reference.
    pub installation: String,
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// Names of the vintage members.
    pub vintage_members: Vec<String>,
    /// Nodes of the vintage masters.
    pub master_nodes: Vec<String>,
    /// The Cluster API node, which is also the name of its member.
    pub node: String,
}

/// Output of `etcd.converge/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Members that are gone for good.
    pub removed: Vec<String>,
    /// The last snapshot with them.
    pub snapshot: SecretRef,
}

impl Step<Ports> for ConvergeEtcd {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "etcd.converge",
        version: 1,
        summary: "releases the control plane, which removes the vintage members from etcd",
        role: Role::Step,
        class: Class::EtcdSurgery,
        reach: &[
            Reach::VintageMc,
            Reach::CapiMc,
            Reach::Workload,
            Reach::Etcd,
        ],
        effects: &[
            Effect::once("save-snapshot"),
            Effect::once("move-leader"),
            Effect::once("release-control-plane"),
        ],
        compensation: Compensation::RollForward,
        // A membership change is never left half-way because a lease could not be confirmed.
        loss_policy: LossPolicy::FinishCritical { max: minutes(45) },
        timeouts: timeouts(minutes(40)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "capi-mc:get:KubeadmControlPlane",
            "capi-mc:patch:KubeadmControlPlane",
            "workload:list:Pod",
            "probe:Api",
            "etcd:MemberList",
            "etcd:Status",
            "etcd:AlarmList",
            "etcd:MoveLeader",
            "etcd:SaveSnapshot",
            "region-store:Head",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster).await?;
        let control_plane = control_plane::get(ctx, &params.namespace, &params.cluster).await?;
        // Once it is released these have been asked.
        if !control_plane::is_paused(&control_plane) {
            return Ok(());
        }
        looks::patient(ctx, "etcd to be read", || refuse_unready(ctx, params)).await
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let Params {
            cluster, namespace, ..
        } = params;
        let key = snapshot_key(ctx, params);
        let snapshot =
            save_snapshot::save(ctx, &params.installation, cluster, &key, "save-snapshot").await?;
        if !seen_at_last(ctx, params).await?.is_empty() {
            lead(ctx, params).await?;
            control_plane::release(ctx, namespace, cluster, ("release-control-plane", "")).await?;
        }
        ctx.wait_until(
            "the vintage members to go",
            seconds(3),
            minutes(20),
            || async {
                let left = vintage_members(ctx, params).await?;
                Ok(if left.is_empty() {
                    Poll::Ready(())
                } else {
                    Poll::Pending(format!("{} are still there", left.join(", ")))
                })
            },
        )
        .await?;
        Ok(output(params, snapshot))
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let snapshot =
            save_snapshot::find(ctx, &params.installation, &snapshot_key(ctx, params)).await?;
        let gone = seen_at_last(ctx, params).await?.is_empty();
        Ok(match snapshot {
            Some(snapshot) if gone => Observed::Done(output(params, snapshot)),
            Some(_) => Observed::Partial,
            None => Observed::NotDone,
        })
    }
}

fn output(params: &Params, snapshot: SecretRef) -> Output {
    Output {
        removed: params.vintage_members.clone(),
        snapshot,
    }
}

fn snapshot_key(ctx: &Context<Ports>, params: &Params) -> String {
    save_snapshot::key(ctx, &params.cluster, "before-convergence")
}

/// As [`vintage_members`], asked again while etcd does not answer.
async fn seen_at_last(ctx: &Context<Ports>, params: &Params) -> Result<Vec<String>, StepError> {
    let what = "the members of etcd to be read";
    looks::patient(ctx, what, || vintage_members(ctx, params)).await
}

/// Vintage members that are still in the membership.
async fn vintage_members(ctx: &Context<Ports>, params: &Params) -> Result<Vec<String>, StepError> {
    let members = ctx.ports().etcd(&params.cluster).member_list().await?;
    Ok(members
        .into_iter()
        .map(|member| member.name)
        .filter(|name| params.vintage_members.contains(name))
        .collect())
}

/// Everything that convergence takes away must be without a user before.
async fn refuse_unready(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    let refused = |code: &'static str, why: String| Err(StepError::refused(code, why));
    let pods = static_pods::list(ctx, &params.cluster, Via::OldName).await?;
    if let Some(node) = params
        .master_nodes
        .iter()
        .find(|node| pods.runs(API_SERVER, node))
    {
        return refused(
            "vintage-api-runs",
            format!("the API server of {node} still runs and would lose its etcd; stop it first"),
        );
    }
    if let Err(why) = traffic::answers_at_last(ctx, &params.cluster, Via::OldName).await? {
        return refused(
            "old-name-silent",
            format!("the old name does not answer: {why}"),
        );
    }
    let members = ctx.ports().etcd(&params.cluster).member_list().await?;
    if !members.iter().any(|member| member.name == params.node) {
        return refused(
            "member-missing",
            format!("{} is no member of etcd", params.node),
        );
    }
    match etcd::ailment(ctx, &params.cluster, &members).await? {
        Some(why) => refused("etcd-not-whole", format!("etcd is not whole: {why}")),
        None => Ok(()),
    }
}

/// Leadership goes to the member that stays, so that no removal costs an election.
async fn lead(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    let etcd = ctx.ports().etcd(&params.cluster);
    let status = looks::patient(ctx, "the leader of etcd to be read", || async {
        Ok(etcd.status(&params.node).await?)
    })
    .await?;
    if status.leader == status.id {
        return Ok(());
    }
    let permit = ctx.permit("move-leader").await?;
    etcd.move_leader(permit, &params.node).await?;
    ctx.progress(0, 0, format!("{} leads etcd", params.node));
    Ok(())
}
