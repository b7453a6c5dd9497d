//! AWS in the account and region of one workload cluster: one method per AWS action. Adapters follow pages to the end
//! and chunk long lists.

use std::collections::BTreeMap;

use drover_step_api::Permit;
use serde::{Deserialize, Serialize};

use crate::{
    Call, PortError, Reply,
    ports::{Line, mismatch},
};

/// Tags, or tags that must be equal.
pub type Tags = BTreeMap<String, String>;

/// An AWS action. Names and meanings are those of the API references of EC2, Elastic Load Balancing (classic,
/// 2012-06-01), Auto Scaling, CloudFormation and STS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum CloudCall {
    /// EC2 instances by tag, terminated ones left out.
    DescribeInstances {
        /// Tags that must be equal.
        tags: Tags,
    },
    /// VPCs by id.
    DescribeVpcs {
        /// VPC ids.
        ids: Vec<String>,
    },
    /// Subnets of a VPC.
    DescribeSubnets {
        /// VPC id.
        vpc: String,
    },
    /// Route tables of a VPC.
    DescribeRouteTables {
        /// VPC id.
        vpc: String,
    },
    /// Security groups of a VPC.
    DescribeSecurityGroups {
        /// VPC id.
        vpc: String,
    },
    /// Classic load balancers by name.
    DescribeLoadBalancers {
        /// Names.
        names: Vec<String>,
    },
    /// Health of the instances of a classic load balancer, as it believes it to be.
    DescribeInstanceHealth {
        /// Its name.
        load_balancer: String,
    },
    /// Auto Scaling groups by tag.
    DescribeAutoScalingGroups {
        /// Tags that must be equal.
        tags: Tags,
    },
    /// CloudFormation stacks whose name starts with a prefix.
    DescribeStacks {
        /// The prefix.
        prefix: String,
    },
    /// Who the given role would make us; proves that it can be assumed.
    AssumeRole {
        /// ARN of the role.
        role_arn: String,
    },
    /// Adds instances to a classic load balancer; those already there stay.
    RegisterInstancesWithLoadBalancer {
        /// Its name.
        load_balancer: String,
        /// Instance ids; one that does not exist fails the whole call with `InvalidInstance`.
        instances: Vec<String>,
    },
    /// Takes instances off a classic load balancer; those not there are ignored.
    DeregisterInstancesFromLoadBalancer {
        /// Its name.
        load_balancer: String,
        /// Instance ids.
        instances: Vec<String>,
    },
    /// Suspends processes of an Auto Scaling group.
    SuspendProcesses {
        /// Its name.
        group: String,
        /// Process names, for example `ReplaceUnhealthy`.
        processes: Vec<String>,
    },
    /// Resumes processes of an Auto Scaling group.
    ResumeProcesses {
        /// Its name.
        group: String,
        /// Process names.
        processes: Vec<String>,
    },
    /// Sets tags on EC2 resources.
    CreateTags {
        /// Resource ids.
        resources: Vec<String>,
        /// Tags to set.
        tags: Tags,
    },
    /// Removes tags from EC2 resources.
    DeleteTags {
        /// Resource ids.
        resources: Vec<String>,
        /// Keys to remove.
        keys: Vec<String>,
    },
    /// Terminates instances; those already terminated are ignored.
    TerminateInstances {
        /// Instance ids.
        instances: Vec<String>,
    },
    /// Deletes a classic load balancer; one that does not exist is ignored.
    DeleteLoadBalancer {
        /// Its name.
        load_balancer: String,
    },
    /// Deletes a security group.
    DeleteSecurityGroup {
        /// Its id; one in use fails the call with `DependencyViolation`.
        id: String,
    },
}

impl CloudCall {
    /// As IAM names it.
    pub fn action(&self) -> &'static str {
        match self {
            Self::DescribeInstances { .. } => "ec2:DescribeInstances",
            Self::DescribeVpcs { .. } => "ec2:DescribeVpcs",
            Self::DescribeSubnets { .. } => "ec2:DescribeSubnets",
            Self::DescribeRouteTables { .. } => "ec2:DescribeRouteTables",
            Self::DescribeSecurityGroups { .. } => "ec2:DescribeSecurityGroups",
            Self::DescribeLoadBalancers { .. } => "elasticloadbalancing:DescribeLoadBalancers",
            Self::DescribeInstanceHealth { .. } => "elasticloadbalancing:DescribeInstanceHealth",
            Self::DescribeAutoScalingGroups { .. } => "autoscaling:DescribeAutoScalingGroups",
            Self::DescribeStacks { .. } => "cloudformation:DescribeStacks",
            Self::AssumeRole { .. } => "sts:AssumeRole",
            Self::RegisterInstancesWithLoadBalancer { .. } => {
                "elasticloadbalancing:RegisterInstancesWithLoadBalancer"
            }
            Self::DeregisterInstancesFromLoadBalancer { .. } => {
                "elasticloadbalancing:DeregisterInstancesFromLoadBalancer"
            }
            Self::SuspendProcesses { .. } => "autoscaling:SuspendProcesses",
            Self::ResumeProcesses { .. } => "autoscaling:ResumeProcesses",
            Self::CreateTags { .. } => "ec2:CreateTags",
            Self::DeleteTags { .. } => "ec2:DeleteTags",
            Self::TerminateInstances { .. } => "ec2:TerminateInstances",
            Self::DeleteLoadBalancer { .. } => "elasticloadbalancing:DeleteLoadBalancer",
            Self::DeleteSecurityGroup { .. } => "ec2:DeleteSecurityGroup",
        }
    }

    /// True when it changes something.
    pub fn mutates(&self) -> bool {
        match self {
            Self::DescribeInstances { .. }
            | Self::DescribeVpcs { .. }
            | Self::DescribeSubnets { .. }
            | Self::DescribeRouteTables { .. }
            | Self::DescribeSecurityGroups { .. }
            | Self::DescribeLoadBalancers { .. }
            | Self::DescribeInstanceHealth { .. }
            | Self::DescribeAutoScalingGroups { .. }
            | Self::DescribeStacks { .. }
            | Self::AssumeRole { .. } => false,
            Self::RegisterInstancesWithLoadBalancer { .. }
            | Self::DeregisterInstancesFromLoadBalancer { .. }
            | Self::SuspendProcesses { .. }
            | Self::ResumeProcesses { .. }
            | Self::CreateTags { .. }
            | Self::DeleteTags { .. }
            | Self::TerminateInstances { .. }
            | Self::DeleteLoadBalancer { .. }
            | Self::DeleteSecurityGroup { .. } => true,
        }
    }
}

