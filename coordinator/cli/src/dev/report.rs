//! What came of a demo.

use std::time::Duration;

use drover_core::{
    time::Timestamp,
    view::{self, WorkflowState},
};
use drover_sim::{ClusterReport, ClusterState, ProbeName, Report, ledger};
use owo_colors::OwoColorize as _;
use serde::Serialize;

use super::town::Town;
use crate::{
    failure::{Failure, Outcome},
    output::{Output, span, workflow_state},
};

/// What the operator did.
#[derive(Debug, Default, Serialize)]
pub(super) struct Deeds {
    /// Gates that were approved.
    pub(super) approved: Vec<String>,
    /// Steps that were retried.
    pub(super) retried: Vec<String>,
}

/// What came of a demo.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    workflow: view::Workflow,
    world: Report,
    /// Outside calls that changed something.
    changes: usize,
    /// What the ledger shows that must never happen.
    violations: Vec<String>,
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
        let failed = |error: drover_sim::WorldError| Failure::failed(error.to_string());
        let world = town.world.report().await.map_err(failed)?;
        let entries = town.world.ledger(0).await.map_err(failed)?;
        let kinds = super::registry()?;
        Ok(Self {
            changes: entries.iter().filter(|entry| entry.changed).count(),
            violations: ledger::check_kinds(&entries, &kinds)
                .iter()
                .map(ToString::to_string)
                .collect(),
            workflow,
            world,
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
            .unwrap_or(Timestamp(self.world.now.0));
        let domain = ended.since(self.workflow.created_at.unwrap_or_default());
        let mut text = format!(
            "\n{}: {} after {} of simulated time ({} here)\n",
            self.workflow.id.bold(),
            workflow_state(self.workflow.state),
            span(domain),
            span(self.real),
        );
        for cluster in &self.world.clusters {
            text.push_str(&about(cluster));
        }
        for warning in self.warnings() {
            text.push_str(&line("warning", &warning));
        }
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
        for (name, value) in [
            (
                "outside calls",
                format!("{calls}, of which {} changed something", self.changes),
            ),
            ("faults", faults),
            ("ledger", ledger),
            ("operator", self.operator_text()),
        ] {
            text.push_str(&line(name, &value));
        }
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

    fn operator_text(&self) -> String {
        let deeds: Vec<String> = [
            ("approved", &self.operator.approved),
            ("retried", &self.operator.retried),
        ]
        .into_iter()
        .filter(|(_, steps)| !steps.is_empty())
        .map(|(verb, steps)| format!("{verb} {}", steps.join(", ")))
        .collect();
        if deeds.is_empty() {
            "had nothing to do".to_owned()
        } else {
            format!("{} (played by the demo)", deeds.join("; "))
        }
    }

    /// An error unless everything is as it should be.
    pub(super) fn judge(&self) -> Outcome {
        let state = self.workflow.state;
        if state != WorkflowState::Completed {
            return Err(Failure::failed(format!("the migration is {state}")));
        }
        if !self.world.is_clean() {
            return Err(Failure::failed("customers would have noticed, see above"));
        }
        if let Some(violation) = self.violations.first() {
            return Err(Failure::failed(format!("the ledger shows: {violation}")));
        }
        Ok(())
    }
}

fn line(name: &str, value: &str) -> String {
    format!("  {name:<16} {value}\n")
}

fn good(text: &str) -> String {
    format!("{} {text}", "✓".green())
}

fn bad(text: &str) -> String {
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
fn probe_name(probe: ProbeName) -> &'static str {
    match probe {
        ProbeName::OldName => "the old name",
        ProbeName::NewName => "the new load balancer",
        ProbeName::InCluster => "the kubernetes service inside the cluster",
        ProbeName::Pods => "from pod to pod",
    }
}
