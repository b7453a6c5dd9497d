//! Why something does not go on: typed reasons with stable codes, and the sentence that says what unblocks it.

use crate::{ids::Actor, time::Timestamp};

/// Why a step is not offered, or a workflow does not move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub reason: HoldReason,
    /// Since when.
    pub since: Option<Timestamp>,
    /// When it clears by itself; `None` when nobody can know.
    pub clears_at: Option<Timestamp>,
}

/// Every reason not to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldReason {
    /// An operator paused the workflow.
    Paused {
        /// Who.
        actor: Option<Actor>,
        /// Why.
        reason: String,
    },
    /// A guard paused the workflow.
    Violation {
        /// What it saw.
        message: String,
    },
    /// The store was restored from a backup.
    Restored,
    /// A step of the workflow waits for an operator.
    StepPaused {
        /// Which.
        step: String,
        /// Why it does.
        code: String,
        /// One sentence.
        message: String,
    },
    /// The fleet-wide brake is on.
    Brake,
    /// A guard of the step's span does not run yet.
    GuardNotRunning {
        /// Which.
        guard: String,
    },
    /// A guard of a span before the step has been asked to end and has not yet.
    GuardNotEnded {
        /// Which.
        guard: String,
    },
    /// Between two attempts.
    Backoff {
        /// Failed attempts so far.
        failures: u32,
    },
    /// A person has to decide.
    GateWaiting {
        /// Who may.
        approvers: String,
    },
    /// Time has to pass.
    Timer,
    /// A compensation waits for a person.
    Stuck {
        /// Which step.
        step: String,
        /// What to do, or why it failed.
        message: String,
    },
    /// No worker of the installation has ever announced that it reaches the places.
    NoReach {
        /// Where.
        installation: String,
        /// What is missing.
        reach: String,
    },
    /// The kind is known and no connected worker serves it.
    KindUnserved {
        /// Which.
        kind: String,
        /// Where.
        installation: String,
    },
    /// Connected workers serve the kind, and none of their builds can fetch the large output that its compensation needs.
    BuildTooOld {
        /// Which kind.
        kind: String,
        /// Where.
        installation: String,
    },
    /// No worker of the installation is heard.
    WorkerOffline {
        /// Where.
        installation: String,
    },
    /// All workers that could take it are busy.
    NoCredit {
        /// Where.
        installation: String,
        /// Which credits.
        class: String,
    },
    /// The only workers that could take it are being drained.
    Draining {
        /// Where.
        installation: String,
    },
}

impl HoldReason {
    /// Stable, kebab-case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Paused { .. } => "paused",
            Self::Violation { .. } => "violation",
            Self::Restored => "restored",
            Self::StepPaused { .. } => "step-paused",
            Self::Brake => "brake",
            Self::GuardNotRunning { .. } => "guard-not-running",
            Self::GuardNotEnded { .. } => "guard-not-ended",
            Self::Backoff { .. } => "backoff",
            Self::GateWaiting { .. } => "gate-waiting",
            Self::Timer => "timer",
            Self::Stuck { .. } => "stuck",
            Self::NoReach { .. } => "no-reach",
            Self::KindUnserved { .. } => "kind-unserved",
            Self::BuildTooOld { .. } => "build-too-old",
            Self::WorkerOffline { .. } => "worker-offline",
            Self::NoCredit { .. } => "no-credit",
            Self::Draining { .. } => "draining",
        }
    }

    /// One sentence: why.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Paused { actor, reason } => {
                let who = actor
                    .as_ref()
                    .map_or_else(|| "somebody".to_owned(), ToString::to_string);
                if reason.is_empty() {
                    format!("paused by {who}")
                } else {
                    format!("paused by {who}: {reason}")
                }
            }
            Self::Violation { message } => format!("a guard paused the workflow: {message}"),
            Self::Restored => "paused because the store was restored from a backup".to_owned(),
            Self::StepPaused {
                step,
                code,
                message,
            } => {
                format!("{step} waits for an operator: {message} [{code}]")
            }
            Self::Brake => "the fleet-wide brake is on".to_owned(),
            Self::GuardNotRunning { guard } => format!("the guard {guard} does not run yet"),
            Self::GuardNotEnded { guard } => format!("the guard {guard} has not ended yet"),
            Self::Backoff { failures } => format!("waits between attempts after {failures} failed"),
            Self::GateWaiting { approvers } => format!("waits for a decision by: {approvers}"),
            Self::Timer => "waits for a timer".to_owned(),
            Self::Stuck { step, message } => format!("taking {step} back is stuck: {message}"),
            Self::NoReach {
                installation,
                reach,
            } => {
                format!("no worker of {installation} reaches {reach}")
            }
            Self::KindUnserved { kind, installation } => {
                format!("no connected worker of {installation} serves {kind}")
            }
            Self::BuildTooOld { kind, installation } => {
                format!(
                    "no worker build of {installation} that serves {kind} can fetch its large output"
                )
            }
            Self::WorkerOffline { installation } => format!("no worker of {installation} is heard"),
            Self::NoCredit {
                installation,
                class,
            } => {
                format!("all workers of {installation} are busy with {class} steps")
            }
            Self::Draining { installation } => {
                format!("the workers of {installation} are being drained")
            }
        }
    }

    /// One sentence: what unblocks it. `workflow` is the workflow's id.
    #[must_use]
    pub fn unblock(&self, workflow: &str) -> String {
        match self {
            Self::Paused { .. } | Self::Restored => format!("drover workflow resume {workflow}"),
            Self::Violation { .. } => {
                format!(
                    "remove the cause of the violation, then: drover workflow resume {workflow}"
                )
            }
            Self::StepPaused { step, .. } => format!(
                "fix the cause, then: drover workflow retry {workflow} {} (or skip it; before the pivot, cancel)",
                for_a_shell(step)
            ),
            Self::Brake => "drover brake off".to_owned(),
            Self::GuardNotRunning { guard } => {
                format!("the guard {guard} must be taken by a worker first")
            }
            Self::GuardNotEnded { guard } => {
                format!(
                    "the guard {guard} makes its last round; if its worker is gone, its lease runs out"
                )
            }
            Self::Backoff { .. } => {
                format!(
                    "wait for the next attempt, or start it now: drover workflow retry {workflow} STEP"
                )
            }
            Self::GateWaiting { .. } => format!("drover workflow approve {workflow} (or reject)"),
            Self::Timer => "time".to_owned(),
            Self::Stuck { step, .. } => format!(
                "take it back by hand and: drover workflow skip {workflow} {}; or fix the cause and retry it",
                for_a_shell(step)
            ),
            Self::NoReach {
                installation,
                reach,
            } => {
                format!("give a pool of {installation} access to {reach}, or start one that has it")
            }
            Self::KindUnserved { kind, installation } => {
                format!("start a worker build in {installation} that serves {kind}")
            }
            Self::BuildTooOld { kind, installation } => {
                format!("start a newer worker build in {installation} that serves {kind}")
            }
            Self::WorkerOffline { installation } => {
                format!("bring a worker of {installation} back; nothing is lost meanwhile")
            }
            Self::NoCredit { installation, .. } => {
                format!("wait for a free slot, or start more workers in {installation}")
            }
            Self::Draining { installation } => {
                format!("restart the drained workers of {installation}, or start others")
            }
        }
    }
}

/// A step's id as an argument: shells take the brackets of an item's step for a pattern.
pub(super) fn for_a_shell(step: &str) -> String {
    if step.contains('[') {
        format!("'{step}'")
    } else {
        step.to_owned()
    }
}
