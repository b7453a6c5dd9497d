//! What came of a fleet.

use std::{collections::BTreeMap, time::Duration};

use drover_core::time::{Timestamp, format_duration};
use drover_sim::{ClusterReport, Gap};
use owo_colors::OwoColorize as _;
use serde::Serialize;

use super::{
    Fleet,
    kills::Done,
    roster::{Member, Standing},
};
use crate::{
    dev::{
        operator::Deeds,
        report::{Outside, bad, good, line, operator_text, probe_name},
    },
    failure::{Failure, Outcome},
    output::{Output, span},
};

/// Clusters that are named where many have the same.
const NAMED: usize = 8;

/// What came of a fleet.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    /// By where they stand.
    counts: BTreeMap<Standing, usize>,
    /// In the order of starting.
    migrations: Vec<Migration>,
    #[serde(flatten)]
    outside: Outside,
    operator: Deeds,
    kills: Done,
    /// Real time, ISO 8601.
    took: String,
    /// From the first start to the last end, ISO 8601.
    took_simulated: String,
    #[serde(skip)]
    real: Duration,
    #[serde(skip)]
    simulated: Duration,
}

/// What came of one migration.
#[derive(Debug, Serialize)]
struct Migration {
    id: String,
    installation: String,
    standing: Standing,
    /// Of the workflow; `None` when it was never started.
    state: Option<drover_core::view::WorkflowState>,
    /// Steps that it is at.
    at: Vec<String>,
    /// Why it does not go on, or how it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    sentence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unblock: Option<String>,
    created_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

impl Migration {
    fn of(member: &Member) -> Self {
        let workflow = member.seen.as_ref();
        Self {
            id: member.id.clone(),
            installation: member.installation.clone(),
            standing: member.standing(),
            state: workflow.map(|workflow| workflow.state),
            at: workflow.map_or_else(Vec::new, |workflow| workflow.current.clone()),
            sentence: member.sentence(),
            unblock: member.unblock().map(str::to_owned),
            created_at: workflow.and_then(|workflow| workflow.created_at),
            ended_at: workflow.and_then(|workflow| workflow.ended_at),
        }
    }
}

impl Verdict {
    /// Looks at the fleet, the world and its ledger.
    pub(super) async fn of(fleet: &Fleet) -> Outcome<Self> {
        let real = fleet.began.elapsed();
        let outside = Outside::of(&fleet.town).await?;
        let members = fleet.roster.members();
        let mut counts = BTreeMap::new();
        for member in members {
            *counts.entry(member.standing()).or_default() += 1;
        }
        let simulated = fleet
            .roster
            .span(Timestamp(outside.world.now.0))
            .map_or(Duration::ZERO, |(from, until)| until.since(from));
        Ok(Self {
            counts,
            migrations: members.iter().map(Migration::of).collect(),
            outside,
            operator: fleet.operator.deeds().clone(),
            kills: fleet.kills.done(),
            took: format_duration(real),
            took_simulated: format_duration(simulated),
            real,
            simulated,
        })
    }

    /// For a person, or for a program.
    pub(super) fn print(&self, output: &Output) -> Outcome {
        output.one(self, "fleet", || self.text())
    }

    fn text(&self) -> String {
        let counts: Vec<String> = self
            .counts
            .iter()
            .map(|(standing, count)| format!("{count} {}", standing.words()))
            .collect();
        let mut text = format!(
            "\n{}: {} after {} of simulated time ({} here)\n",
            "fleet".bold(),
            counts.join(", "),
            span(self.simulated),
            span(self.real),
        );
        for standing in [
            Standing::Paused,
            Standing::Refused,
            Standing::Over,
            Standing::UnderWay,
        ] {
            for migration in self.standing(standing) {
                text.push_str(&about(migration));
            }
        }
        text.push_str(&self.requests());
        for cluster in &self.outside.world.clusters {
            for accident in cluster.accidents.iter().chain(&cluster.shared_pod_cidrs) {
                text.push_str(&line(
                    "accident",
                    &bad(&format!("{}: {accident}", cluster.id)),
                ));
            }
        }
        text.push_str(&self.outside.text());
        if self.kills.strikes > 0 {
            let Done {
                strikes,
                coordinators,
                workers,
            } = self.kills;
            let value = format!(
                "{}: the coordinator {}, a worker {}; all came back",
                times(strikes),
                times(coordinators),
                times(workers)
            );
            text.push_str(&line("killed", &value));
        }
        text.push_str(&line("operator", &operator_text(&self.operator)));
        text
    }

