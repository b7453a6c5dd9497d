//! AWS in the account and region of one workload cluster: one method per AWS action. Adapters follow pages to the end
//! and chunk long lists.

mod call;
mod dns;
mod groups;
mod resource;
mod stacks;

use drover_step_api::Permit;

pub use self::{
    call::{CloudCall, CloudReply},
    resource::{
        AutoScalingGroup, DnsRecord, HostedZone, Instance, InstanceHealth, LifecycleHook,
        LoadBalancer, LoadBalancerAttributes, Route, RouteTable, SecurityGroup, Stack, Subnet,
        Tags, Vpc,
    },
};
use crate::{
    Call, PortError, Reply,
    ports::{Line, mismatch},
};

/// The port.
#[derive(Clone)]
pub struct Cloud {
    line: Line,
    cluster: String,
}

impl Cloud {
    pub(crate) fn new(line: Line, cluster: &str) -> Self {
        Self {
            line,
            cluster: cluster.to_owned(),
        }
    }

    async fn read(&self, call: CloudCall) -> Result<CloudReply, PortError> {
        let action = call.action();
        match self
            .line
            .read(Call::Cloud {
                cluster: self.cluster.clone(),
                call,
            })
            .await?
        {
            Reply::Cloud(reply) => Ok(reply),
            _ => Err(mismatch(action)),
        }
    }

    async fn write(&self, permit: Permit, call: CloudCall) -> Result<(), PortError> {
        let action = call.action();
        match self
            .line
            .write(
                permit,
                Call::Cloud {
                    cluster: self.cluster.clone(),
                    call,
                },
            )
            .await?
        {
            Reply::Cloud(CloudReply::Done) => Ok(()),
            _ => Err(mismatch(action)),
        }
    }

    /// EC2 instances by tag, terminated ones left out, ordered by id.
    ///
    /// # Errors
    /// `Denied`, `Throttled`, `ExpiredCredentials` and the like, as for all actions.
    pub async fn describe_instances(
        &self,
        tags: &[(&str, &str)],
    ) -> Result<Vec<Instance>, PortError> {
        match self
            .read(CloudCall::DescribeInstances {
                tags: to_tags(tags),
            })
            .await?
        {
            CloudReply::Instances(instances) => Ok(instances),
            _ => Err(mismatch("ec2:DescribeInstances")),
        }
    }

