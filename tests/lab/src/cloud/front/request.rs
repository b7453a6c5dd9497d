//! What a request to AWS asks for, as far as it can be told without knowing every service.

use hyper::{HeaderMap, Method, Uri, header};

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Service as the signature names it; empty when the request is not signed.
    pub(super) service: String,
    /// Region as the signature names it; empty likewise.
    pub(super) region: String,
    /// Action of the query protocol, operation of the JSON protocols, or else the HTTP method.
    pub(super) action: String,
    /// Parameters of the query protocol, in their order.
    parameters: Vec<(String, String)>,
}

impl Call {
    /// Reads a request. Signatures are not checked, only read for their scope.
    pub(super) fn parse(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let query = pairs(uri.query().unwrap_or_default().as_bytes());
        let (service, region) = scope(text(header::AUTHORIZATION.as_str()), &query);
        let form = text(header::CONTENT_TYPE.as_str())
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let parameters = if form { pairs(body) } else { query };
        let action = parameter(&parameters, "Action")
            .or_else(|| {
                text("x-amz-target").map(|target| target.rsplit('.').next().unwrap_or(target))
            })
            .unwrap_or(method.as_str())
            .to_owned();
        Self {
            service,
            region,
            action,
            parameters,
        }
    }

    /// A parameter of the query protocol.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        parameter(&self.parameters, name)
    }

    /// The instance ids of a call to a classic load balancer.
    pub(super) fn instances(&self) -> Vec<String> {
        self.parameters
            .iter()
            .filter(|(name, _)| is_instance(name))
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// The same call's body with other instances.
    pub(super) fn body_with_instances<'a>(&self, ids: impl Iterator<Item = &'a String>) -> String {
        let mut body = form_urlencoded::Serializer::new(String::new());
        let others = self
            .parameters
            .iter()
            .filter(|(name, _)| !is_instance(name));
        body.extend_pairs(others);
        for (n, id) in (1..).zip(ids) {
            body.append_pair(&format!("Instances.member.{n}.InstanceId"), id);
        }
        body.finish()
    }

    /// Whether it may change something that load balancers here follow.
    pub(super) fn changes_traffic(&self) -> bool {
        let service = ["ec2", "elasticloadbalancing", "autoscaling"].contains(&&*self.service);
        service && !self.action.starts_with("Describe") && !self.action.starts_with("Get")
    }
}

fn is_instance(name: &str) -> bool {
    name.starts_with("Instances.member.") && name.ends_with(".InstanceId")
}

fn pairs(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).into_owned().collect()
}

fn parameter<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let (_, value) = parameters.iter().find(|(key, _)| key == name)?;
    Some(value)
}

/// Service and region of a signature, in the header or in a presigned URL: its credential is
/// `<key>/<day>/<region>/<service>/aws4_request`.
fn scope(authorization: Option<&str>, query: &[(String, String)]) -> (String, String) {
    let credential = authorization
        .and_then(|text| text.split_once("Credential="))
        .map(|(_, rest)| rest.split(',').next().unwrap_or(rest))
        .or_else(|| parameter(query, "X-Amz-Credential"))
        .unwrap_or_default();
    let parts: Vec<&str> = credential.trim().split('/').collect();
    match parts[..] {
        [_, _, region, service, _] => (service.to_owned(), region.to_owned()),
        _ => (String::new(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: Method, uri: &str, headers: &[(&'static str, &str)], body: &str) -> Call {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        Call::parse(&method, &uri.parse().unwrap(), &headers, body.as_bytes())
    }

    fn query(service: &str, body: &str) -> Call {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIA/20260102/cn-north-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let headers = [
            ("authorization", &*authorization),
            (
                "content-type",
                "application/x-www-form-urlencoded; charset=utf-8",
            ),
        ];
        call(Method::POST, "/", &headers, body)
    }

    const REGISTER: &str = "Action=RegisterInstancesWithLoadBalancer&Version=2012-06-01&LoadBalancerName=ab1-api\
        &Instances.member.1.InstanceId=i-1&Instances.member.2.InstanceId=i-2";

    #[test]
    fn query_calls_are_read() {
        let call = query("elasticloadbalancing", REGISTER);
        assert_eq!(call.service, "elasticloadbalancing");
        assert_eq!(call.region, "cn-north-1");
        assert_eq!(call.action, "RegisterInstancesWithLoadBalancer");
        assert_eq!(call.parameter("LoadBalancerName"), Some("ab1-api"));
        assert_eq!(call.instances(), ["i-1", "i-2"]);
    }

    #[test]
    fn instances_are_exchanged_and_nothing_else() {
        let call = query("elasticloadbalancing", REGISTER);
        let other = query(
            "elasticloadbalancing",
            &call.body_with_instances(["i-9".to_owned()].iter()),
        );
        assert_eq!(other.instances(), ["i-9"]);
        assert_eq!(other.action, call.action);
        assert_eq!(other.parameter("LoadBalancerName"), Some("ab1-api"));
        assert_eq!(other.parameter("Version"), Some("2012-06-01"));
    }

    #[test]
    fn other_protocols_have_an_action_too() {
        let target = [("x-amz-target", "secretsmanager.CreateSecret")];
        assert_eq!(
            call(Method::POST, "/", &target, "{}").action,
            "CreateSecret"
        );
        let presigned =
            "/bucket/key?X-Amz-Credential=AKIA%2F20260102%2Feu-central-1%2Fs3%2Faws4_request";
        let call = call(Method::GET, presigned, &[], "");
        assert_eq!((&*call.service, &*call.region), ("s3", "eu-central-1"));
        assert_eq!(call.action, "GET");
    }

    #[test]
    fn only_changes_wake_the_load_balancers() {
        assert!(query("elasticloadbalancing", REGISTER).changes_traffic());
        assert!(query("ec2", "Action=TerminateInstances").changes_traffic());
        assert!(!query("ec2", "Action=DescribeInstances").changes_traffic());
        assert!(!query("sts", "Action=AssumeRole").changes_traffic());
    }
}
