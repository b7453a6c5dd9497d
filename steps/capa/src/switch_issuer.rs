//! `capi.switch_issuer/1`: the control plane's API servers accept these issuers of service-account tokens, and sign as the first.
//!
//! * Effect: the issuers of the KubeadmControlPlane are these, in this order; its controller replaces the machines, one at
//!   a time.
//! * Idempotency: the patch holds for the object as it was seen, and there is none once they stand there.
//! * Compensation: roll forward. Every list that is not refused is a state in which a cluster may stay for years; the way back is
//!   this step again with the list of before, and costs a rollout as well.
//!
//! Pods hold tokens of the issuer that signed when they were given them. One edit therefore either changes who signs, and
//! then everybody who was accepted still is, or it drops somebody who has not signed for as long as tokens live. During a
//! rollout API servers of both lists serve side by side, so whoever is to sign must be accepted by all of them before.

use drover_model::target::care;
use drover_ports::Ports;
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::support::{
    control_plane,
    defaults::{RETRY, minutes, timeouts},
    rollout,
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct SwitchIssuer;

/// Parameters of `capi.switch_issuer/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// The issuers, the one that signs first.
    pub issuers: Vec<String>,
}

/// Output of `capi.switch_issuer/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The issuers that every API server accepts now; the first one signs.
    pub issuers: Vec<String>,
    /// The control plane's nodes, ordered by name.
    pub nodes: Vec<String>,
}

impl Step<Ports> for SwitchIssuer {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "capi.switch_issuer",
        version: 1,
        summary: "sets the ordered list of service-account issuers and replaces the control plane's machines",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::CapiMc, Reach::Etcd],
        effects: &[Effect::once("set-issuers")],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(120)),
        retry: RETRY,
        permissions: &[
            "capi-mc:list:KubeadmControlPlane",
            "capi-mc:patch:KubeadmControlPlane",
            "capi-mc:list:Machine",
            "capi-mc:get:Kustomization",
            "capi-mc:get:HelmRelease",
            "etcd:MemberList",
            "etcd:Status",
            "etcd:AlarmList",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        let object = rollout::find(ctx, &params.cluster).await?;
        let now = issuers(rollout::spec(&object))?;
        if now == params.issuers {
            return Ok(());
        }
        refuse(&now, &params.issuers)?;
        rollout::refuse_unfit(ctx, &object).await
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let change = |spec: &Value| {
            let now = issuers(spec)?;
            if now == params.issuers {
                return Ok(None);
            }
            refuse(&now, &params.issuers)?;
            Ok(care::with_issuers(spec, &params.issuers))
        };
        rollout::edit(ctx, &params.cluster, "set-issuers", change).await?;
        let nodes = rollout::wait(ctx, &params.cluster).await?;
        Ok(output(params, nodes))
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let object = rollout::find(ctx, &params.cluster).await?;
        if care::issuers(rollout::spec(&object)).as_ref() != Some(&params.issuers) {
            return Ok(Observed::NotDone);
        }
        let found = control_plane::whole(ctx, &object, rollout::replicas(&object)).await?;
        Ok(match found {
            Ok(nodes) => Observed::Done(output(params, nodes)),
            Err(_) => Observed::Partial,
        })
    }
}

fn output(params: &Params, nodes: Vec<String>) -> Output {
    Output {
        issuers: params.issuers.clone(),
        nodes,
    }
}

fn issuers(spec: &Value) -> Result<Vec<String>, StepError> {
    care::issuers(spec).ok_or_else(|| {
        StepError::refused(
            "issuers-elsewhere",
            "the service-account issuers do not stand where the migration put them (the API server's extraArgs and its kubeadm patch); change them where they stand, then skip this step",
        )
    })
}

/// Refuses a list from which somebody's tokens would suddenly not be good any more.
fn refuse(now: &[String], wanted: &[String]) -> Result<(), StepError> {
    let refused = |code: &'static str, why: String| Err(StepError::refused(code, why));
    let Some(first) = wanted.first() else {
        return refused(
            "issuers-empty",
            "without an issuer no API server starts".to_owned(),
        );
    };
    let mut seen = std::collections::BTreeSet::new();
    if let Some(odd) = wanted
        .iter()
        .find(|issuer| issuer.is_empty() || !seen.insert(*issuer))
    {
        return refused(
            "issuers-odd",
            format!("an issuer is empty or stands there twice: {odd:?}"),
        );
    }
    let signs = now.first() == Some(first);
    if !signs && !now.contains(first) {
        return refused(
            "issuer-not-accepted",
            format!(
                "{first} is to sign, and no API server accepts it yet: those that are not replaced yet would refuse its tokens; add it behind the others first"
            ),
        );
    }
    match now.iter().find(|issuer| !wanted.contains(issuer)) {
        Some(dropped) if !signs => refused(
            "issuer-dropped-too-early",
            format!(
                "{first} is to sign and {dropped} is to be dropped in one edit: every token that {dropped} has signed would be refused at once; switch first, wait for as long as tokens live, then drop"
            ),
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(now: &[&str], wanted: &[&str]) -> Option<String> {
        let owned =
            |list: &[&str]| -> Vec<String> { list.iter().map(|i| (*i).to_owned()).collect() };
        let refused = refuse(&owned(now), &owned(wanted)).err();
        refused.map(|error| error.code().to_owned())
    }

    #[test]
    fn one_edit_switches_or_drops() {
        for (now, wanted) in [
            (vec!["old", "new"], vec!["new", "old"]),
            (vec!["new", "old"], vec!["new"]),
            (vec!["old"], vec!["old", "new"]),
            (vec!["old", "new"], vec!["new", "old", "another"]),
        ] {
            assert_eq!(verdict(&now, &wanted), None, "{now:?} {wanted:?}");
        }
        for (now, wanted, code) in [
            (vec!["old", "new"], vec!["new"], "issuer-dropped-too-early"),
            (vec!["old", "new"], vec![], "issuers-empty"),
            (vec!["old"], vec!["new", "old"], "issuer-not-accepted"),
            (vec!["old"], vec!["old", "old"], "issuers-odd"),
            (vec!["old"], vec!["old", ""], "issuers-odd"),
        ] {
            let found = verdict(&now, &wanted);
            assert_eq!(found.as_deref(), Some(code), "{now:?} {wanted:?}");
        }
    }
}
