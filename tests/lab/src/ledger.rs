//! What the worker changed, in the form in which two worlds can be compared: kinds of calls in the order of their steps, and
//! how things stood in the end; no id, no time, no name that chance gave.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::{migrate::Report, place::Place};

/// The calls of the lab's last agreed run: the simulated world is held against them too (`steps/capa/tests/it/lab.rs`).
const AGREED: &str = include_str!("../ledger.txt");

/// Holds a run against what was agreed.
///
/// # Errors
/// When it differs: with the first line that does, and where the whole lies.
pub(crate) fn compare(place: &Place, report: &Report) -> anyhow::Result<()> {
    let found = normalized(&place.path("ledger.jsonl"), report)?;
    let file = place.path("ledger.txt");
    fs::write(&file, &found)?;
    let differs = found
        .lines()
        .zip(AGREED.lines())
        .find(|(found, agreed)| found != agreed);
    let at = file.display();
    if let Some((found, agreed)) = differs {
        anyhow::bail!("the ledger says {found:?} where {agreed:?} was agreed; the whole is {at}");
    }
    ensure!(
        found.lines().count() == AGREED.lines().count(),
        "the ledger is longer or shorter than was agreed; the whole is {at}"
    );
    Ok(())
}

/// A line a kind of call: step, action, effect; the same one several times in a row stands once. Calls of guards come when
/// they come, and are left out; so is what failed.
fn normalized(ledger: &Path, report: &Report) -> anyhow::Result<String> {
    let text = fs::read_to_string(ledger).with_context(|| format!("read {}", ledger.display()))?;
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line)?;
        let word = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let step = word("step");
        let effect = word("effect");
        let effect = effect.split('/').next().unwrap_or_default();
        if step.starts_with("keep-") || entry["outcome"] != "ok" {
            continue;
        }
        // Whoever comes first puts the new node behind the load balancers: this step, or the guard beside it.
        if effect == "register-node" {
            continue;
        }
        let line = format!("{step} {} {effect}", word("action"));
        if lines.last() != Some(&line) {
            lines.push(line);
        }
    }
    lines.push(format!(
        "end etcd: {}",
        of_nodes(&report.members, &report.nodes)
    ));
    for (balancer, instances) in &report.registrations {
        let role = balancer.split_once('-').map_or("", |(_, role)| role);
        lines.push(format!(
            "end {role}: {}",
            of_nodes(instances, &report.nodes)
        ));
    }
    Ok(lines.join("\n") + "\n")
}

/// How many of them are Cluster API nodes, and how many are not.
fn of_nodes(found: &[String], nodes: &[String]) -> String {
    let ours = found.iter().filter(|name| nodes.contains(name)).count();
    format!("{ours} Cluster API nodes, {} others", found.len() - ours)
}
