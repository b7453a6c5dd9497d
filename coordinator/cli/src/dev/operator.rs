//! The operator that a demo plays: approves gates, and tries again what was refused or used up its attempts.

use std::{collections::BTreeMap, fmt, time::Duration};

use drover_core::view::{self, WorkflowState};
use drover_proto::v1;
use serde::Serialize;

use crate::{
    client::{Client, within},
    failure::{Exit, Outcome},
};

/// Who it is in the events of a workflow, so that nobody takes it for a person.
pub(super) const ACTOR: &str = "drover-demo";

/// How long a person may look at a held migration before the demo, playing the operator, lets it go on.
pub(super) const THINK: Duration = Duration::from_millis(1500);

/// How often it retries one step. With one call in twenty failing, a step with twenty calls may well use up its attempts a few
/// times; what fails more often for the same reason needs a real operator.
pub(super) const RETRIES: u32 = 4;

/// Checks that look before anything is changed.
const PREFLIGHT: &str = "checks.preflight/";

const REQUEST: Duration = Duration::from_secs(30);

/// What it did.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Deeds {
    /// Gates that were approved.
    pub(super) approved: Vec<Deed>,
    /// Steps that were retried.
    pub(super) retried: Vec<Deed>,
}

/// One thing that it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Deed {
    /// The workflow.
    pub(super) workflow: String,
    /// Its step.
    pub(super) step: String,
}

/// What it can do for a held workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Approve this gate.
    Approve(String),
    /// Retry this step.
    Retry(String),
}

impl Work {
    fn step(&self) -> &str {
        match self {
            Self::Approve(step) | Self::Retry(step) => step,
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approve(step) => write!(f, "approved {step}"),
            Self::Retry(step) => write!(f, "retried {step}"),
        }
    }
}

/// The operator.
#[derive(Debug, Default)]
pub(super) struct Operator {
    deeds: Deeds,
    /// By workflow and step.
    retries: BTreeMap<(String, String), u32>,
}

impl Operator {
    /// What it would do next. A workflow that is held and has none of this needs a person.
    pub(super) fn work(&self, workflow: &view::Workflow) -> Vec<Work> {
        if workflow.state == WorkflowState::Unwinding {
            return Vec::new();
        }
        let work = workflow
            .holds
            .iter()
            .filter_map(|hold| match hold.code.as_str() {
                "gate-waiting" => Some(Work::Approve(hold.step.clone())),
                "step-paused" if self.may_retry(workflow, &hold.step) => {
                    Some(Work::Retry(hold.step.clone()))
                }
                _ => None,
            });
        work.collect()
    }

    fn may_retry(&self, workflow: &view::Workflow, step: &str) -> bool {
        let used = self
            .retries
            .get(&(workflow.id.clone(), step.to_owned()))
            .copied()
            .unwrap_or(0);
        // Somebody who rejected a gate meant it.
        let is_gate = find(workflow, step).is_some_and(|step| step.kind == "gate");
        used < RETRIES && !is_gate
    }

    /// Notes what it did.
    pub(super) fn note(&mut self, workflow: &str, work: &Work) {
        let deed = Deed {
            workflow: workflow.to_owned(),
            step: work.step().to_owned(),
        };
        match work {
            Work::Approve(_) => self.deeds.approved.push(deed),
            Work::Retry(step) => {
                let of = (workflow.to_owned(), step.clone());
                *self.retries.entry(of).or_default() += 1;
                self.deeds.retried.push(deed);
            }
        }
    }

    /// What it did so far.
    pub(super) fn deeds(&self) -> &Deeds {
        &self.deeds
    }
}

/// Does it; false when the coordinator refused, because somebody else was quicker.
///
/// # Errors
/// Anything else that the coordinator says, or that it is away.
pub(super) async fn carry_out(client: &mut Client, workflow: &str, work: &Work) -> Outcome<bool> {
    match request(client, workflow, work).await {
        Ok(()) => Ok(true),
        Err(failure) if failure.exit == Exit::Refused => Ok(false),
        Err(failure) => Err(failure),
    }
}

async fn request(client: &mut Client, workflow: &str, work: &Work) -> Outcome {
    let id = workflow.to_owned();
    match work {
        Work::Approve(step) => {
            let request = v1::GateRequest {
                id,
                step: step.clone(),
                reason: "the demo approves".to_owned(),
                ..v1::GateRequest::default()
            };
            client
                .workflows
                .approve_gate(within(request, REQUEST))
                .await?;
        }
        Work::Retry(step) => {
            let request = v1::RetryStepRequest {
                id,
                step: step.clone(),
                reason: "the demo retries what was refused".to_owned(),
                ..v1::RetryStepRequest::default()
            };
            client
                .workflows
                .retry_step(within(request, REQUEST))
                .await?;
        }
    }
    Ok(())
}

/// True when a check says that the cluster must not be migrated as it is; nothing has been changed then.
pub(super) fn refused_by_preflight(workflow: &view::Workflow) -> bool {
    let mut paused = workflow
        .holds
        .iter()
        .filter(|hold| hold.code == "step-paused");
    paused.any(|hold| {
        find(workflow, &hold.step).is_some_and(|step| {
            let refused = step
                .last_error
                .as_ref()
                .is_some_and(|error| error.certainty == "refused");
            refused && step.kind.starts_with(PREFLIGHT)
        })
    })
}

fn find<'w>(workflow: &'w view::Workflow, step: &str) -> Option<&'w view::Step> {
    workflow.steps.iter().find(|found| found.id == step)
}
