//! Classic Elastic Load Balancing.

use aws_sdk_elasticloadbalancing::{
    Client,
    types::{
        ConnectionDraining, Instance, InstanceState, LoadBalancerAttributes as Attributes,
        LoadBalancerDescription,
    },
};
use drover_ports::{
    CloudCall, CloudReply, InstanceHealth, LoadBalancer, LoadBalancerAttributes, PortError,
    PortErrorKind,
};

use crate::{
    batch::ignoring,
    error::{Asked, sort},
};

/// The most names that one request carries.
const NAMES: usize = 20;

/// What Elastic Load Balancing says of an instance that does not exist, or that is not registered.
fn is_unknown(error: &PortError) -> bool {
    error.code == "InvalidInstance"
}

/// Carries a call out.
pub(crate) async fn call(
    client: &Client,
    asked: Asked,
    call: &CloudCall,
) -> Result<CloudReply, PortError> {
    match call {
        CloudCall::DescribeLoadBalancers { names } => return describe(client, asked, names).await,
        CloudCall::DescribeInstanceHealth { load_balancer } => {
            return health(client, asked, load_balancer).await;
        }
        CloudCall::DescribeLoadBalancerAttributes { load_balancer } => {
            return attributes(client, asked, load_balancer).await;
        }
        CloudCall::ModifyLoadBalancerAttributes {
            load_balancer,
            attributes,
        } => modify(client, asked, load_balancer, *attributes).await?,
        CloudCall::RegisterInstancesWithLoadBalancer {
            load_balancer,
            instances,
        } if !instances.is_empty() => {
            // In one request, so that an unknown one keeps all of them off.
            let answer = client
                .register_instances_with_load_balancer()
                .load_balancer_name(load_balancer)
                .set_instances(Some(to_instances(instances)))
                .send()
                .await;
            answer.map_err(|error| sort(asked, error))?;
        }
        CloudCall::RegisterInstancesWithLoadBalancer { .. } => {}
        CloudCall::DeregisterInstancesFromLoadBalancer {
            load_balancer,
            instances,
        } => {
            ignoring(instances, is_unknown, async |ids| {
                let request = client
                    .deregister_instances_from_load_balancer()
                    .load_balancer_name(load_balancer)
                    .set_instances(Some(to_instances(&ids)));
                let answer = request.send().await.map_err(|error| sort(asked, error));
                answer.map(drop)
            })
            .await?;
        }
        CloudCall::DeleteLoadBalancer { load_balancer } => {
            let request = client.delete_load_balancer();
            let answer = request.load_balancer_name(load_balancer).send().await;
            match answer.map_err(|error| sort(asked, error)) {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        _ => {
            let why = "this is not Elastic Load Balancing's";
            return Err(PortError::new(PortErrorKind::Bug, asked.action, why));
        }
    }
    Ok(CloudReply::Done)
}

fn to_instances(ids: &[String]) -> Vec<Instance> {
    ids.iter()
        .map(|id| Instance::builder().instance_id(id).build())
        .collect()
}

/// By name; in order of their names.
async fn describe(
    client: &Client,
    asked: Asked,
    names: &[String],
) -> Result<CloudReply, PortError> {
    let mut found = Vec::new();
    // No request for no names: that would describe every load balancer.
    for chunk in names.chunks(NAMES) {
        let answer = client
            .describe_load_balancers()
            .set_load_balancer_names(Some(chunk.to_vec()))
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| sort(asked, error))?;
        found.extend(answer.iter().map(load_balancer));
    }
    found.sort_by(|a: &LoadBalancer, b| a.name.cmp(&b.name));
    Ok(CloudReply::LoadBalancers(found))
}

async fn attributes(client: &Client, asked: Asked, name: &str) -> Result<CloudReply, PortError> {
    let request = client.describe_load_balancer_attributes();
    let answer = request.load_balancer_name(name).send().await;
    let answer = answer.map_err(|error| sort(asked, error))?;
    let draining = answer
        .load_balancer_attributes()
        .and_then(|attributes| attributes.connection_draining())
        .filter(|draining| draining.enabled());
    Ok(CloudReply::Attributes(LoadBalancerAttributes {
        // 300 s is what AWS takes when nobody has said anything.
        connection_draining: draining
            .map(|draining| u32::try_from(draining.timeout().unwrap_or(300)).unwrap_or(0)),
    }))
}

async fn modify(
    client: &Client,
    asked: Asked,
    name: &str,
    wanted: LoadBalancerAttributes,
) -> Result<(), PortError> {
    let timeout = wanted
        .connection_draining
        .and_then(|seconds| i32::try_from(seconds).ok());
    let draining = ConnectionDraining::builder()
        .enabled(wanted.connection_draining.is_some())
        .set_timeout(timeout)
        .build();
    let attributes = Attributes::builder().connection_draining(draining).build();
    let request = client.modify_load_balancer_attributes();
    let request = request
        .load_balancer_name(name)
        .load_balancer_attributes(attributes);
    let answer = request.send().await.map_err(|error| sort(asked, error));
    answer.map(drop)
}

async fn health(client: &Client, asked: Asked, name: &str) -> Result<CloudReply, PortError> {
    let request = client.describe_instance_health().load_balancer_name(name);
    let answer = request.send().await.map_err(|error| sort(asked, error))?;
    let mut found: Vec<InstanceHealth> = answer
        .instance_states()
        .iter()
        .map(instance_health)
        .collect();
    found.sort_by(|a, b| a.instance.cmp(&b.instance));
    Ok(CloudReply::Health(found))
}

fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}

fn load_balancer(from: &LoadBalancerDescription) -> LoadBalancer {
    let mut instances: Vec<String> = from
        .instances()
        .iter()
        .filter_map(|instance| instance.instance_id().map(ToOwned::to_owned))
        .collect();
    instances.sort();
    let mut zones = from.availability_zones().to_vec();
    zones.sort();
    LoadBalancer {
        name: text(from.load_balancer_name()),
        dns_name: text(from.dns_name()),
        scheme: text(from.scheme()),
        instances,
        zones,
        health_check: text(from.health_check().map(|check| check.target())),
    }
}

fn instance_health(from: &InstanceState) -> InstanceHealth {
    let state = text(from.state());
    // Of an instance in service the description is "N/A".
    let reason = if state == "InService" {
        String::new()
    } else {
        text(from.description())
    };
    InstanceHealth {
        instance: text(from.instance_id()),
        state,
        reason,
    }
}
