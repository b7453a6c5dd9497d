//! CloudFormation.

use drover_model::stack_template;
use drover_ports::{PortError, PortErrorKind, Stack};

use super::cloud::not_found;
use crate::{
    genesis::stack_template as made_by_operator,
    state::{Cluster, StackDetails, StackWork},
};

pub(super) fn list(cluster: &Cluster, prefix: &str) -> Vec<Stack> {
    let stacks = cluster.cloud.stacks.iter();
    stacks
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, status)| Stack {
            name: name.clone(),
            status: status.clone(),
            termination_protection: cluster
                .cloud
                .stack_details
                .get(name)
                .is_some_and(|details| details.protected),
        })
        .collect()
}

pub(super) fn template(cluster: &Cluster, stack: &str, action: &str) -> Result<String, PortError> {
    let details = cluster.cloud.stack_details.get(stack);
    let details = details.ok_or_else(|| missing(stack, action))?;
    let own = || made_by_operator(&cluster.facts.id, stack);
    Ok(details.template.clone().unwrap_or_else(own))
}

fn missing(stack: &str, action: &str) -> PortError {
    not_found(action, "ValidationError", &format!("stack {stack}"))
}

fn refuse(action: &str, why: String) -> PortError {
    PortError::new(PortErrorKind::Invalid, action, why).with_code("ValidationError")
}

fn details<'c>(
    cluster: &'c mut Cluster,
    stack: &str,
    action: &str,
) -> Result<&'c mut StackDetails, PortError> {
    cluster
        .cloud
        .stack_details
        .get_mut(stack)
        .ok_or_else(|| missing(stack, action))
}

fn refuse_while_busy(cluster: &Cluster, stack: &str, action: &str) -> Result<(), PortError> {
    match cluster.cloud.stacks.get(stack) {
        Some(status) if status.ends_with("_IN_PROGRESS") => Err(refuse(
            action,
            format!("Stack {stack} is in {status} state and can not be updated."),
        )),
        _ => Ok(()),
    }
}

/// Logical ids with their types: what an update has to change.
fn shape(template: &str, action: &str) -> Result<Vec<(String, String)>, PortError> {
    let resources = stack_template::resources(template)
        .map_err(|error| refuse(action, format!("Template format error: {error}")))?;
    Ok(resources
        .into_iter()
        .map(|resource| (resource.id, resource.type_))
        .collect())
}

pub(super) fn update(
    cluster: &mut Cluster,
    stack: &str,
    wanted: &str,
    action: &str,
) -> Result<bool, PortError> {
    let now = template(cluster, stack, action)?;
    refuse_while_busy(cluster, stack, action)?;
    // A deletion policy is nothing to update by itself.
    if shape(&now, action)? == shape(wanted, action)? {
        return Err(refuse(action, "No updates are to be performed.".to_owned()));
    }
    let details = details(cluster, stack, action)?;
    details.template = Some(wanted.to_owned());
    details.work = Some(StackWork::Update);
    let status = "UPDATE_IN_PROGRESS".to_owned();
    cluster.cloud.stacks.insert(stack.to_owned(), status);
    Ok(true)
}

pub(super) fn protect(
    cluster: &mut Cluster,
    stack: &str,
    enabled: bool,
    action: &str,
) -> Result<bool, PortError> {
    let details = details(cluster, stack, action)?;
    Ok(std::mem::replace(&mut details.protected, enabled) != enabled)
}

pub(super) fn delete(cluster: &mut Cluster, stack: &str, action: &str) -> Result<bool, PortError> {
    let Some(details) = cluster.cloud.stack_details.get(stack) else {
        // Deleting one that is not there succeeds.
        return Ok(false);
    };
    if details.protected {
        let why =
            format!("Stack [{stack}] cannot be deleted while TerminationProtection is enabled");
        return Err(refuse(action, why));
    }
    if details.work == Some(StackWork::Delete) {
        return Ok(false);
    }
    refuse_while_busy(cluster, stack, action)?;
    self::details(cluster, stack, action)?.work = Some(StackWork::Delete);
    let status = "DELETE_IN_PROGRESS".to_owned();
    cluster.cloud.stacks.insert(stack.to_owned(), status);
    Ok(true)
}
