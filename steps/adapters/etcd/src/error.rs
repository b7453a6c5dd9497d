//! etcd's errors, sorted by what a step has to do about them: one table.
//!
//! Codes and texts are those of etcd's `api/v3rpc/rpctypes`, the same from 3.4 to 3.6.

use std::{error::Error, time::Duration};

use drover_ports::{PortError, PortErrorKind};
use tonic::{Code, Status};

/// What a call does decides what a missing reply means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The action as permissions name it.
    pub(crate) action: &'a str,
    /// True when it changes something.
    pub(crate) mutates: bool,
}

impl Asked<'_> {
    /// The same call's look beforehand, which changes nothing.
    pub(crate) fn reading(self) -> Self {
        Self {
            mutates: false,
            ..self
        }
    }

    /// An error of this call.
    pub(crate) fn error(&self, kind: PortErrorKind, message: impl Into<String>) -> PortError {
        PortError::new(kind, self.action, message)
    }

    /// The reply did not come in time: a mutation may have happened.
    pub(crate) fn late(&self, after: Duration) -> PortError {
        let kind = if self.mutates {
            PortErrorKind::Lost
        } else {
            PortErrorKind::Unavailable
        };
        self.error(kind, format!("no answer within {} s", after.as_secs()))
    }

    /// The error of an adapter that was asked on the way. Nothing has been sent to etcd yet, so nothing may be lost, and
    /// what is missing is the way, not the member.
    pub(crate) fn on_the_way(&self, error: PortError) -> PortError {
        let kind = match error.kind {
            PortErrorKind::NotFound | PortErrorKind::Lost => PortErrorKind::Unreachable,
            kind => kind,
        };
        PortError {
            kind,
            action: self.action.to_owned(),
            // Another side's code says nothing about etcd.
            code: String::new(),
            message: format!("{}: {}", error.action, error.message),
            ..error
        }
    }

    /// An answer of etcd that is an error, or the end of a connection.
    pub(crate) fn refused(&self, status: &Status) -> PortError {
        let text = status.message();
        // etcd's own errors say so; all others are made on the way, by gRPC or the transport.
        if !text.starts_with("etcdserver:") {
            return match status.code() {
                Code::Unauthenticated | Code::PermissionDenied => {
                    self.error(PortErrorKind::Denied, text)
                }
                Code::InvalidArgument | Code::Unimplemented | Code::OutOfRange => {
                    self.error(PortErrorKind::Invalid, text)
                }
                Code::DeadlineExceeded if !self.mutates => {
                    self.error(PortErrorKind::Unavailable, text)
                }
                _ if self.mutates => self.error(PortErrorKind::Lost, chain(status)),
                _ => self.error(PortErrorKind::Unreachable, chain(status)),
            };
        }
        let kind = match status.code() {
            Code::NotFound => PortErrorKind::NotFound,
            Code::Unauthenticated | Code::PermissionDenied => PortErrorKind::Denied,
            Code::InvalidArgument => PortErrorKind::Invalid,
            Code::ResourceExhausted if text.contains("too many requests") => {
                PortErrorKind::Throttled
            }
            // Only a bystander of another change may be wrong about it a moment later.
            Code::FailedPrecondition if text.contains("lead") => PortErrorKind::Unavailable,
            Code::FailedPrecondition => PortErrorKind::Conflict,
            _ if self.mutates && text.contains("timed out") => PortErrorKind::Lost,
            _ => PortErrorKind::Unavailable,
        };
        self.error(kind, text).with_code(text)
    }
}

/// An error with its causes, in one line: gRPC alone only says "transport error".
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Asked<'_> = Asked {
        action: "etcd:MemberList",
        mutates: false,
    };
    const WRITE: Asked<'_> = Asked {
        action: "etcd:MemberRemove",
        mutates: true,
    };

    #[test]
    fn the_table() {
        use PortErrorKind as Kind;
        let table = [
            (
                Code::NotFound,
                "etcdserver: member not found",
                Kind::NotFound,
                Kind::NotFound,
            ),
            (
                Code::Unavailable,
                "etcdserver: no leader",
                Kind::Unavailable,
                Kind::Unavailable,
            ),
            (
                Code::Unavailable,
                "etcdserver: leader changed",
                Kind::Unavailable,
                Kind::Unavailable,
            ),
            (
                Code::Unavailable,
                "etcdserver: request timed out",
                Kind::Unavailable,
                Kind::Lost,
            ),
            (
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to connection lost",
                Kind::Unavailable,
                Kind::Lost,
            ),
            (
                Code::Unavailable,
                "etcdserver: unhealthy cluster",
                Kind::Unavailable,
                Kind::Unavailable,
            ),
            (
                Code::FailedPrecondition,
                "etcdserver: re-configuration failed due to not enough started members",
                Kind::Conflict,
                Kind::Conflict,
            ),
            (
                Code::FailedPrecondition,
                "etcdserver: not leader",
                Kind::Unavailable,
                Kind::Unavailable,
            ),
            (
                Code::FailedPrecondition,
                "etcdserver: bad leader transferee",
                Kind::Unavailable,
                Kind::Unavailable,
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                Kind::Unavailable,
                Kind::Unavailable,
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: too many requests",
                Kind::Throttled,
                Kind::Throttled,
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                Kind::Denied,
                Kind::Denied,
            ),
            (
                Code::Unavailable,
                "transport error",
                Kind::Unreachable,
                Kind::Lost,
            ),
            (
                Code::Cancelled,
                "operation was canceled",
                Kind::Unreachable,
                Kind::Lost,
            ),
            (Code::Unknown, "broken pipe", Kind::Unreachable, Kind::Lost),
            (
                Code::DeadlineExceeded,
                "context deadline exceeded",
                Kind::Unavailable,
                Kind::Lost,
            ),
            (
                Code::Unimplemented,
                "unknown method",
                Kind::Invalid,
                Kind::Invalid,
            ),
        ];
        for (code, text, read, write) in table {
            let status = Status::new(code, text);
            assert_eq!(READ.refused(&status).kind, read, "read: {text}");
            assert_eq!(WRITE.refused(&status).kind, write, "write: {text}");
        }
    }

    #[test]
    fn etcds_own_words_are_the_code() {
        let error = WRITE.refused(&Status::new(Code::NotFound, "etcdserver: member not found"));
        assert_eq!(error.code, "etcdserver: member not found");
        assert_eq!(error.action, "etcd:MemberRemove");
    }

    #[test]
    fn a_missing_pod_is_no_missing_member() {
        let tunnel = PortError::new(PortErrorKind::NotFound, "workload:get:Pod", "gone");
        let error = WRITE.on_the_way(tunnel);
        assert_eq!(error.kind, PortErrorKind::Unreachable);
        assert_eq!(error.action, "etcd:MemberRemove");
    }

    #[test]
    fn silence_loses_mutations_only() {
        assert_eq!(
            READ.late(Duration::from_secs(10)).kind,
            PortErrorKind::Unavailable
        );
        assert_eq!(
            WRITE.late(Duration::from_secs(10)).kind,
            PortErrorKind::Lost
        );
    }
}
