//! What AWS and the SDK say went wrong, sorted as steps need it.
//!
//! The codes are those of the "Common errors" and "Error codes" pages of the API references of EC2, Elastic Load
//! Balancing (2012-06-01), Auto Scaling and STS.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use drover_ports::{CloudCall, PortError, PortErrorKind};

/// What was asked, as far as errors tell it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// As IAM names it.
    pub(crate) action: &'static str,
    /// True when something changes.
    pub(crate) mutates: bool,
}

impl Asked {
    pub(crate) fn of(call: &CloudCall) -> Self {
        Self {
            action: call.action(),
            mutates: call.mutates(),
        }
    }

    /// The far side is silent after the request was sent.
    fn silence(self) -> PortErrorKind {
        if self.mutates {
            PortErrorKind::Lost
        } else {
            PortErrorKind::Unreachable
        }
    }
}

/// What codes mean that neither their form nor the HTTP status tells.
const CODES: &[(&str, PortErrorKind)] = &[
    ("Throttling", PortErrorKind::Throttled),
    ("ThrottlingException", PortErrorKind::Throttled),
    ("ThrottledException", PortErrorKind::Throttled),
    ("RequestThrottled", PortErrorKind::Throttled),
    ("RequestThrottledException", PortErrorKind::Throttled),
    ("RequestLimitExceeded", PortErrorKind::Throttled),
    ("EC2ThrottledException", PortErrorKind::Throttled),
    ("TooManyRequestsException", PortErrorKind::Throttled),
    ("AccessDenied", PortErrorKind::Denied),
    ("AccessDeniedException", PortErrorKind::Denied),
    ("AuthFailure", PortErrorKind::Denied),
    ("Blocked", PortErrorKind::Denied),
    ("InvalidClientTokenId", PortErrorKind::Denied),
    ("MissingAuthenticationToken", PortErrorKind::Denied),
    ("NotAuthorized", PortErrorKind::Denied),
    ("OperationNotPermitted", PortErrorKind::Denied),
    ("OptInRequired", PortErrorKind::Denied),
    ("PendingVerification", PortErrorKind::Denied),
    ("SignatureDoesNotMatch", PortErrorKind::Denied),
    ("UnauthorizedOperation", PortErrorKind::Denied),
    ("UnrecognizedClientException", PortErrorKind::Denied),
    ("ExpiredToken", PortErrorKind::ExpiredCredentials),
    ("ExpiredTokenException", PortErrorKind::ExpiredCredentials),
    ("RequestExpired", PortErrorKind::ExpiredCredentials),
    // What EC2 says of a resource that is to be tagged and does not exist.
    ("InvalidID", PortErrorKind::NotFound),
    ("DependencyViolation", PortErrorKind::Conflict),
    ("IncorrectInstanceState", PortErrorKind::Conflict),
    ("IncorrectState", PortErrorKind::Conflict),
    ("InvalidGroup.InUse", PortErrorKind::Conflict),
    ("ResourceContention", PortErrorKind::Conflict),
    ("ResourceInUse", PortErrorKind::Conflict),
    ("ScalingActivityInProgress", PortErrorKind::Conflict),
    ("InternalError", PortErrorKind::Unavailable),
    ("InternalFailure", PortErrorKind::Unavailable),
    ("RequestTimeout", PortErrorKind::Unavailable),
    ("ServiceUnavailable", PortErrorKind::Unavailable),
    ("Unavailable", PortErrorKind::Unavailable),
];

/// Auto Scaling has no code of its own for a group, an instance of a group, or a wait of an instance that does not exist.
const ABSENT: [&str; 3] = [
    "name not found",
    "Instance Id not found",
    "No active Lifecycle Action found",
];

/// The kind of an answer that is an error.
fn kind_of(code: &str, message: &str, status: u16) -> PortErrorKind {
    if let Some((_, kind)) = CODES.iter().find(|(known, _)| *known == code) {
        return *kind;
    }
    // `InvalidInstanceID.NotFound`, `InvalidVpcID.NotFound`, `LoadBalancerNotFound`.
    if code.ends_with("NotFound") {
        return PortErrorKind::NotFound;
    }
    if code == "ValidationError" && ABSENT.iter().any(|absent| message.contains(absent)) {
        return PortErrorKind::NotFound;
    }
    match status {
        401 | 403 => PortErrorKind::Denied,
        429 => PortErrorKind::Throttled,
        500.. => PortErrorKind::Unavailable,
        _ => PortErrorKind::Invalid,
    }
}

