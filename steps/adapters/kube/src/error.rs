//! Errors of Kubernetes APIs and of the way to them, sorted by what a step has to do about them: one table.
//!
//! Codes and reasons: <https://kubernetes.io/docs/reference/using-api/api-concepts/> and `metav1.StatusReason`.

use std::{error::Error, time::Duration};

use drover_ports::{DISRUPTION_BUDGET, PortError, PortErrorKind};
use http::StatusCode;
use hyper_util::client::legacy;
use serde::Deserialize;

use crate::asked::Asked;

/// Longest piece of a foreign text that is passed on.
const LONGEST: usize = 400;

/// The parts of `metav1.Status` that say what went wrong.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    kind: String,
    reason: String,
    message: String,
    details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    retry_after_seconds: u64,
    causes: Vec<Cause>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cause {
    reason: String,
    message: String,
}

/// An answer that is no success. `retry_after` is the header of that name.
pub(crate) fn of_answer(
    asked: Asked<'_>,
    code: StatusCode,
    retry_after: Option<Duration>,
    body: &[u8],
) -> PortError {
    let status = serde_json::from_slice::<Status>(body)
        .ok()
        .filter(|status| status.kind == "Status")
        .unwrap_or_else(|| Status {
            message: String::from_utf8_lossy(body).trim().to_owned(),
            ..Status::default()
        });
    let budget = status.details.as_ref().and_then(|details| {
        let mut causes = details.causes.iter();
        causes.find(|cause| cause.reason == DISRUPTION_BUDGET)
    });
    if let Some(budget) = budget {
        // With 429, as if we had asked too often.
        let message = format!("{} {}", status.message, budget.message);
        return asked
            .error(PortErrorKind::Conflict, shortened(message.trim()))
            .with_code(DISRUPTION_BUDGET);
    }
    let kind = match code.as_u16() {
        401 => PortErrorKind::ExpiredCredentials,
        403 => PortErrorKind::Denied,
        404 => PortErrorKind::NotFound,
        409 if status.reason == "AlreadyExists" => PortErrorKind::AlreadyExists,
        409 => PortErrorKind::Conflict,
        // A list's continue token is too old: a new list will do.
        410 => PortErrorKind::Unavailable,
        429 => PortErrorKind::Throttled,
        400..=499 => PortErrorKind::Invalid,
        _ => PortErrorKind::Unavailable,
    };
    let message = if status.message.is_empty() {
        format!("the API answers {code}")
    } else {
        shortened(&status.message)
    };
    let retry_after = status
        .details
        .map(|details| Duration::from_secs(details.retry_after_seconds))
        .filter(|after| !after.is_zero())
        .or(retry_after);
    let error = asked.error(kind, message).with_code(status.reason);
    match retry_after {
        Some(after) => error.with_retry_after(after),
        None => error,
    }
}

/// No answer at all.
pub(crate) fn of_client(asked: Asked<'_>, error: &kube::Error) -> PortError {
    let kind = match error {
        kube::Error::Auth(_) => PortErrorKind::ExpiredCredentials,
        kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => PortErrorKind::Invalid,
        error if never_sent(error) => PortErrorKind::Unreachable,
        _ => silence(asked),
    };
    asked.error(kind, chain(error))
}

/// No answer in time.
pub(crate) fn of_silence(asked: Asked<'_>, after: Duration) -> PortError {
    asked.error(
        silence(asked),
        format!("no answer within {} s", after.as_secs()),
    )
}

/// An answer that says success, but not what. The change, if it was one, has been made.
pub(crate) fn of_garble(asked: Asked<'_>, what: &str) -> PortError {
    let kind = if asked.mutates {
        PortErrorKind::Lost
    } else {
        PortErrorKind::Unavailable
    };
    asked.error(kind, format!("the API's answer is no {what}"))
}

/// True when an error says something about the connection or about who we are, so that neither is to be used again.
pub(crate) fn spoils_connection(error: &PortError) -> bool {
    matches!(
        error.kind,
        PortErrorKind::Unreachable | PortErrorKind::Lost | PortErrorKind::ExpiredCredentials
    )
}

fn silence(asked: Asked<'_>) -> PortErrorKind {
    if asked.mutates {
        PortErrorKind::Lost
    } else {
        PortErrorKind::Unreachable
    }
}

/// True when there was not even a connection.
fn never_sent(error: &(dyn Error + 'static)) -> bool {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<legacy::Error>())
        .any(legacy::Error::is_connect)
}

/// An error and its causes.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// An error's causes in one line, without what a later one says again.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let parts: Vec<String> = causes(error).map(ToString::to_string).collect();
    let own: Vec<&str> = parts
        .iter()
        .enumerate()
        .filter(|(index, part)| {
            let later = parts.get(index + 1);
            !later.is_some_and(|later| part.ends_with(later.as_str()))
        })
        .map(|(_, part)| part.as_str())
        .collect();
    shortened(&own.join(": "))
}

