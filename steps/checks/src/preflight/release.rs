//! The release is one that migrates, the cluster is idle, and nothing will upgrade it meanwhile.

use drover_model::FIRST_MIGRATABLE_RELEASE;

use super::{Finding, Findings, Look, blocker, warning};

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let plan = look.plan;
    let mut found = Vec::new();
    match plan.release {
        None => found.push(blocker(
            "release-unknown",
            format!("cluster {} has no release label that is a version, so nobody knows what it runs", plan.id),
        )),
        Some(release) if release < FIRST_MIGRATABLE_RELEASE => found.push(blocker(
            "release-too-old",
            format!(
                "cluster {} is at release {release}, and migrations begin at {FIRST_MIGRATABLE_RELEASE}; upgrade it first",
                plan.id
            ),
        )),
        Some(_) => {}
    }
    if !["Created", "Updated"].contains(&plan.condition.as_str()) {
        let condition = if plan.condition.is_empty() {
            "unknown"
        } else {
            &plan.condition
        };
        found.push(blocker(
            "cluster-not-idle",
            format!("the cluster's condition is {condition}; wait until it is Created or Updated"),
        ));
    }
    found.extend(schedule(look));
    Ok(found)
}

/// A scheduled upgrade would start in the middle of the migration. One that is over is only litter.
fn schedule(look: &Look<'_>) -> Option<Finding> {
    let schedule = look.plan.update_schedule.as_ref()?;
    let now = look.ctx.now().0 / 1_000_000;
    let (release, time) = (&schedule.target_release, &schedule.target_time);
    Some(if schedule.is_over(look.plan.release, now) {
        warning(
            "upgrade-schedule-stale",
            format!(
                "an upgrade to {release} at {time} is still in the annotations, although it is over; remove them"
            ),
        )
    } else {
        blocker(
            "upgrade-scheduled",
            format!(
                "an upgrade to {release} is scheduled for {time}; remove the schedule or wait until it is over"
            ),
        )
    })
}
