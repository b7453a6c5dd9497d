//! What a step says when it did not succeed.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

/// What is known about the world after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Certainty {
    /// It may have happened; trying again is sensible.
    Transient,
    /// It did not happen and will not with these parameters. Only this, on every attempt, exempts a step from
    /// compensation, so it may be said only before the first mutation of an attempt.
    Refused,
    /// It was tried and given up, and may have left something. Waits for an operator.
    Failed,
    /// It was stopped because the coordinator asked for it.
    Cancelled,
    /// The target of the migration no longer exists.
    Gone,
    /// The attempt no longer counts, or its lease is not known any more: nothing else may be done.
    Superseded,
    /// Stopped at a safe point because of a pause; the next attempt goes on from the last checkpoint.
    Yielded,
}

/// Why an attempt did not succeed: certainty, stable code, one sentence for the operator.
#[derive(Debug)]
pub struct StepError {
    certainty: Certainty,
    code: Cow<'static, str>,
    message: String,
    retry_after: Option<Duration>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StepError {
    fn new(
        certainty: Certainty,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            certainty,
            code: code.into(),
            message: message.into(),
            retry_after: None,
            source: None,
        }
    }

    /// See [`Certainty::Transient`].
    pub fn transient(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Certainty::Transient, code, message)
    }

    /// See [`Certainty::Refused`].
    pub fn refused(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Certainty::Refused, code, message)
    }

    /// See [`Certainty::Failed`].
    pub fn failed(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Certainty::Failed, code, message)
    }

    /// See [`Certainty::Gone`].
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(Certainty::Gone, "gone", message)
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(
            Certainty::Cancelled,
            "cancelled",
            "the coordinator asked the attempt to stop",
        )
    }

    pub(crate) fn superseded() -> Self {
        Self::new(
            Certainty::Superseded,
            "superseded",
            "a newer attempt counts; this one has no permit any more",
        )
    }

    pub(crate) fn yielded() -> Self {
        Self::new(
            Certainty::Yielded,
            "yielded",
            "stopped at a safe point because of a pause",
        )
    }

    /// The earliest sensible time of another attempt, counted from now.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// The error underneath, for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// What is known about the world.
    pub fn certainty(&self) -> Certainty {
        self.certainty
    }

    /// Stable, kebab-case.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// One sentence for the operator.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// See [`StepError::with_retry_after`].
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl Error for StepError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}
