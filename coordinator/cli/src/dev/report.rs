//! What came of a demo.

use std::{collections::BTreeMap, time::Duration};

use drover_core::{
    time::Timestamp,
    view::{self, WorkflowState},
};
use drover_sim::{ClusterReport, ClusterState, ProbeName, Report, ledger};
use owo_colors::OwoColorize as _;
use serde::Serialize;

use super::{
    operator::{Deed, Deeds},
    town::Town,
};
use crate::{
    failure::{Failure, Outcome},
    output::{Output, span, workflow_state},
};

/// What came of a demo.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    workflow: view::Workflow,
    #[serde(flatten)]
    outside: Outside,
    operator: Deeds,
    /// Real time, ISO 8601.
    took: String,
    #[serde(skip)]
    real: Duration,
}

impl Verdict {
    /// Looks at the world and its ledger.
    pub(super) async fn of(
        town: &Town,
        workflow: view::Workflow,
        operator: Deeds,
        real: Duration,
    ) -> Outcome<Self> {
        Ok(Self {
            workflow,
            outside: Outside::of(town).await?,
            operator,
            took: drover_core::time::format_duration(real),
            real,
        })
    }

    /// For a person, or for a program.
    pub(super) fn print(&self, output: &Output) -> Outcome {
        output.one(self, &self.workflow.id, || self.text())
    }

    fn text(&self) -> String {
        let ended = self
            .workflow
            .ended_at
            .unwrap_or(Timestamp(self.outside.world.now.0));
        let domain = ended.since(self.workflow.created_at.unwrap_or_default());
        let mut text = format!(
            "\n{}: {} after {} of simulated time ({} here)\n",
            self.workflow.id.bold(),
            workflow_state(self.workflow.state),
            span(domain),
            span(self.real),
        );
        for cluster in &self.outside.world.clusters {
            text.push_str(&about(cluster));
        }
        for warning in self.warnings() {
            text.push_str(&line("warning", &warning));
        }
        text.push_str(&self.outside.text());
        text.push_str(&line("operator", &operator_text(&self.operator)));
        text
    }

    /// What preflight would have shown to the approver of a production cluster.
    fn warnings(&self) -> Vec<String> {
        let outputs = self
            .workflow
            .steps
            .iter()
            .filter_map(|step| step.output.as_ref());
        outputs
            .filter_map(|output| output["warnings"].as_array())
            .flatten()
            .filter_map(|warning| warning["message"].as_str())
            .map(|message| message.yellow().to_string())
            .collect()
    }

    /// An error unless everything is as it should be.
    pub(super) fn judge(&self) -> Outcome {
        let state = self.workflow.state;
        if state != WorkflowState::Completed {
            return Err(Failure::failed(format!("the migration is {state}")));
        }
        self.outside.judge()
    }
}

/// What lies outside: the world, and what its ledger of outside calls proves.
#[derive(Debug, Serialize)]
pub(super) struct Outside {
    pub(super) world: Report,
    /// Outside calls that changed something.
    changes: usize,
    /// What the ledger shows that must never happen.
    violations: Vec<String>,
}

impl Outside {
    /// Looks at it.
    pub(super) async fn of(town: &Town) -> Outcome<Self> {
        let failed = |error: drover_sim::WorldError| Failure::failed(error.to_string());
        let world = town.world.report().await.map_err(failed)?;
        let entries = town.world.ledger(0).await.map_err(failed)?;
        let kinds = super::registry()?;
        Ok(Self {
            world,
            changes: entries.iter().filter(|entry| entry.changed).count(),
            violations: ledger::check_kinds(&entries, &kinds)
                .iter()
                .map(ToString::to_string)
                .collect(),
        })
    }

    /// Calls, faults and the ledger, for a person.
    pub(super) fn text(&self) -> String {
        let calls: u64 = self.world.calls.values().sum();
        let faults: Vec<String> = self
            .world
            .faults
            .iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        let faults = if faults.is_empty() {
            "none injected".to_owned()
        } else {
            format!("{} injected", faults.join(", "))
        };
        let ledger = if self.violations.is_empty() {
            good("no effect twice, none behind a newer fence")
        } else {
            bad(&self.violations.join("\n                   "))
        };
        let calls = format!("{calls}, of which {} changed something", self.changes);
        [
            ("outside calls", calls),
            ("faults", faults),
            ("ledger", ledger),
        ]
        .iter()
        .map(|(name, value)| line(name, value))
        .collect()
    }