    /// A VPC by id.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn describe_vpc(&self, id: &str) -> Result<Vpc, PortError> {
        let action = "ec2:DescribeVpcs";
        match self
            .read(CloudCall::DescribeVpcs {
                ids: vec![id.to_owned()],
            })
            .await?
        {
            CloudReply::Vpcs(vpcs) => vpcs.into_iter().next().ok_or_else(|| mismatch(action)),
            _ => Err(mismatch(action)),
        }
    }

    /// Subnets of a VPC, ordered by id.
    ///
    /// # Errors
    /// As all actions.
    pub async fn describe_subnets(&self, vpc: &str) -> Result<Vec<Subnet>, PortError> {
        match self
            .read(CloudCall::DescribeSubnets {
                vpc: vpc.to_owned(),
            })
            .await?
        {
            CloudReply::Subnets(subnets) => Ok(subnets),
            _ => Err(mismatch("ec2:DescribeSubnets")),
        }
    }

    /// Route tables of a VPC, ordered by id.
    ///
    /// # Errors
    /// As all actions.
    pub async fn describe_route_tables(&self, vpc: &str) -> Result<Vec<RouteTable>, PortError> {
        match self
            .read(CloudCall::DescribeRouteTables {
                vpc: vpc.to_owned(),
            })
            .await?
        {
            CloudReply::RouteTables(tables) => Ok(tables),
            _ => Err(mismatch("ec2:DescribeRouteTables")),
        }
    }

    /// Security groups of a VPC, ordered by id.
    ///
    /// # Errors
    /// As all actions.
    pub async fn describe_security_groups(
        &self,
        vpc: &str,
    ) -> Result<Vec<SecurityGroup>, PortError> {
        match self
            .read(CloudCall::DescribeSecurityGroups {
                vpc: vpc.to_owned(),
            })
            .await?
        {
            CloudReply::SecurityGroups(groups) => Ok(groups),
            _ => Err(mismatch("ec2:DescribeSecurityGroups")),
        }
    }

    /// A classic load balancer by name.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn describe_load_balancer(&self, name: &str) -> Result<LoadBalancer, PortError> {
        let action = "elasticloadbalancing:DescribeLoadBalancers";
        match self
            .read(CloudCall::DescribeLoadBalancers {
                names: vec![name.to_owned()],
            })
            .await?
        {
            CloudReply::LoadBalancers(found) => {
                found.into_iter().next().ok_or_else(|| mismatch(action))
            }
            _ => Err(mismatch(action)),
        }
    }

    /// What a classic load balancer believes of its instances, ordered by instance id.
    ///
    /// # Errors
    /// `NotFound` when there is no such load balancer.
    pub async fn describe_instance_health(
        &self,
        load_balancer: &str,
    ) -> Result<Vec<InstanceHealth>, PortError> {
        let call = CloudCall::DescribeInstanceHealth {
            load_balancer: load_balancer.to_owned(),
        };
        match self.read(call).await? {
            CloudReply::Health(health) => Ok(health),
            _ => Err(mismatch("elasticloadbalancing:DescribeInstanceHealth")),
        }
    }

    /// Attributes of a classic load balancer.
    ///
    /// # Errors
    /// `NotFound` when there is no such load balancer.
    pub async fn describe_load_balancer_attributes(
        &self,
        load_balancer: &str,
    ) -> Result<LoadBalancerAttributes, PortError> {
        let call = CloudCall::DescribeLoadBalancerAttributes {
            load_balancer: load_balancer.to_owned(),
        };
        let action = call.action();
        match self.read(call).await? {
            CloudReply::Attributes(attributes) => Ok(attributes),
            _ => Err(mismatch(action)),
        }
    }

    /// Sets attributes of a classic load balancer.
    ///
    /// # Errors
    /// `NotFound` when there is no such load balancer.
    pub async fn modify_load_balancer_attributes(
        &self,
        permit: Permit,
        load_balancer: &str,
        attributes: LoadBalancerAttributes,
    ) -> Result<(), PortError> {
        let call = CloudCall::ModifyLoadBalancerAttributes {
            load_balancer: load_balancer.to_owned(),
            attributes,
        };
        self.write(permit, call).await
    }

    /// Auto Scaling groups by tag, ordered by name.
    ///
    /// # Errors
    /// As all actions.
    pub async fn describe_auto_scaling_groups(
        &self,
        tags: &[(&str, &str)],
    ) -> Result<Vec<AutoScalingGroup>, PortError> {
        match self
            .read(CloudCall::DescribeAutoScalingGroups {
                tags: to_tags(tags),
            })
            .await?
        {
            CloudReply::Groups(groups) => Ok(groups),
            _ => Err(mismatch("autoscaling:DescribeAutoScalingGroups")),
        }
    }

    /// CloudFormation stacks whose name starts with `prefix`, ordered by name.
    ///
    /// # Errors
    /// As all actions.
    pub async fn describe_stacks(&self, prefix: &str) -> Result<Vec<Stack>, PortError> {
        match self
            .read(CloudCall::DescribeStacks {
                prefix: prefix.to_owned(),
            })
            .await?
        {
            CloudReply::Stacks(stacks) => Ok(stacks),
            _ => Err(mismatch("cloudformation:DescribeStacks")),
        }
    }

    /// The ARN that a role makes us; proves that it can be assumed.
    ///
    /// # Errors
    /// `Denied` when it cannot.
    pub async fn assume_role(&self, role_arn: &str) -> Result<String, PortError> {
        match self
            .read(CloudCall::AssumeRole {
                role_arn: role_arn.to_owned(),
            })
            .await?
        {
            CloudReply::Identity(arn) => Ok(arn),
            _ => Err(mismatch("sts:AssumeRole")),
        }
    }

    /// Adds instances to a classic load balancer; those already there stay.
    ///
    /// # Errors
    /// `Invalid` with code `InvalidInstance` when one does not exist: then none is added.
    pub async fn register_instances_with_load_balancer(
        &self,
        permit: Permit,
        load_balancer: &str,
        instances: &[String],
    ) -> Result<(), PortError> {
        let call = CloudCall::RegisterInstancesWithLoadBalancer {
            load_balancer: load_balancer.to_owned(),
            instances: instances.to_vec(),
        };
        self.write(permit, call).await
    }

    /// Takes instances off a classic load balancer; those not there are ignored.
    ///
    /// # Errors
    /// As all actions.
    pub async fn deregister_instances_from_load_balancer(
        &self,
        permit: Permit,
        load_balancer: &str,
        instances: &[String],
    ) -> Result<(), PortError> {
        let call = CloudCall::DeregisterInstancesFromLoadBalancer {
            load_balancer: load_balancer.to_owned(),
            instances: instances.to_vec(),
        };
        self.write(permit, call).await
    }

    /// Suspends processes of an Auto Scaling group; those already suspended stay so.
    ///
    /// # Errors
    /// As all actions.
    pub async fn suspend_processes(
        &self,
        permit: Permit,
        group: &str,
        processes: &[String],
    ) -> Result<(), PortError> {
        let call = CloudCall::SuspendProcesses {
            group: group.to_owned(),
            processes: processes.to_vec(),
        };
        self.write(permit, call).await
    }

    /// Resumes processes of an Auto Scaling group; those not suspended are ignored.
    ///
    /// # Errors
    /// As all actions.
    pub async fn resume_processes(
        &self,
        permit: Permit,
        group: &str,
        processes: &[String],
    ) -> Result<(), PortError> {
        let call = CloudCall::ResumeProcesses {
            group: group.to_owned(),
            processes: processes.to_vec(),
        };
        self.write(permit, call).await
    }

    /// Sets tags on EC2 resources.
    ///
    /// # Errors
    /// As all actions.
    pub async fn create_tags(
        &self,
        permit: Permit,
        resources: &[String],
        tags: &[(&str, &str)],
    ) -> Result<(), PortError> {
        let call = CloudCall::CreateTags {
            resources: resources.to_vec(),
            tags: to_tags(tags),
        };
        self.write(permit, call).await
    }

    /// Removes tags from EC2 resources; keys that are not there are ignored.
    ///
    /// # Errors
    /// As all actions.
    pub async fn delete_tags(
        &self,
        permit: Permit,
        resources: &[String],
        keys: &[&str],
    ) -> Result<(), PortError> {
        let call = CloudCall::DeleteTags {
            resources: resources.to_vec(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        };
        self.write(permit, call).await
    }

    /// Terminates instances; those already terminated are ignored.
    ///
    /// # Errors
    /// As all actions.
    pub async fn terminate_instances(
        &self,
        permit: Permit,
        instances: &[String],
    ) -> Result<(), PortError> {
        self.write(
            permit,
            CloudCall::TerminateInstances {
                instances: instances.to_vec(),
            },
        )
        .await
    }

    /// Deletes a classic load balancer; one that does not exist is success.
    ///
    /// # Errors
    /// As all actions.
    pub async fn delete_load_balancer(
        &self,
        permit: Permit,
        load_balancer: &str,
    ) -> Result<(), PortError> {
        let call = CloudCall::DeleteLoadBalancer {
            load_balancer: load_balancer.to_owned(),
        };
        self.write(permit, call).await
    }

    /// Deletes a security group; one that does not exist is success.
    ///
    /// # Errors
    /// `Conflict` with code `DependencyViolation` while an instance is in it.
    pub async fn delete_security_group(&self, permit: Permit, id: &str) -> Result<(), PortError> {
        let call = CloudCall::DeleteSecurityGroup { id: id.to_owned() };
        match self.write(permit, call).await {
            Err(error) if error.is_not_found() => Ok(()),
            result => result,
        }
    }
}

fn to_tags(tags: &[(&str, &str)]) -> Tags {
    tags.iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}
