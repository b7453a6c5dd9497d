//! AWS.

use drover_ports::{
    CloudCall, CloudReply, Instance as PortInstance, InstanceHealth, LoadBalancer,
    LoadBalancerAttributes, PortError, PortErrorKind, Reply, Tags,
};

use drover_step_api::Timestamp;

use super::{Done, dns, groups, stacks};
use crate::{
    rules::{apps, ec2},
    state::{Cluster, Elb, Instance, InstanceState},
};

pub(super) fn call(
    cluster: &mut Cluster,
    call: &CloudCall,
    action: &str,
    now: Timestamp,
) -> Result<Done, PortError> {
    if let Some(reply) = read(cluster, call, action, now)? {
        return Ok(Done::read(Reply::Cloud(reply)));
    }
    let changed = change(cluster, call, action, now)?;
    Ok(Done {
        reply: Reply::Cloud(CloudReply::Done),
        changed,
        touched: Some(cluster.facts.id.clone()),
    })
}

pub(super) fn not_found(action: &str, code: &str, what: &str) -> PortError {
    PortError::new(
        PortErrorKind::NotFound,
        action,
        format!("there is no {what}"),
    )
    .with_code(code)
}

fn has_tags(actual: &Tags, wanted: &Tags) -> bool {
    wanted
        .iter()
        .all(|(key, value)| actual.get(key) == Some(value))
}

fn read(
    cluster: &Cluster,
    call: &CloudCall,
    action: &str,
    now: Timestamp,
) -> Result<Option<CloudReply>, PortError> {
    let cloud = &cluster.cloud;
    let in_vpc = |vpc: &str| cloud.vpc.as_ref().is_some_and(|own| own.id == vpc);
    Ok(Some(match call {
        CloudCall::DescribeInstances { tags } => CloudReply::Instances(
            cloud
                .instances
                .values()
                .filter(|instance| instance.state != InstanceState::Terminated)
                .filter(|instance| has_tags(&instance.tags, tags))
                .map(instance)
                .collect(),
        ),
        CloudCall::DescribeVpcs { ids } => {
            let vpc = cloud.vpc.as_ref().filter(|vpc| ids.contains(&vpc.id));
            let vpc =
                vpc.ok_or_else(|| not_found(action, "InvalidVpcID.NotFound", &ids.join(",")))?;
            CloudReply::Vpcs(vec![vpc.clone()])
        }
        CloudCall::DescribeSubnets { vpc } => CloudReply::Subnets(
            cloud
                .subnets
                .values()
                .filter(|_| in_vpc(vpc))
                .cloned()
                .collect(),
        ),
        CloudCall::DescribeRouteTables { vpc } => CloudReply::RouteTables(
            cloud
                .route_tables
                .values()
                .filter(|_| in_vpc(vpc))
                .cloned()
                .collect(),
        ),
        CloudCall::DescribeSecurityGroups { vpc } => CloudReply::SecurityGroups(
            cloud
                .security_groups
                .values()
                .filter(|_| in_vpc(vpc))
                .cloned()
                .collect(),
        ),
        CloudCall::DescribeLoadBalancers { names } => CloudReply::LoadBalancers(
            names
                .iter()
                .map(|name| Ok(load_balancer(elb(cluster, name, action)?)))
                .collect::<Result<_, PortError>>()?,
        ),
        CloudCall::DescribeInstanceHealth { load_balancer } => {
            let elb = elb(cluster, load_balancer, action)?;
            CloudReply::Health(health(elb))
        }
        CloudCall::DescribeLoadBalancerAttributes { load_balancer } => {
            let elb = elb(cluster, load_balancer, action)?;
            CloudReply::Attributes(LoadBalancerAttributes {
                connection_draining: elb.connection_draining,
            })
        }
        CloudCall::DescribeAutoScalingGroups { tags } => CloudReply::Groups(
            cloud
                .groups
                .values()
                .filter(|group| has_tags(&group.tags, tags))
                .map(groups::shown)
                .collect(),
        ),
        CloudCall::DescribeLifecycleHooks { group } => {
            CloudReply::Hooks(groups::hooks(cluster, group, action)?)
        }
        CloudCall::DescribeStacks { prefix } => CloudReply::Stacks(stacks::list(cluster, prefix)),
        CloudCall::GetTemplate { stack } => {
            CloudReply::Template(stacks::template(cluster, stack, action)?)
        }
        CloudCall::ListHostedZones { domain } => CloudReply::Zones(dns::zones(cluster, domain)),
        CloudCall::ListRecords { zone } => {
            CloudReply::Records(dns::records(cluster, zone, action)?)
        }
        CloudCall::CountConnections {
            load_balancer,
            seconds,
        } => CloudReply::Connections(dns::connections(cluster, load_balancer, *seconds, now)),
        CloudCall::AssumeRole { role_arn } => {
            if !cloud.capa_role_trusted || *role_arn != cluster.facts.capa_role_arn {
                let why = format!("not authorized to perform sts:AssumeRole on {role_arn}");
                return Err(
                    PortError::new(PortErrorKind::Denied, action, why).with_code("AccessDenied")
                );
            }
            CloudReply::Identity(format!(
                "{}/drover",
                role_arn.replace(":role/", ":assumed-role/")
            ))
        }
        _ => return Ok(None),
    }))
}

