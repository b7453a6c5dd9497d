//! Membership and health of the cluster's etcd.

use drover_ports::{Member, MemberStatus, PortError, PortErrorKind, Ports};
use drover_step_api::{Context, StepError};

use super::defaults::seconds;

/// Looks in a row that must find a member silent: one of them may have met a blip of the line.
const LOOKS: u32 = 3;

/// Why etcd is not whole: a sentence; `None` when every member has started, votes, is healthy, and no alarm is raised.
///
/// # Errors
/// As the port; a member that does not answer is a finding, not an error.
pub(crate) async fn ailment(
    ctx: &Context<Ports>,
    cluster: &str,
    members: &[Member],
) -> Result<Option<String>, StepError> {
    for member in members {
        if !member.started || member.learner {
            let url = member.peer_urls.join(",");
            return Ok(Some(format!("member {url} does not vote yet")));
        }
        match status(ctx, cluster, &member.name).await? {
            Ok(status) if status.healthy => {}
            Ok(_) => return Ok(Some(format!("member {} is not healthy", member.name))),
            Err(error) if error.kind == PortErrorKind::Unreachable => {
                return Ok(Some(format!("member {}: {}", member.name, error.message)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let alarms = ctx.ports().etcd(cluster).alarm_list().await?;
    Ok((!alarms.is_empty()).then(|| format!("alarms are raised: {}", alarms.join(", "))))
}

/// What a member says of itself.
async fn status(
    ctx: &Context<Ports>,
    cluster: &str,
    member: &str,
) -> Result<Result<MemberStatus, PortError>, StepError> {
    let etcd = ctx.ports().etcd(cluster);
    let mut found = etcd.status(member).await;
    for _ in 1..LOOKS {
        match &found {
            Err(error) if error.kind == PortErrorKind::Unreachable => {
                ctx.sleep(seconds(5)).await?;
                found = etcd.status(member).await;
            }
            _ => break,
        }
    }
    Ok(found)
}

/// Members that are not among `known`, by name; one that has not started has no name and is never known.
pub(crate) fn others<'m>(members: &'m [Member], known: &[String]) -> Vec<&'m Member> {
    members
        .iter()
        .filter(|member| !known.contains(&member.name))
        .collect()
}
