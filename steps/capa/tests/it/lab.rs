//! The simulated world against real parts: the stretch that the lab plays gives the same kinds of calls in the same order, and
//! the same end. `tests/lab` keeps what it saw in `ledger.txt` and holds its own runs against it.
//!
//! Accepted differences: none among these. Not compared are reads (how often a wait looks depends on how long it takes), the
//! guard's calls (they come when they come), and how often the same call is made in a row.

use drover_sim::LedgerEntry;

use crate::stage::{Migration, Town};

/// What the lab saw.
const SEEN: &str = include_str!("../../../../tests/lab/ledger.txt");

/// The first step that the lab plays: it lays what earlier ones would have left.
const FIRST: &str = "generate-target";

/// The last one: the lab has no Auto Scaling groups, no GitOps, no apps, no DNS and no stacks.
const LAST: &str = "retire-vintage-etcd";

fn line(entry: &LedgerEntry) -> Option<String> {
    let stamp = entry.stamp.as_ref()?;
    let effect = stamp.effect.split('/').next()?;
    Some(format!("{} {} {effect}", entry.caller.step, entry.action))
}

#[tokio::test(start_paused = true)]
async fn the_simulated_world_sees_what_the_lab_saw() {
    let mut migration = Migration::of(Town::three_masters());
    migration.until(LAST).await;

    let ids = migration.ids();
    let place = |step: &str| ids.iter().position(|id| id == step).unwrap();
    let stretch = &ids[place(FIRST)..=place(LAST)];
    let mut lines: Vec<String> = Vec::new();
    for entry in migration.town.world.now().ledger(0) {
        if entry.outcome == "ok"
            && stretch.contains(&entry.caller.step)
            && let Some(line) = line(entry)
            && lines.last() != Some(&line)
        {
            lines.push(line);
        }
    }
    let report = migration.town.report();
    let ours = |roles: Vec<&String>| {
        let ours = roles
            .iter()
            .filter(|role| role.starts_with("control-plane-"))
            .count();
        format!("{ours} Cluster API nodes, {} others", roles.len() - ours)
    };
    lines.push(format!("end etcd: {}", ours(report.etcd.keys().collect())));
    for (name, instances) in &report.load_balancers {
        if ["api", "api-internal"].contains(&name.as_str()) {
            lines.push(format!("end {name}: {}", ours(instances.keys().collect())));
        }
    }
    let seen: Vec<&str> = SEEN.lines().collect();
    assert_eq!(lines, seen);
}