fn instance(instance: &Instance) -> PortInstance {
    PortInstance {
        id: instance.id.clone(),
        state: instance.state.word().to_owned(),
        private_dns: instance.dns.clone(),
        private_ip: instance.address.clone(),
        zone: instance.zone.clone(),
        subnet: instance.subnet.clone(),
        security_groups: instance.security_groups.clone(),
        tags: instance.tags.clone(),
    }
}

fn elb<'c>(cluster: &'c Cluster, name: &str, action: &str) -> Result<&'c Elb, PortError> {
    cluster.cloud.elbs.get(name).ok_or_else(|| {
        not_found(
            action,
            "LoadBalancerNotFound",
            &format!("load balancer {name}"),
        )
    })
}

fn load_balancer(elb: &Elb) -> LoadBalancer {
    LoadBalancer {
        name: elb.name.clone(),
        dns_name: elb.dns_name.clone(),
        scheme: elb.scheme.to_owned(),
        instances: elb.backends.keys().cloned().collect(),
        zones: elb.zones.iter().cloned().collect(),
        health_check: elb.health_check.to_owned(),
    }
}

fn health(elb: &Elb) -> Vec<InstanceHealth> {
    elb.backends
        .iter()
        .map(|(id, backend)| {
            let (state, reason) = match (backend.in_service, backend.fresh) {
                (true, _) => ("InService", ""),
                (false, true) => ("OutOfService", "Instance registration is still in progress."),
                (false, false) => (
                    "OutOfService",
                    "Instance has failed at least the UnhealthyThreshold number of health checks consecutively.",
                ),
            };
            InstanceHealth {
                instance: id.clone(),
                state: state.to_owned(),
                reason: reason.to_owned(),
            }
        })
        .collect()
}

