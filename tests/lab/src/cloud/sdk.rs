//! SDK clients of the fake cloud.

use aws_config::{BehaviorVersion, Region, SdkConfig, timeout::TimeoutConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use std::time::Duration;

/// The access key of the lab itself. moto takes any, and checks no signature.
pub(super) const ACCESS_KEY: &str = "AKIALABLABLABLABLABL";

/// Clients of one region.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    /// EC2.
    pub(super) ec2: aws_sdk_ec2::Client,
    /// Classic load balancers.
    pub(crate) elb: aws_sdk_elasticloadbalancing::Client,
    /// Auto Scaling.
    pub(super) auto_scaling: aws_sdk_autoscaling::Client,
}

impl Clients {
    /// Clients that speak to an endpoint (`http://…`), as if it were the region's.
    pub(crate) fn new(endpoint: &str, region: &str) -> Self {
        let credentials = Credentials::new(ACCESS_KEY, "secret", None, None, "lab");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .endpoint_url(endpoint)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(
                Builder::new()
                    .tls_provider(Provider::Rustls(CryptoMode::Ring))
                    .build_https(),
            )
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_attempt_timeout(Duration::from_secs(20))
                    .build(),
            )
            .build();
        Self {
            ec2: aws_sdk_ec2::Client::new(&config),
            elb: aws_sdk_elasticloadbalancing::Client::new(&config),
            auto_scaling: aws_sdk_autoscaling::Client::new(&config),
        }
    }
}
