//! Answers that the front gives itself, in the shapes of the services.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::{HeaderMap, Response, StatusCode, header};

use super::request::Call;
use crate::cloud::{faults::Effect, health::State};

/// Request id of all answers that are the front's own: so that they can be told from moto's.
const REQUEST_ID: &str = "d20ce200-0000-4000-8000-00000000f407";
const ELB: &str = "http://elasticloadbalancing.amazonaws.com/doc/2012-06-01/";

/// An error as a service words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    /// Instances that do not exist or have been terminated.
    pub(super) fn invalid_instance(ids: &[String]) -> Self {
        let message = format!("Could not find EC2 instance {}.", ids.join(", "));
        Self::new(StatusCode::BAD_REQUEST, "InvalidInstance", message)
    }

    /// A load balancer that does not exist.
    pub(super) fn no_load_balancer(name: &str) -> Self {
        let message = format!("There is no ACTIVE Load Balancer named '{name}'");
        Self::new(StatusCode::BAD_REQUEST, "LoadBalancerNotFound", message)
    }

    /// What a fault makes of a call; `None` for faults that refuse nothing. Codes differ by service: EC2 has its own.
    /// Source: *Common errors* in the API references of EC2, Elastic Load Balancing and S3.
    pub(super) fn of_fault(effect: Effect, service: &str) -> Option<Self> {
        let (status, code, message) = match (effect, service) {
            (Effect::Throttled, "ec2") => (503, "RequestLimitExceeded", "Request limit exceeded."),
            (Effect::Throttled, "s3") => (503, "SlowDown", "Please reduce your request rate."),
            (Effect::Throttled, _) => (400, "Throttling", "Rate exceeded"),
            (Effect::Denied, "ec2") => (
                403,
                "UnauthorizedOperation",
                "You are not authorized to perform this operation.",
            ),
            (Effect::Denied, _) => (
                403,
                "AccessDenied",
                "User is not authorized to perform this action",
            ),
            (Effect::ExpiredCredentials, "ec2") => (400, "RequestExpired", "Request has expired."),
            (Effect::ExpiredCredentials, _) => (
                403,
                "ExpiredToken",
                "The security token included in the request is expired",
            ),
            (Effect::Latency(_) | Effect::LostReply, _) => return None,
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        Some(Self::new(status, code, message.to_owned()))
    }

    fn new(status: StatusCode, code: &'static str, message: String) -> Self {
        Self {
            status,
            code,
            message,
        }
    }

    /// The answer to a call.
    pub(super) fn answer(&self, call: &Call, headers: &HeaderMap) -> Response<Bytes> {
        if headers.contains_key("x-amz-target") {
            let body = serde_json::json!({ "__type": self.code, "message": self.message });
            return respond(self.status, "application/x-amz-json-1.1", body.to_string());
        }
        respond(self.status, "text/xml", self.xml(&call.service))
    }

    fn xml(&self, service: &str) -> String {
        let code = self.code;
        let message = escape(&self.message);
        let error = format!("<Code>{code}</Code><Message>{message}</Message>");
        match service {
            "ec2" => format!(
                "<Response><Errors><Error>{error}</Error></Errors><RequestID>{REQUEST_ID}</RequestID></Response>"
            ),
            "s3" => format!("<Error>{error}<RequestId>{REQUEST_ID}</RequestId></Error>"),
            _ => format!(
                "<ErrorResponse xmlns=\"{}\"><Error><Type>Sender</Type>{error}</Error><RequestId>{REQUEST_ID}</RequestId></ErrorResponse>",
                namespace(service)
            ),
        }
    }
}

/// Namespace of a query service's documents.
fn namespace(service: &str) -> &'static str {
    match service {
        "autoscaling" => "http://autoscaling.amazonaws.com/doc/2011-01-01/",
        "iam" => "https://iam.amazonaws.com/doc/2010-05-08/",
        "sts" => "https://sts.amazonaws.com/doc/2011-06-15/",
        _ => ELB,
    }
}

/// The answer to a call that registered or deregistered instances: those that are registered now.
pub(super) fn registered<'a>(
    action: &str,
    ids: impl Iterator<Item = &'a String>,
) -> Response<Bytes> {
    let members: String = ids
        .map(|id| format!("<member><InstanceId>{}</InstanceId></member>", escape(id)))
        .collect();
    elb(action, &format!("<Instances>{members}</Instances>"))
}

/// The answer to `DescribeInstanceHealth`.
pub(super) fn health(states: &BTreeMap<String, State>) -> Response<Bytes> {
    let members: String = states
        .iter()
        .map(|(id, state)| {
            format!(
                "<member><InstanceId>{}</InstanceId><State>{}</State><ReasonCode>{}</ReasonCode><Description>{}</Description></member>",
                escape(id),
                state.word(),
                state.reason_code(),
                escape(&state.description()),
            )
        })
        .collect();
    let result = format!("<InstanceStates>{members}</InstanceStates>");
    elb("DescribeInstanceHealth", &result)
}

fn elb(action: &str, result: &str) -> Response<Bytes> {
    let body = format!(
        "<{action}Response xmlns=\"{ELB}\"><{action}Result>{result}</{action}Result><ResponseMetadata><RequestId>{REQUEST_ID}</RequestId></ResponseMetadata></{action}Response>"
    );
    respond(StatusCode::OK, "text/xml", body)
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_shape_of_its_service() {
        let refusal = Refusal::invalid_instance(&["i-1".to_owned()]);
        let check = |service: &str, begin: &str| {
            let xml = refusal.xml(service);
            assert!(xml.starts_with(begin), "{xml}");
            assert!(xml.contains("<Code>InvalidInstance</Code>"), "{xml}");
        };
        check(
            "elasticloadbalancing",
            "<ErrorResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2012-06-01/\"><Error><Type>Sender</Type>",
        );
        check("ec2", "<Response><Errors><Error>");
        check("s3", "<Error>");
    }

    #[test]
    fn faults_have_the_codes_of_their_service() {
        for (effect, service, code) in [
            (Effect::Throttled, "ec2", Some("RequestLimitExceeded")),
            (
                Effect::Throttled,
                "elasticloadbalancing",
                Some("Throttling"),
            ),
            (Effect::Denied, "ec2", Some("UnauthorizedOperation")),
            (Effect::Denied, "autoscaling", Some("AccessDenied")),
            (Effect::ExpiredCredentials, "ec2", Some("RequestExpired")),
            (Effect::ExpiredCredentials, "sts", Some("ExpiredToken")),
            (Effect::LostReply, "ec2", None),
        ] {
            let refusal = Refusal::of_fault(effect, service);
            assert_eq!(
                refusal.map(|refusal| refusal.code),
                code,
                "{effect:?} {service}"
            );
        }
    }

    #[test]
    fn text_cannot_break_the_document() {
        assert_eq!(escape("<a> & b"), "&lt;a&gt; &amp; b");
    }
}
