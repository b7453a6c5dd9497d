//! etcd is whole, quiet, and small enough.

use super::{Findings, Look, blocker};
use crate::insist::{insist, is_silence};

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let plan = look.plan;
    let etcd = look.ports().etcd(&plan.id);
    let mut found = Vec::new();
    let members = match insist(look.ctx, || etcd.member_list()).await? {
        Ok(members) => members,
        Err(error) if is_silence(&error) => {
            return Ok(vec![blocker(
                "etcd-unavailable",
                format!("etcd does not answer: {}", error.message),
            )]);
        }
        Err(error) => return Err(error.into()),
    };
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let expected: Vec<&str> = plan.vintage_members().collect();
    if names != expected {
        found.push(blocker(
            "etcd-members",
            format!(
                "etcd has the members {}, and the masters are {}",
                names.join(", "),
                expected.join(", ")
            ),
        ));
    }
    for member in &members {
        let status = match insist(look.ctx, || etcd.status(&member.name)).await? {
            Ok(status) => status,
            Err(error) if is_silence(&error) => {
                found.push(blocker(
                    "etcd-member-down",
                    format!("member {}: {}", member.name, error.message),
                ));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if !status.healthy {
            found.push(blocker(
                "etcd-member-down",
                format!("member {} is not healthy", member.name),
            ));
        }
        if status.db_size > plan.etcd_quota_bytes / 2 {
            found.push(blocker(
                "etcd-too-large",
                format!(
                    "the database of {} has {} MiB, more than half of the quota; defragment it",
                    member.name,
                    status.db_size >> 20
                ),
            ));
        }
    }
    let alarms = etcd.alarm_list().await?;
    if !alarms.is_empty() {
        found.push(blocker(
            "etcd-alarms",
            format!("etcd has raised alarms: {}", alarms.join(", ")),
        ));
    }
    Ok(found)
}
