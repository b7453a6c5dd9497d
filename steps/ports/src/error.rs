//! What went wrong outside, sorted by what a step has to do about it.

use std::{error::Error, fmt, time::Duration};

use drover_step_api::StepError;
use serde::{Deserialize, Serialize};

/// Sorted by what a step has to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortErrorKind {
    /// The object is not there. For a delete this is success.
    NotFound,
    /// The object is there already.
    AlreadyExists,
    /// A precondition (resourceVersion, field ownership) does not hold.
    Conflict,
    /// The credentials may not do this.
    Denied,
    /// The request is malformed or names something impossible.
    Invalid,
    /// Too many requests; nothing happened.
    Throttled,
    /// The credentials have expired; nothing happened.
    ExpiredCredentials,
    /// The connection failed before the request was sent; nothing happened.
    Unreachable,
    /// The reply was lost; it may have happened.
    Lost,
    /// The far side failed; it may have happened.
    Unavailable,
    /// The step called something it did not declare, or a reply had the wrong shape: a bug.
    Bug,
}

/// An error of an outside call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortError {
    /// Sorted by what to do.
    pub kind: PortErrorKind,
    /// The action that failed, for example `ec2:DescribeInstances`.
    pub action: String,
    /// The far side's own code, for example `InvalidInstance`; empty when it gave none.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// Earliest sensible next try, milliseconds; 0 when unknown.
    pub retry_after_ms: u64,
}

impl PortError {
    /// An error of `action`.
    pub fn new(kind: PortErrorKind, action: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            action: action.into(),
            code: String::new(),
            message: message.into(),
            retry_after_ms: 0,
        }
    }

    /// With the far side's own code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// With the earliest sensible next try.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// True for [`PortErrorKind::NotFound`].
    pub fn is_not_found(&self) -> bool {
        self.kind == PortErrorKind::NotFound
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            action,
            code,
            message,
            ..
        } = self;
        if code.is_empty() {
            write!(f, "{action}: {message}")
        } else {
            write!(f, "{action}: {code}: {message}")
        }
    }
}

impl Error for PortError {}

/// The one table that turns port errors into step errors. `Refused` is never said here: after an earlier mutation of
/// the same attempt it would be a lie; steps say it themselves where they know it.
impl From<PortError> for StepError {
    fn from(error: PortError) -> Self {
        let message = error.to_string();
        let retry_after = Duration::from_millis(error.retry_after_ms);
        let step_error = match error.kind {
            PortErrorKind::NotFound => Self::failed("not-found", message),
            PortErrorKind::AlreadyExists => Self::failed("already-exists", message),
            PortErrorKind::Conflict => Self::transient("conflict", message),
            PortErrorKind::Denied => Self::failed("denied", message),
            PortErrorKind::Invalid => Self::failed("invalid-request", message),
            PortErrorKind::Throttled => Self::transient("throttled", message),
            PortErrorKind::ExpiredCredentials => Self::transient("credentials-expired", message),
            PortErrorKind::Unreachable => Self::transient("unreachable", message),
            PortErrorKind::Lost => Self::transient("reply-lost", message),
            PortErrorKind::Unavailable => Self::transient("unavailable", message),
            PortErrorKind::Bug => Self::failed("bug", message),
        };
        let step_error = if retry_after.is_zero() {
            step_error
        } else {
            step_error.with_retry_after(retry_after)
        };
        step_error.with_source(error)
    }
}
