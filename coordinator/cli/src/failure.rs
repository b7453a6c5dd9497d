//! How the command fails: one line on stderr, and an exit code that scripts can trust.

use std::{fmt, process::ExitCode};

use drover_core::workflow::INPUT_BYTES_MAX;
use tonic::{Code, Status};

/// The documented exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was tried and did not work.
    Failed = 1,
    /// What was given is not right.
    Usage = 2,
    /// What was named is not there.
    NotFound = 3,
    /// Policy or state forbid it.
    Refused = 4,
    /// Nobody answers.
    Unreachable = 5,
    /// It did not happen in time.
    TimedOut = 6,
}

/// What went wrong, why, and what to do next.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let code = status
            .metadata()
            .get("drover-code")
            .and_then(|code| code.to_str().ok())
            .unwrap_or("");
        // The transport says so before any service sees the request.
        if status.code() == Code::OutOfRange && code.is_empty() {
            return Self::usage(format!(
                "the request is larger than the coordinator takes; an input may have {INPUT_BYTES_MAX} bytes [input-too-large]"
            ));
        }
        // Made by this side's transport, not sent by the coordinator: the connection broke, or never was.
        let broken = std::error::Error::source(&status).is_some();
        let exit = match status.code() {
            _ if broken => Exit::Unreachable,
            Code::InvalidArgument => Exit::Usage,
            Code::NotFound => Exit::NotFound,
            Code::FailedPrecondition => Exit::Refused,
            // The coordinator is there and says no: it is not unreachable.
            Code::Unavailable
                if code.starts_with("storage-")
                    || code.starts_with("command-")
                    || code == "worker-offline" =>
            {
                Exit::Refused
            }
            Code::Unavailable | Code::DeadlineExceeded => Exit::Unreachable,
            _ => Exit::Failed,
        };
        let mut message = status.message().to_owned();
        if broken && status.code() == Code::Unknown {
            message = format!("the connection to the coordinator broke ({message})");
        }
        if message.is_empty() {
            message = format!("{:?}", status.code());
        }
        if !code.is_empty() {
            message = format!("{message} [{code}]");
        }
        Self { exit, message }
    }
}

/// Output that nobody reads any more is no failure worth a word.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Failed, "");
        }
        Self::failed(error.to_string())
    }
}

/// Says it, when there is anything to say.
pub(crate) fn complain(failure: &Failure) {
    use std::io::Write as _;
    if !failure.message.is_empty() {
        // Without stderr the exit code says it.
        drop(writeln!(anstream::stderr(), "drover: {}", failure.message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_breaks_is_nobody_who_answers() {
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let status = Status::from_error(Box::new(broken));
        assert_eq!(Failure::from(status).exit, Exit::Unreachable);
        // What the coordinator says itself is another thing.
        assert_eq!(Failure::from(Status::unknown("no")).exit, Exit::Failed);
    }
}