    fn standing(&self, standing: Standing) -> impl Iterator<Item = &Migration> {
        self.migrations
            .iter()
            .filter(move |migration| migration.standing == standing)
    }

    /// What customers noticed, by the rule that forced it.
    fn requests(&self) -> String {
        let clusters = &self.outside.world.clusters;
        let spared = clusters.iter().filter(|cluster| cluster.gaps.is_empty());
        let wait = clusters
            .iter()
            .flat_map(|cluster| cluster.longest_wait_ms.values())
            .max()
            .copied()
            .unwrap_or(0);
        let none = format!(
            "none failed in {} of {} clusters; the longest waited {wait} ms",
            spared.count(),
            clusters.len()
        );
        let mut text = line("requests", &good(&none));
        for (what, gaps) in by_cause(clusters) {
            text.push_str(&line("requests", &bad(&of_cause(&what, &gaps))));
        }
        text
    }

    /// An error unless everything is as it should be.
    pub(super) fn judge(&self) -> Outcome {
        let all = self.migrations.len();
        let migrated = self.counts.get(&Standing::Migrated).copied().unwrap_or(0);
        if migrated < all {
            return Err(Failure::failed(format!(
                "{} of {all} clusters are not migrated, see above",
                all - migrated
            )));
        }
        self.outside.judge()
    }
}

/// How often, in words.
pub(super) fn times(count: u32) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        count => format!("{count} times"),
    }
}

fn about(migration: &Migration) -> String {
    let sentence = migration
        .sentence
        .as_deref()
        .unwrap_or("no reason is known");
    let name = match migration.standing {
        Standing::Refused => "refused",
        standing => standing.words(),
    };
    let mut text = line(
        name,
        &bad(&format!(
            "{} in {}: {sentence}",
            migration.id, migration.installation
        )),
    );
    if let Some(unblock) = &migration.unblock
        && migration.standing != Standing::UnderWay
    {
        text.push_str(&line("", &format!("  to go on: {unblock}")));
    }
    text
}

/// Gaps of all clusters by way in and cause.
fn by_cause(clusters: &[ClusterReport]) -> BTreeMap<String, Vec<(&str, &Gap)>> {
    let mut found: BTreeMap<String, Vec<(&str, &Gap)>> = BTreeMap::new();
    for cluster in clusters {
        for gap in &cluster.gaps {
            let what = format!("failed by {}: {}", probe_name(gap.probe), gap.cause);
            found.entry(what).or_default().push((&cluster.id, gap));
        }
    }
    found
}

fn of_cause(what: &str, gaps: &[(&str, &Gap)]) -> String {
    let longest = gaps
        .iter()
        .filter_map(|(_, gap)| Some(gap.until?.since(gap.from)))
        .max();
    let open = gaps.iter().filter(|(_, gap)| gap.until.is_none()).count();
    let mut ids: Vec<&str> = gaps.iter().map(|(id, _)| *id).collect();
    ids.dedup();
    let mut text = format!("{what}; {}", ids[..ids.len().min(NAMED)].join(", "));
    if ids.len() > NAMED {
        text.push_str(&format!(" and {} more", ids.len() - NAMED));
    }
    if let Some(longest) = longest {
        text.push_str(&format!("; for up to {}", span(longest)));
    }
    if open > 0 {
        text.push_str(&format!("; {open} still fail"));
    }
    text
}