fn change(
    cluster: &mut Cluster,
    call: &CloudCall,
    action: &str,
    now: Timestamp,
) -> Result<bool, PortError> {
    match call {
        CloudCall::RegisterInstancesWithLoadBalancer {
            load_balancer,
            instances,
        } => {
            elb(cluster, load_balancer, action)?;
            if let Some(unknown) = instances.iter().find(|id| {
                !cluster
                    .cloud
                    .instances
                    .get(*id)
                    .is_some_and(Instance::lives)
            }) {
                let why = format!("Could not find EC2 instance {unknown}.");
                return Err(PortError::new(PortErrorKind::Invalid, action, why)
                    .with_code("InvalidInstance"));
            }
            let elb = cluster.cloud.elbs.get_mut(load_balancer);
            Ok(elb.is_some_and(|elb| {
                instances
                    .iter()
                    .fold(false, |changed, id| elb.register(id) | changed)
            }))
        }
        CloudCall::DeregisterInstancesFromLoadBalancer {
            load_balancer,
            instances,
        } => {
            let elb = elb(cluster, load_balancer, action)?;
            if let Some(why) = instances.iter().find_map(|id| elb.cut_by_losing(id)) {
                cluster.accident(now, why);
            }
            let elb = cluster.cloud.elbs.get_mut(load_balancer);
            Ok(elb.is_some_and(|elb| {
                instances.iter().fold(false, |changed, id| {
                    elb.backends.remove(id).is_some() | changed
                })
            }))
        }
        CloudCall::ModifyLoadBalancerAttributes {
            load_balancer,
            attributes,
        } => {
            elb(cluster, load_balancer, action)?;
            let elb = cluster.cloud.elbs.get_mut(load_balancer);
            Ok(elb.is_some_and(|elb| {
                let wanted = attributes.connection_draining;
                std::mem::replace(&mut elb.connection_draining, wanted) != wanted
            }))
        }
        CloudCall::DeleteLoadBalancer { load_balancer } => {
            // Deleting one that is not there succeeds.
            Ok(cluster.cloud.elbs.remove(load_balancer).is_some())
        }
        CloudCall::ReplaceRecord { zone, seen, record } => {
            dns::replace(cluster, zone, (seen, record), action, now)
        }
        CloudCall::UpdateStack { stack, template } => {
            stacks::update(cluster, stack, template, action)
        }
        CloudCall::SetTerminationProtection { stack, enabled } => {
            stacks::protect(cluster, stack, *enabled, action)
        }
        CloudCall::DeleteStack { stack } => stacks::delete(cluster, stack, action),
        CloudCall::SuspendProcesses { group, processes } => {
            processes_of(cluster, group, action, |suspended| {
                processes.iter().fold(false, |changed, process| {
                    suspended.insert(process.clone()) | changed
                })
            })
        }
        CloudCall::ResumeProcesses { group, processes } => {
            processes_of(cluster, group, action, |suspended| {
                processes.iter().fold(false, |changed, process| {
                    suspended.remove(process) | changed
                })
            })
        }
        CloudCall::CreateTags { resources, tags } => {
            let mut changed = false;
            for resource in resources {
                let own = tags_of(cluster, resource)
                    .ok_or_else(|| not_found(action, "InvalidID", resource))?;
                for (key, value) in tags {
                    changed |= own.insert(key.clone(), value.clone()).as_ref() != Some(value);
                }
            }
            Ok(changed)
        }
        CloudCall::DeleteTags { resources, keys } => {
            let mut changed = false;
            for resource in resources {
                let own = tags_of(cluster, resource)
                    .ok_or_else(|| not_found(action, "InvalidID", resource))?;
                for key in keys {
                    changed |= own.remove(key).is_some();
                }
            }
            Ok(changed)
        }
        CloudCall::TerminateInstances { instances } => {
            let mut changed = false;
            for id in instances {
                apps::notice_undrained(cluster, id, now);
                changed |= ec2::terminate(cluster, id);
            }
            Ok(changed)
        }
        CloudCall::DeleteSecurityGroup { id } => {
            let in_use =
                cluster.cloud.instances.values().any(|i| {
                    i.state != InstanceState::Terminated && i.security_groups.contains(id)
                });
            if in_use {
                let why = format!("resource {id} has a dependent object");
                return Err(PortError::new(PortErrorKind::Conflict, action, why)
                    .with_code("DependencyViolation"));
            }
            match cluster.cloud.security_groups.remove(id) {
                Some(_) => Ok(true),
                None => Err(not_found(action, "InvalidGroup.NotFound", id)),
            }
        }
        _ => groups::change(cluster, call, action, now),
    }
}

fn processes_of(
    cluster: &mut Cluster,
    group: &str,
    action: &str,
    change: impl FnOnce(&mut std::collections::BTreeSet<String>) -> bool,
) -> Result<bool, PortError> {
    cluster
        .cloud
        .groups
        .get_mut(group)
        .map(|group| change(&mut group.suspended))
        .ok_or_else(|| {
            PortError::new(
                PortErrorKind::NotFound,
                action,
                format!("there is no group {group}"),
            )
            .with_code("ValidationError")
        })
}

fn tags_of<'c>(cluster: &'c mut Cluster, resource: &str) -> Option<&'c mut Tags> {
    let cloud = &mut cluster.cloud;
    if let Some(vpc) = cloud.vpc.as_mut().filter(|vpc| vpc.id == resource) {
        return Some(&mut vpc.tags);
    }
    if let Some(instance) = cloud.instances.get_mut(resource) {
        return Some(&mut instance.tags);
    }
    if let Some(subnet) = cloud.subnets.get_mut(resource) {
        return Some(&mut subnet.tags);
    }
    cloud
        .security_groups
        .get_mut(resource)
        .map(|group| &mut group.tags)
}
