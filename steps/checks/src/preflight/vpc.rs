//! The VPC will be unmanaged for CAPA: without its ownership tag it neither rewrites routes nor deletes anything.

use drover_model::names;

use super::{Findings, Look, blocker};

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let plan = look.plan;
    let mut found = Vec::new();
    let vpc = match look
        .ports()
        .cloud(&plan.id)
        .describe_vpc(&plan.network.vpc)
        .await
    {
        Ok(vpc) => vpc,
        Err(error) if error.is_not_found() => {
            return Ok(vec![blocker(
                "vpc-missing",
                format!("VPC {} does not exist", plan.network.vpc),
            )]);
        }
        Err(error) => return Err(error.into()),
    };
    let tag = names::tag_capa_cluster(&plan.id);
    if let Some(value) = vpc.tags.get(&tag) {
        found.push(blocker(
            "vpc-managed",
            format!(
                "VPC {} has the tag {tag}={value}, so CAPA would call it its own; remove the tag",
                vpc.id
            ),
        ));
    }
    for zone in &plan.control_plane.zones {
        let private = plan.network.subnets.iter().any(|subnet| {
            subnet.zone == *zone && subnet.stack == names::STACK_NETWORK && !subnet.public
        });
        if !private {
            found.push(blocker(
                "subnet-missing",
                format!("zone {zone} has no private subnet of the control plane's stack"),
            ));
        }
    }
    Ok(found)
}
