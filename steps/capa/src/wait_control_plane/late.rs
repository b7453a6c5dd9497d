//! A machine whose `kubeadm join` failed stays as it is: nobody tries again, and the health check that would replace it is
//! paused with the cluster's other keepers. Its Machine is deleted; the control plane's controller makes the next one, and
//! takes away what the first try has left in etcd.

use std::collections::BTreeMap;

use drover_ports::{Member, ObjectRef, Ports};
use drover_step_api::{Context, StepError, Timestamp};
use serde::{Deserialize, Serialize};

use super::Params;
use crate::{
    kinds,
    support::{
        control_plane::{self, Machine},
        defaults::minutes,
        etcd,
    },
};

/// A machine that has an instance and no vote in etcd after this long is taken for dead. Slow ones need six minutes.
const REPLACE_AFTER: std::time::Duration = minutes(15);

/// How long it may be dead while etcd does not allow that it is taken away.
const GIVE_UP_AFTER: std::time::Duration = minutes(30);

/// Machines that may be replaced. When a fourth one does not join either, it is not the machine.
const REPLACEMENTS: usize = 3;

/// What a later attempt has to know: since when each machine has had an instance, and which ones were replaced.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    since: BTreeMap<String, Timestamp>,
    replaced: Vec<String>,
}

/// What there is to do about the machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// They have their time, or one of them cannot be helped now; why, if so.
    Wait(Option<String>),
    /// This one's time begins.
    Begun(String),
    /// This one does not join.
    Late(String),
}

/// Whether a machine that an earlier attempt was about to replace is gone, or going.
///
/// # Errors
/// As the port.
pub(super) async fn has_replaced(ctx: &Context<Ports>, params: &Params) -> Result<bool, StepError> {
    let replaced = ctx.restored::<Memory>().unwrap_or_default().replaced;
    if replaced.is_empty() {
        return Ok(false);
    }
    let machines = control_plane::machines(ctx, &params.namespace, &params.cluster).await?;
    Ok(replaced
        .iter()
        .any(|name| !machines.iter().any(|machine| machine.name == *name)))
}

/// Looks at the machines after the first one.
///
/// # Errors
/// As the ports; `Failed` when a machine does not join and must not be taken away.
pub(super) async fn look(
    ctx: &Context<Ports>,
    params: &Params,
    memory: &Memory,
) -> Result<Finding, StepError> {
    let machines = control_plane::machines(ctx, &params.namespace, &params.cluster).await?;
    let joining: Vec<&Machine> = machines
        .iter()
        .filter(|machine| machine.has_instance && machine.node.as_ref() != Some(&params.first_node))
        .collect();
    let new = |machine: &&&Machine| !memory.since.contains_key(&machine.name);
    if let Some(begun) = joining.iter().find(new) {
        return Ok(Finding::Begun(begun.name.clone()));
    }
    let had = |machine: &Machine| ctx.now().since(memory.since[&machine.name]);
    let overdue: Vec<&Machine> = joining
        .into_iter()
        .filter(|machine| had(machine) >= REPLACE_AFTER)
        .collect();
    if overdue.is_empty() {
        return Ok(Finding::Wait(None));
    }
    let members = ctx.ports().etcd(&params.cluster).member_list().await?;
    let voters: Vec<Member> = members
        .into_iter()
        .filter(|member| !member.learner)
        .collect();
    let votes = |machine: &Machine| {
        voters
            .iter()
            .any(|v| machine.node.as_ref() == Some(&v.name))
    };
    let Some(late) = overdue.into_iter().find(|machine| !votes(machine)) else {
        return Ok(Finding::Wait(None));
    };
    let mut danger = stray_vote(&voters, &machines, late);
    if danger.is_none() {
        danger = etcd::ailment(ctx, &params.cluster, &voters).await?;
    }
    match danger {
        None => Ok(Finding::Late(late.name.clone())),
        Some(why) if had(late) >= GIVE_UP_AFTER => Err(StepError::failed(
            "replacement-unsafe",
            format!(
                "{} does not join, and taking it away could cost etcd its quorum: {why}",
                late.name
            ),
        )),
        Some(why) => Ok(Finding::Wait(Some(format!(
            "{} does not join, and etcd does not allow that it is replaced: {why}",
            late.name
        )))),
    }
}

/// A vote that may be the machine's own: its member has no name before it has started. A learner has none, and its
/// controller removes it.
fn stray_vote(voters: &[Member], machines: &[Machine], late: &Machine) -> Option<String> {
    let is_of_another = |voter: &&Member| {
        machines
            .iter()
            .any(|other| other.name != late.name && other.node.as_ref() == Some(&voter.name))
    };
    let stray = voters
        .iter()
        .find(|voter| !voter.started || !is_of_another(voter))?;
    let url = stray.peer_urls.join(",");
    Some(format!("member {url} votes and is no other machine's"))
}

/// Notes since when a machine has had its instance.
///
/// # Errors
/// As the checkpoint.
pub(super) async fn begin(
    ctx: &Context<Ports>,
    memory: &mut Memory,
    machine: String,
) -> Result<(), StepError> {
    memory.since.insert(machine, ctx.now());
    ctx.checkpoint(memory).await
}

/// Deletes a Machine that does not join.
///
/// # Errors
/// As the port; `Failed` when too many were replaced already.
pub(super) async fn replace(
    ctx: &Context<Ports>,
    params: &Params,
    memory: &mut Memory,
    machine: &str,
) -> Result<(), StepError> {
    // One that an interrupted attempt was about to delete counts once.
    if !memory.replaced.iter().any(|known| known == machine) {
        if memory.replaced.len() == REPLACEMENTS {
            return Err(StepError::failed(
                "no-machine-joins",
                format!(
                    "{machine} is the fourth machine that boots and does not join the control plane; read its console, \
                     mend what keeps it, delete the Machine and retry"
                ),
            ));
        }
        memory.replaced.push(machine.to_owned());
        ctx.checkpoint(&*memory).await?;
    }
    let object = ObjectRef::new(&kinds::machine(), &params.namespace, machine);
    let capi = ctx.ports().capi_mc();
    let Some(seen) = capi.find(&object).await? else {
        return Ok(());
    };
    let permit = ctx.permit_for("replace-machine", machine).await?;
    capi.delete_seen(permit, &object, &seen).await?;
    ctx.progress(0, 0, format!("{machine} does not join; it is replaced"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str, node: Option<&str>) -> Machine {
        Machine {
            name: name.to_owned(),
            node: node.map(str::to_owned),
            has_instance: true,
        }
    }

    fn voter(name: &str) -> Member {
        Member {
            id: 1,
            name: name.to_owned(),
            peer_urls: vec![format!("https://{name}:2380")],
            started: !name.is_empty(),
            learner: false,
        }
    }

    #[test]
    fn only_a_machine_without_any_vote_is_taken_away() {
        let machines = [machine("m1", Some("n1")), machine("m2", Some("n2"))];
        let late = &machines[1];
        let stray = |voters: &[Member]| stray_vote(voters, &machines, late);
        assert_eq!(stray(&[voter("n1")]), None);
        assert!(stray(&[voter("n1"), voter("n2")]).is_some(), "its own");
        assert!(stray(&[voter("n1"), voter("")]).is_some(), "not started");
        assert!(stray(&[voter("n1"), voter("n9")]).is_some(), "a stranger's");
    }
}
