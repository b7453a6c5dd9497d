//! EC2: instances, and the network around them.

mod resource;

use aws_sdk_ec2::{
    Client,
    types::{Filter, Tag},
};
use drover_ports::{CloudCall, CloudReply, Instance, PortError, PortErrorKind, Tags};

use crate::{
    batch::{IDS, ignoring},
    error::{Asked, sort},
};

/// How many of a kind a page holds; the API allows up to 1000 of most, and 100 route tables.
const PAGE: i32 = 1000;
const PAGE_OF_ROUTE_TABLES: i32 = 100;

fn filter(name: impl Into<String>, value: impl Into<String>) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// A value that a filter takes literally: in it `*` and `?` stand for anything.
fn literal(value: &str) -> String {
    value
        .chars()
        .flat_map(|c| {
            let escape = matches!(c, '*' | '?' | '\\').then_some('\\');
            escape.into_iter().chain(Some(c))
        })
        .collect()
}

fn by_tags(tags: &Tags) -> Vec<Filter> {
    tags.iter()
        .map(|(key, value)| filter(format!("tag:{key}"), literal(value)))
        .collect()
}

/// Carries a read out.
pub(crate) async fn read(
    client: &Client,
    asked: Asked,
    call: &CloudCall,
) -> Result<CloudReply, PortError> {
    match call {
        CloudCall::DescribeInstances { tags } => instances(client, asked, tags)
            .await
            .map(CloudReply::Instances),
        CloudCall::DescribeVpcs { ids } => vpcs(client, asked, ids).await,
        CloudCall::DescribeSubnets { vpc } => subnets(client, asked, vpc).await,
        CloudCall::DescribeRouteTables { vpc } => route_tables(client, asked, vpc).await,
        CloudCall::DescribeSecurityGroups { vpc } => security_groups(client, asked, vpc).await,
        _ => Err(not_ours(asked)),
    }
}

async fn instances(client: &Client, asked: Asked, tags: &Tags) -> Result<Vec<Instance>, PortError> {
    let mut pages = client
        .describe_instances()
        .set_filters(Some(by_tags(tags)))
        .into_paginator()
        .page_size(PAGE)
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| sort(asked, error))?;
        let reservations = page.reservations().iter();
        found.extend(
            reservations
                .flat_map(|reservation| reservation.instances())
                .filter_map(resource::instance),
        );
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// One instance by id, `None` when it is terminated or was never there.
pub(crate) async fn instance(
    client: &Client,
    asked: Asked,
    id: &str,
) -> Result<Option<Instance>, PortError> {
    let answer = client.describe_instances().instance_ids(id).send().await;
    let answer = match answer.map_err(|error| sort(asked, error)) {
        Err(error) if error.is_not_found() => return Ok(None),
        answer => answer?,
    };
    let reservations = answer.reservations().iter();
    Ok(reservations
        .flat_map(|reservation| reservation.instances())
        .filter_map(resource::instance)
        .find(|instance| instance.id == id))
}

async fn vpcs(client: &Client, asked: Asked, ids: &[String]) -> Result<CloudReply, PortError> {
    let mut found = Vec::new();
    // No request for no ids: that would describe every VPC.
    for chunk in ids.chunks(IDS) {
        let answer = client
            .describe_vpcs()
            .set_vpc_ids(Some(chunk.to_vec()))
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| sort(asked, error))?;
        found.extend(answer.iter().map(resource::vpc));
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(CloudReply::Vpcs(found))
}

async fn subnets(client: &Client, asked: Asked, vpc: &str) -> Result<CloudReply, PortError> {
    let answer = client
        .describe_subnets()
        .filters(filter("vpc-id", vpc))
        .into_paginator()
        .page_size(PAGE)
        .items()
        .send()
        .try_collect()
        .await
        .map_err(|error| sort(asked, error))?;
    let mut found: Vec<_> = answer.iter().map(resource::subnet).collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(CloudReply::Subnets(found))
}

async fn route_tables(client: &Client, asked: Asked, vpc: &str) -> Result<CloudReply, PortError> {
    let answer = client
        .describe_route_tables()
        .filters(filter("vpc-id", vpc))
        .into_paginator()
        .page_size(PAGE_OF_ROUTE_TABLES)
        .items()
        .send()
        .try_collect()
        .await
        .map_err(|error| sort(asked, error))?;
    let mut found: Vec<_> = answer.iter().map(resource::route_table).collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(CloudReply::RouteTables(found))
}

async fn security_groups(
    client: &Client,
    asked: Asked,
    vpc: &str,
) -> Result<CloudReply, PortError> {
    let answer = client
        .describe_security_groups()
        .filters(filter("vpc-id", vpc))
        .into_paginator()
        .page_size(PAGE)
        .items()
        .send()
        .try_collect()
        .await
        .map_err(|error| sort(asked, error))?;
    let mut found: Vec<_> = answer.iter().map(resource::security_group).collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(CloudReply::SecurityGroups(found))
}

/// Carries a mutation out.
pub(crate) async fn change(
    client: &Client,
    asked: Asked,
    call: &CloudCall,
) -> Result<CloudReply, PortError> {
    match call {
        CloudCall::CreateTags { resources, tags } => {
            create_tags(client, asked, resources, tags).await?;
        }
        CloudCall::DeleteTags { resources, keys } => {
            delete_tags(client, asked, resources, keys).await?;
        }
        CloudCall::TerminateInstances { instances } => {
            ignoring(instances, PortError::is_not_found, async |ids| {
                let request = client.terminate_instances().set_instance_ids(Some(ids));
                let answer = request.send().await.map_err(|error| sort(asked, error));
                answer.map(drop)
            })
            .await?;
        }
        CloudCall::DeleteSecurityGroup { id } => {
            let answer = client.delete_security_group().group_id(id).send().await;
            answer.map_err(|error| sort(asked, error))?;
        }
        _ => return Err(not_ours(asked)),
    }
    Ok(CloudReply::Done)
}

async fn create_tags(
    client: &Client,
    asked: Asked,
    resources: &[String],
    tags: &Tags,
) -> Result<(), PortError> {
    if tags.is_empty() {
        return Ok(());
    }
    let tags: Vec<Tag> = tags
        .iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect();
    for chunk in resources.chunks(IDS) {
        let request = client
            .create_tags()
            .set_resources(Some(chunk.to_vec()))
            .set_tags(Some(tags.clone()));
        request.send().await.map_err(|error| sort(asked, error))?;
    }
    Ok(())
}

async fn delete_tags(
    client: &Client,
    asked: Asked,
    resources: &[String],
    keys: &[String],
) -> Result<(), PortError> {
    // No request for no keys: that would delete every tag.
    if keys.is_empty() {
        return Ok(());
    }
    // A tag without a value is deleted whatever its value is.
    let tags: Vec<Tag> = keys
        .iter()
        .map(|key| Tag::builder().key(key).build())
        .collect();
    for chunk in resources.chunks(IDS) {
        let request = client
            .delete_tags()
            .set_resources(Some(chunk.to_vec()))
            .set_tags(Some(tags.clone()));
        request.send().await.map_err(|error| sort(asked, error))?;
    }
    Ok(())
}

fn not_ours(asked: Asked) -> PortError {
    PortError::new(PortErrorKind::Bug, asked.action, "this is not EC2's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_take_values_literally() {
        assert_eq!(literal("owned"), "owned");
        assert_eq!(literal(r"a*b?c\d"), r"a\*b\?c\\d");
    }
}