    /// An error when customers would have noticed, or something was done twice.
    pub(super) fn judge(&self) -> Outcome {
        if !self.world.is_clean() {
            return Err(Failure::failed("customers would have noticed, see above"));
        }
        if let Some(violation) = self.violations.first() {
            return Err(Failure::failed(format!("the ledger shows: {violation}")));
        }
        Ok(())
    }
}

/// What the demo's operator did, by step.
pub(super) fn operator_text(deeds: &Deeds) -> String {
    let of = |deeds: &[Deed]| {
        let mut steps: BTreeMap<&str, usize> = BTreeMap::new();
        for deed in deeds {
            *steps.entry(&deed.step).or_default() += 1;
        }
        let steps: Vec<String> = steps
            .into_iter()
            .map(|(step, count)| match count {
                1 => step.to_owned(),
                count => format!("{step} ({count})"),
            })
            .collect();
        steps.join(", ")
    };
    let parts: Vec<String> = [("approved", &deeds.approved), ("retried", &deeds.retried)]
        .into_iter()
        .filter(|(_, deeds)| !deeds.is_empty())
        .map(|(verb, deeds)| format!("{verb} {}", of(deeds)))
        .collect();
    if parts.is_empty() {
        "had nothing to do".to_owned()
    } else {
        format!("{} (played by the demo)", parts.join("; "))
    }
}

/// A line of a report.
pub(super) fn line(name: &str, value: &str) -> String {
    format!("  {name:<16} {value}\n")
}

pub(super) fn good(text: &str) -> String {
    format!("{} {text}", "✓".green())
}

pub(super) fn bad(text: &str) -> String {
    format!("{} {text}", "✗".red())
}

fn about(cluster: &ClusterReport) -> String {
    let state = match cluster.state {
        ClusterState::Vintage => "vintage, as it was",
        ClusterState::Mixed => "between vintage and Cluster API",
        ClusterState::Migrated => {
            "three Cluster API nodes serve and hold etcd; no vintage one does"
        }
        ClusterState::Gone => "deleted",
    };
    let state = if cluster.state == ClusterState::Migrated {
        good(state)
    } else {
        bad(state)
    };
    let requests = if cluster.gaps.is_empty() {
        let wait = cluster.longest_wait_ms.values().max().copied().unwrap_or(0);
        good(&format!("none failed; the longest waited {wait} ms"))
    } else {
        let gaps: Vec<String> = cluster
            .gaps
            .iter()
            .map(|gap| {
                let lasted = gap.until.map_or_else(
                    || "and still fail".to_owned(),
                    |until| format!("for {}", span(until.since(gap.from))),
                );
                format!(
                    "failed by {} {lasted}: {}",
                    probe_name(gap.probe),
                    gap.cause
                )
            })
            .collect();
        bad(&gaps.join("\n                     "))
    };
    let members: Vec<String> = cluster
        .etcd
        .iter()
        .map(|(host, what)| format!("{host} ({what})"))
        .collect();
    let mut text = line(
        "cluster",
        &format!("{} in {}", cluster.id, cluster.installation),
    );
    text.push_str(&line("control plane", &state));
    text.push_str(&line("etcd", &members.join(", ")));
    text.push_str(&line("requests", &requests));
    for accident in cluster.accidents.iter().chain(&cluster.shared_pod_cidrs) {
        text.push_str(&line("accident", &bad(accident)));
    }
    text
}

/// The way in, as an operator calls it.
pub(super) fn probe_name(probe: ProbeName) -> &'static str {
    match probe {
        ProbeName::OldName => "the old name",
        ProbeName::NewName => "the new load balancer",
        ProbeName::InCluster => "the kubernetes service inside the cluster",
        ProbeName::Services => "the customer's services inside the cluster",
        ProbeName::Pods => "from pod to pod",
    }
}
