//! Every "no" that a client can get: what kind, which stable code, which sentence.

use drover_core::{workflow::Rejection, yaml::Problem};

/// What kind of "no".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is malformed, or what it holds does not fit.
    Invalid,
    /// What it names is not there.
    NotFound,
    /// Policy or state forbid it.
    Refused,
    /// It cannot be done right now.
    Unavailable,
}

/// A "no" with its reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind.
    pub kind: Kind,
    /// Stable, kebab-case.
    pub code: &'static str,
    /// What, why, and what to do.
    pub message: String,
    /// Places in a definition, when it is about one.
    pub problems: Vec<Problem>,
}

impl Refusal {
    /// A "no".
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            code,
            message: message.into(),
            problems: Vec::new(),
        }
    }

    /// What the request names is not there.
    pub fn not_found(what: &str, name: &str) -> Self {
        Self::new(
            Kind::NotFound,
            "not-found",
            format!("there is no {what} {name:?}"),
        )
    }

    /// A definition has problems.
    pub fn problems(problems: Vec<Problem>) -> Self {
        let first = problems
            .first()
            .map_or_else(String::new, ToString::to_string);
        let more = match problems.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        Self {
            kind: Kind::Invalid,
            code: "definition-invalid",
            message: format!("the definition is not valid: {first}{more}"),
            problems,
        }
    }

    /// The engine is not there: starting, stopping, or its store failed.
    pub fn unavailable() -> Self {
        Self::new(
            Kind::Unavailable,
            "coordinator-unavailable",
            "the coordinator is starting, stopping or waiting for its store: try again",
        )
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        let kind = match &rejection {
            Rejection::NoSuchStep { .. } => Kind::NotFound,
            Rejection::ParamsInvalid { .. }
            | Rejection::TooLarge { .. }
            | Rejection::ReasonNeeded => Kind::Invalid,
            Rejection::Ended { .. }
            | Rejection::PastPivot { .. }
            | Rejection::NotLooked { .. }
            | Rejection::NotResumed
            | Rejection::Unwinding
            | Rejection::NotPaused { .. }
            | Rejection::NotRetryable { .. }
            | Rejection::NotSkippable { .. }
            | Rejection::OutputNeeded { .. }
            | Rejection::NotAGate { .. }
            | Rejection::GateNotOpen { .. }
            | Rejection::EvidenceChanged { .. }
            | Rejection::AlreadyApproved { .. }
            | Rejection::PlanDoesNotFit { .. }
            | Rejection::InCriticalSpan { .. } => Kind::Refused,
        };
        Self::new(kind, rejection.code(), rejection.to_string())
    }
}