/// A text on one line, not too long.
pub(crate) fn shortened(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(LONGEST)
        .collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Asked<'_> = Asked {
        action: "workload:get:Node",
        mutates: false,
    };
    const WRITE: Asked<'_> = Asked {
        action: "workload:apply:Node",
        mutates: true,
    };

    fn answer(code: u16, reason: &str) -> PortError {
        let body = serde_json::json!({
            "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "so it is",
        });
        let code = StatusCode::from_u16(code).unwrap();
        of_answer(READ, code, None, body.to_string().as_bytes())
    }

    #[test]
    fn the_table() {
        use PortErrorKind as Kind;
        let table = [
            (400, "BadRequest", Kind::Invalid),
            (401, "Unauthorized", Kind::ExpiredCredentials),
            (403, "Forbidden", Kind::Denied),
            (404, "NotFound", Kind::NotFound),
            (405, "MethodNotAllowed", Kind::Invalid),
            (409, "AlreadyExists", Kind::AlreadyExists),
            (409, "Conflict", Kind::Conflict),
            (410, "Expired", Kind::Unavailable),
            (415, "UnsupportedMediaType", Kind::Invalid),
            (422, "Invalid", Kind::Invalid),
            (429, "TooManyRequests", Kind::Throttled),
            (500, "InternalError", Kind::Unavailable),
            (500, "", Kind::Unavailable),
            (503, "ServiceUnavailable", Kind::Unavailable),
            (504, "Timeout", Kind::Unavailable),
        ];
        for (code, reason, kind) in table {
            let error = answer(code, reason);
            assert_eq!(error.kind, kind, "{code} {reason}");
            assert_eq!(error.code, reason);
            assert_eq!(error.message, "so it is");
            assert_eq!(error.action, READ.action);
        }
    }

    #[test]
    fn a_load_balancers_page_is_an_answer_too() {
        let error = of_answer(READ, StatusCode::BAD_GATEWAY, None, b"<html>\n bad gateway");
        assert_eq!(error.kind, PortErrorKind::Unavailable);
        assert_eq!(error.message, "<html>  bad gateway");
        let error = of_answer(READ, StatusCode::NOT_FOUND, None, b"");
        assert_eq!(error.message, "the API answers 404 Not Found");
    }

    #[test]
    fn throttling_says_for_how_long() {
        let code = StatusCode::TOO_MANY_REQUESTS;
        let header = Some(Duration::from_secs(2));
        assert_eq!(
            of_answer(READ, code, header, b"slow down").retry_after_ms,
            2_000
        );
        let body =
            br#"{"kind":"Status","reason":"TooManyRequests","details":{"retryAfterSeconds":7}}"#;
        assert_eq!(of_answer(READ, code, header, body).retry_after_ms, 7_000);
    }

    /// As a kube-apiserver answers an eviction (upstream `pkg/registry/core/pod/storage/eviction.go`).
    #[test]
    fn a_disruption_budget_is_no_throttling() {
        let body = serde_json::json!({
            "kind": "Status", "status": "Failure", "code": 429, "reason": "TooManyRequests",
            "message": "Cannot evict pod as it would violate the pod's disruption budget.",
            "details": {"causes": [{
                "reason": "DisruptionBudget",
                "message": "The disruption budget web needs 2 healthy pods and has 2 currently",
            }]},
        });
        let code = StatusCode::TOO_MANY_REQUESTS;
        let error = of_answer(WRITE, code, None, body.to_string().as_bytes());
        assert_eq!(error.kind, PortErrorKind::Conflict);
        assert_eq!(error.code, DISRUPTION_BUDGET);
        assert!(error.message.ends_with("and has 2 currently"));
    }

    #[test]
    fn silence_loses_mutations_only() {
        let after = Duration::from_secs(30);
        assert_eq!(of_silence(READ, after).kind, PortErrorKind::Unreachable);
        assert_eq!(of_silence(WRITE, after).kind, PortErrorKind::Lost);
        assert_eq!(of_garble(READ, "object").kind, PortErrorKind::Unavailable);
        assert_eq!(of_garble(WRITE, "object").kind, PortErrorKind::Lost);
    }

    #[test]
    fn long_texts_are_cut() {
        let text = shortened(&"ä".repeat(1_000));
        assert_eq!(text.chars().count(), LONGEST + 1);
    }
}
