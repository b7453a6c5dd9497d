//! Clients of the SDK: how they connect, how long they wait, how often they try.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};

use crate::{AwsConfig, error::Asked};

/// How long a connection may take to come up, TLS included.
const CONNECT: Duration = Duration::from_secs(3);

/// How long one request may take, until its whole answer is there.
const ATTEMPT: Duration = Duration::from_secs(10);

/// How often a read is tried.
const READ_ATTEMPTS: u32 = 2;

/// One client a service.
pub(crate) struct Services {
    pub(crate) ec2: aws_sdk_ec2::Client,
    pub(crate) elb: aws_sdk_elasticloadbalancing::Client,
    pub(crate) autoscaling: aws_sdk_autoscaling::Client,
    pub(crate) sts: aws_sdk_sts::Client,
}

impl Services {
    fn new(config: &SdkConfig) -> Self {
        Self {
            ec2: aws_sdk_ec2::Client::new(config),
            elb: aws_sdk_elasticloadbalancing::Client::new(config),
            autoscaling: aws_sdk_autoscaling::Client::new(config),
            sts: aws_sdk_sts::Client::new(config),
        }
    }
}

/// Clients for reads, and for mutations. They share connections and credentials.
pub(crate) struct Clients {
    pub(crate) reads: Services,
    writes: Services,
}

impl Clients {
    /// Reads what the environment and profiles say; asks nobody yet.
    pub(crate) async fn new(
        config: &AwsConfig,
        credentials: Option<SharedCredentialsProvider>,
    ) -> Self {
        let http = Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(ATTEMPT)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .http_client(http)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(READ_ATTEMPTS));
        if let Some(url) = &config.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Some(credentials) = credentials {
            loader = loader.credentials_provider(credentials);
        }
        let reads = Box::pin(loader.load()).await;
        let writes = reads
            .to_builder()
            .retry_config(RetryConfig::disabled())
            .build();
        Self {
            reads: Services::new(&reads),
            writes: Services::new(&writes),
        }
    }

    /// Those for what is asked.
    pub(crate) fn of(&self, asked: &Asked) -> &Services {
        if asked.mutates {
            &self.writes
        } else {
            &self.reads
        }
    }
}