/// Sorts an error of the SDK.
pub(crate) fn sort<E>(asked: Asked, error: SdkError<E, HttpResponse>) -> PortError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    if let SdkError::ServiceError(answer) = &error {
        let code = answer.err().code().unwrap_or_default();
        let message = answer.err().message().unwrap_or("AWS gave no reason");
        let kind = kind_of(code, message, answer.raw().status().as_u16());
        return PortError::new(kind, asked.action, message).with_code(code);
    }
    if let Some(why) = source::<CredentialsError>(&error) {
        return credentials(asked, why);
    }
    let (kind, message) = match &error {
        SdkError::ConstructionFailure(_) => (
            PortErrorKind::Invalid,
            "the request could not be put together",
        ),
        SdkError::TimeoutError(_) => (asked.silence(), "no answer in time"),
        SdkError::DispatchFailure(_) => {
            let never_sent = source::<hyper_util::client::legacy::Error>(&error)
                .is_some_and(hyper_util::client::legacy::Error::is_connect);
            if never_sent {
                (PortErrorKind::Unreachable, "no connection")
            } else {
                (asked.silence(), "the connection broke")
            }
        }
        _ => (PortErrorKind::Unavailable, "the answer makes no sense"),
    };
    let why = root(&error);
    PortError::new(kind, asked.action, format!("{message}: {why}"))
}

/// Nothing was sent, because there was nothing to sign it with.
fn credentials(asked: Asked, why: &CredentialsError) -> PortError {
    let kind = match why {
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
            PortErrorKind::Denied
        }
        _ => PortErrorKind::Unreachable,
    };
    let message = format!("no credentials: {}", root(why));
    PortError::new(kind, asked.action, message).with_code("NoCredentials")
}

fn source<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        at = error.source();
    }
    None
}

/// The innermost error: the others only say that there is one.
fn root<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    let mut at = error;
    while let Some(inner) = at.source() {
        at = inner;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_a_step_has_to_do() {
        use PortErrorKind as Kind;
        let table = [
            ("Throttling", 400, Kind::Throttled),
            ("RequestLimitExceeded", 503, Kind::Throttled),
            ("AccessDenied", 403, Kind::Denied),
            ("UnauthorizedOperation", 403, Kind::Denied),
            ("AuthFailure", 401, Kind::Denied),
            ("ExpiredToken", 403, Kind::ExpiredCredentials),
            ("ExpiredTokenException", 400, Kind::ExpiredCredentials),
            ("RequestExpired", 400, Kind::ExpiredCredentials),
            ("InvalidInstanceID.NotFound", 400, Kind::NotFound),
            ("InvalidVpcID.NotFound", 400, Kind::NotFound),
            ("InvalidGroup.NotFound", 400, Kind::NotFound),
            ("LoadBalancerNotFound", 400, Kind::NotFound),
            ("InvalidID", 400, Kind::NotFound),
            ("InvalidInstance", 400, Kind::Invalid),
            ("InvalidInstanceID.Malformed", 400, Kind::Invalid),
            ("ValidationError", 400, Kind::Invalid),
            ("DependencyViolation", 400, Kind::Conflict),
            ("ScalingActivityInProgress", 400, Kind::Conflict),
            ("InternalError", 500, Kind::Unavailable),
            ("", 502, Kind::Unavailable),
            ("", 403, Kind::Denied),
            ("", 429, Kind::Throttled),
            ("", 404, Kind::Invalid),
        ];
        for (code, status, kind) in table {
            assert_eq!(kind_of(code, "", status), kind, "{code} {status}");
        }
    }

    #[test]
    fn a_group_that_does_not_exist_is_told_by_its_message() {
        let message = "AutoScalingGroup name not found - null";
        let kind = kind_of("ValidationError", message, 400);
        assert_eq!(kind, PortErrorKind::NotFound);
    }

    #[test]
    fn no_code_stands_twice() {
        for (n, (code, _)) in CODES.iter().enumerate() {
            let again = CODES[n + 1..].iter().any(|(other, _)| other == code);
            assert!(!again, "{code}");
        }
    }
}
