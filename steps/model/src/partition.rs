//! AWS partitions: everything that differs between them, derived in one place.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An AWS partition. No credential, role or ARN is valid in two of them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Partition {
    /// The commercial regions.
    Aws,
    /// Beijing and Ningxia.
    AwsCn,
    /// GovCloud.
    AwsUsGov,
}

impl Partition {
    /// All partitions.
    pub const ALL: [Self; 3] = [Self::Aws, Self::AwsCn, Self::AwsUsGov];

    /// The partition that a region lies in.
    pub fn of_region(region: &str) -> Self {
        if region.starts_with("cn-") {
            Self::AwsCn
        } else if region.starts_with("us-gov-") {
            Self::AwsUsGov
        } else {
            Self::Aws
        }
    }

    /// The partition that an ARN names, if it is one.
    pub fn of_arn(arn: &str) -> Option<Self> {
        let name = arn.strip_prefix("arn:")?.split(':').next()?;
        Self::ALL
            .into_iter()
            .find(|partition| partition.as_str() == name)
    }

    /// The second field of every ARN.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsCn => "aws-cn",
            Self::AwsUsGov => "aws-us-gov",
        }
    }

    /// `arn:<partition>:iam::<account>:role/<role>`
    pub fn role_arn(self, account: &str, role: &str) -> String {
        format!("arn:{}:iam::{account}:role/{role}", self.as_str())
    }

    /// What the host names of its APIs end in.
    pub fn api_suffix(self) -> &'static str {
        match self {
            Self::Aws | Self::AwsUsGov => "amazonaws.com",
            Self::AwsCn => "amazonaws.com.cn",
        }
    }

    /// Who assumes the roles of instances.
    pub fn ec2_principal(self) -> String {
        format!("ec2.{}", self.api_suffix())
    }

    /// The load balancing service, as conditions on service-linked roles name it.
    pub fn elb_principal(self, region: &str) -> String {
        match self {
            Self::Aws | Self::AwsUsGov => "elasticloadbalancing.amazonaws.com".to_owned(),
            Self::AwsCn => format!("elasticloadbalancing.{region}.amazonaws.com.cn"),
        }
    }

    /// The audience of service-account tokens that STS takes.
    pub fn sts_audience(self) -> String {
        format!("sts.{}", self.api_suffix())
    }

    /// The account that publishes Flatcar images; `None` where none is known and the image has to be given.
    pub fn flatcar_owner(self) -> Option<&'static str> {
        match self {
            Self::Aws => Some("706635527432"),
            Self::AwsCn => Some("306934455918"),
            Self::AwsUsGov => None,
        }
    }

    /// Host of the S3 API in a region.
    pub fn s3_host(self, region: &str) -> String {
        format!("s3.{region}.{}", self.api_suffix())
    }

    /// Domain of the private DNS names of EC2 instances; node names end in it.
    pub fn compute_domain(self, region: &str) -> String {
        match (self, region) {
            (Self::Aws, "us-east-1") => "ec2.internal".to_owned(),
            _ => format!("{region}.compute.internal"),
        }
    }

    /// Issuers of service-account tokens of a vintage cluster, the signing one first. `cloudfront` is the domain of its
    /// distribution, when it has one.
    pub fn vintage_issuers(
        self,
        region: &str,
        account: &str,
        id: &str,
        base_domain: &str,
        cloudfront: Option<&str>,
    ) -> Vec<String> {
        let api = format!("https://{}", crate::names::old_api(id, base_domain));
        match self {
            Self::AwsCn => vec![
                format!(
                    "https://{}/{account}-g8s-{id}-oidc-pod-identity-v2",
                    self.s3_host(region)
                ),
                api,
            ],
            Self::Aws | Self::AwsUsGov => [Some(format!("https://irsa.{id}.k8s.{base_domain}"))]
                .into_iter()
                .chain([cloudfront.map(|domain| format!("https://{domain}"))])
                .chain([Some(api)])
                .flatten()
                .collect(),
        }
    }

    /// The issuer that a Cluster API cluster would use if it had no vintage past.
    pub fn capi_issuer(self, region: &str, account: &str, id: &str, capi_domain: &str) -> String {
        match self {
            Self::AwsCn => format!(
                "https://{}/{account}-g8s-{id}-oidc-pod-identity-v3",
                self.s3_host(region)
            ),
            Self::Aws | Self::AwsUsGov => format!("https://irsa.{id}.{capi_domain}"),
        }
    }

    /// The same issuer as trust policies name it: without the scheme.
    pub fn trust_domain(issuer: &str) -> &str {
        issuer.strip_prefix("https://").unwrap_or(issuer)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