/// The answer to a [`CloudCall`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "items", rename_all = "kebab-case")]
pub enum CloudReply {
    /// To `DescribeInstances`, ordered by id.
    Instances(Vec<Instance>),
    /// To `DescribeVpcs`.
    Vpcs(Vec<Vpc>),
    /// To `DescribeSubnets`, ordered by id.
    Subnets(Vec<Subnet>),
    /// To `DescribeRouteTables`, ordered by id.
    RouteTables(Vec<RouteTable>),
    /// To `DescribeSecurityGroups`, ordered by id.
    SecurityGroups(Vec<SecurityGroup>),
    /// To `DescribeLoadBalancers`.
    LoadBalancers(Vec<LoadBalancer>),
    /// To `DescribeInstanceHealth`, ordered by instance id.
    Health(Vec<InstanceHealth>),
    /// To `DescribeAutoScalingGroups`, ordered by name.
    Groups(Vec<AutoScalingGroup>),
    /// To `DescribeStacks`, ordered by name.
    Stacks(Vec<Stack>),
    /// To `AssumeRole`: the ARN that the role makes us.
    Identity(String),
    /// To every mutation.
    Done,
}

/// An EC2 instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    /// `pending`, `running`, `shutting-down`, `stopping`, `stopped`.
    pub state: String,
    /// Private DNS name; CAPI nodes are named so.
    pub private_dns: String,
    /// Private IPv4 address.
    pub private_ip: String,
    /// Availability zone.
    pub zone: String,
    /// Subnet id.
    pub subnet: String,
    /// Security group ids.
    pub security_groups: Vec<String>,
    /// Tags.
    pub tags: Tags,
}

/// A VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// `vpc-…`
    pub id: String,
    /// Primary CIDR.
    pub cidr: String,
    /// Tags.
    pub tags: Tags,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// `subnet-…`
    pub id: String,
    /// Availability zone.
    pub zone: String,
    /// CIDR.
    pub cidr: String,
    /// `AvailableIpAddressCount`.
    pub available_ips: u32,
    /// Tags.
    pub tags: Tags,
}

/// A route table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// `rtb-…`
    pub id: String,
    /// Explicitly associated subnets.
    pub subnets: Vec<String>,
    /// True for the VPC's main table.
    pub main: bool,
    /// Routes, ordered by destination.
    pub routes: Vec<Route>,
    /// Tags.
    pub tags: Tags,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// CIDR or prefix-list id.
    pub destination: String,
    /// `local`, `igw-…`, `nat-…`, `pcx-…`, `tgw-…`, `vpce-…`.
    pub target: String,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// `sg-…`
    pub id: String,
    /// Group name.
    pub name: String,
    /// Tags.
    pub tags: Tags,
}

/// A classic load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Its name.
    pub name: String,
    /// Its DNS name.
    pub dns_name: String,
    /// `internet-facing` or `internal`.
    pub scheme: String,
    /// Registered instances, ordered.
    pub instances: Vec<String>,
    /// Zones it is enabled in, ordered.
    pub zones: Vec<String>,
    /// Health check target, for example `HTTP:8089/healthz`.
    pub health_check: String,
}

/// What a classic load balancer believes of one of its instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceHealth {
    /// Instance id.
    pub instance: String,
    /// `InService`, `OutOfService` or `Unknown`.
    pub state: String,
    /// Why, when it is out of service.
    pub reason: String,
}

/// An Auto Scaling group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoScalingGroup {
    /// Its name.
    pub name: String,
    /// Wanted instances.
    pub desired: u32,
    /// Lower bound.
    pub min: u32,
    /// Upper bound.
    pub max: u32,
    /// Instance ids, ordered.
    pub instances: Vec<String>,
    /// Suspended processes, ordered.
    pub suspended: Vec<String>,
    /// Load balancers that its instances join.
    pub load_balancers: Vec<String>,
    /// Tags.
    pub tags: Tags,
}

/// A CloudFormation stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Its name.
    pub name: String,
    /// `CREATE_COMPLETE`, `UPDATE_IN_PROGRESS`, …
    pub status: String,
}

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
