//! AWS through the port interfaces: EC2, classic Elastic Load Balancing, Auto Scaling, and the one question to STS.
//!
//! One [`AwsAdapter`] acts in one region with one identity: every cluster of its installation is there. Wherever it is
//! told to find AWS at another address (`AWS_ENDPOINT_URL`), it speaks to that one alone.
//!
//! Reads are tried twice, as the SDK's standard policy does. Mutations are tried once: the error of a second try would
//! hide that the first one may have happened.

mod addresses;
mod autoscaling;
mod batch;
mod clients;
mod ec2;
mod elb;
mod error;
mod sts;

use std::sync::{Arc, Mutex, PoisonError};

use aws_credential_types::provider::SharedCredentialsProvider;
use drover_ports::{CloudCall, CloudReply, PortError, PortErrorKind};

use crate::{addresses::Known, clients::Clients, error::Asked};

/// Where AWS is.
#[derive(Clone, Debug)]
pub struct AwsConfig {
    /// For example `eu-central-1` or `cn-north-1`; the region decides the partition.
    pub region: String,
    /// Another address for every service; that of `AWS_ENDPOINT_URL`, or AWS itself, when there is none.
    pub endpoint_url: Option<String>,
}

/// AWS through the port interfaces. Cheap calls to it may run side by side.
pub struct AwsAdapter {
    config: AwsConfig,
    credentials: Option<SharedCredentialsProvider>,
    clients: Mutex<Arc<Clients>>,
    known: Known,
}

impl AwsAdapter {
    /// With the credentials of this process, in the SDK's usual order: environment, profile, web identity, container,
    /// instance. Asks nobody yet: missing credentials are the first call's error.
    pub async fn new(config: AwsConfig) -> Self {
        Self::build(config, None).await
    }

    /// With credentials of its own.
    pub async fn with_credentials(
        config: AwsConfig,
        credentials: SharedCredentialsProvider,
    ) -> Self {
        Self::build(config, Some(credentials)).await
    }

    async fn build(config: AwsConfig, credentials: Option<SharedCredentialsProvider>) -> Self {
        let clients = Clients::new(&config, credentials.clone()).await;
        Self {
            config,
            credentials,
            clients: Mutex::new(Arc::new(clients)),
            known: Known::default(),
        }
    }

    /// Forgets cached credentials: the next call loads them anew.
    pub async fn refresh(&self) {
        let clients = Clients::new(&self.config, self.credentials.clone()).await;
        *self.clients.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(clients);
    }

    fn clients(&self) -> Arc<Clients> {
        Arc::clone(&self.clients.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Carries one call out. The cluster does not matter: all of an installation's are in this account and region.
    ///
    /// Not cancel-safe: a dropped mutation may or may not have happened. A mutation that fails after it was split into
    /// several requests has happened in part; doing it again does the rest.
    ///
    /// # Errors
    /// As the port's methods say; `Invalid` with code `NotServed` for CloudFormation, Route 53 and CloudWatch.
    pub async fn call(&self, _cluster: &str, call: CloudCall) -> Result<CloudReply, PortError> {
        let asked = Asked::of(&call);
        let clients = self.clients();
        let services = clients.of(&asked);
        match &call {
            CloudCall::DescribeInstances { .. }
            | CloudCall::DescribeVpcs { .. }
            | CloudCall::DescribeSubnets { .. }
            | CloudCall::DescribeRouteTables { .. }
            | CloudCall::DescribeSecurityGroups { .. } => {
                Box::pin(ec2::read(&services.ec2, asked, &call)).await
            }
            CloudCall::CreateTags { .. }
            | CloudCall::DeleteTags { .. }
            | CloudCall::TerminateInstances { .. }
            | CloudCall::DeleteSecurityGroup { .. } => {
                Box::pin(ec2::change(&services.ec2, asked, &call)).await
            }
            CloudCall::DescribeLoadBalancers { .. }
            | CloudCall::DescribeInstanceHealth { .. }
            | CloudCall::DescribeLoadBalancerAttributes { .. }
            | CloudCall::ModifyLoadBalancerAttributes { .. }
            | CloudCall::RegisterInstancesWithLoadBalancer { .. }
            | CloudCall::DeregisterInstancesFromLoadBalancer { .. }
            | CloudCall::DeleteLoadBalancer { .. } => {
                Box::pin(elb::call(&services.elb, asked, &call)).await
            }
            CloudCall::DescribeAutoScalingGroups { .. }
            | CloudCall::DescribeLifecycleHooks { .. }
            | CloudCall::UpdateAutoScalingGroup { .. }
            | CloudCall::TerminateInstanceInAutoScalingGroup { .. }
            | CloudCall::CompleteLifecycleAction { .. }
            | CloudCall::DeleteAutoScalingGroup { .. }
            | CloudCall::SuspendProcesses { .. }
            | CloudCall::ResumeProcesses { .. } => {
                Box::pin(autoscaling::call(&services.autoscaling, asked, &call)).await
            }
            CloudCall::AssumeRole { role_arn } => {
                Box::pin(sts::assume_role(&services.sts, asked, role_arn)).await
            }
            CloudCall::DescribeStacks { .. }
            | CloudCall::GetTemplate { .. }
            | CloudCall::UpdateStack { .. }
            | CloudCall::SetTerminationProtection { .. }
            | CloudCall::DeleteStack { .. } => Err(not_served(asked, "CloudFormation")),
            CloudCall::ListHostedZones { .. }
            | CloudCall::ListRecords { .. }
            | CloudCall::ReplaceRecord { .. } => Err(not_served(asked, "Route 53")),
            CloudCall::CountConnections { .. } => Err(not_served(asked, "CloudWatch")),
        }
    }
}

fn not_served(asked: Asked, service: &str) -> PortError {
    PortError::new(
        PortErrorKind::Invalid,
        asked.action,
        format!("this build does not reach {service}"),
    )
    .with_code("NotServed")
}
