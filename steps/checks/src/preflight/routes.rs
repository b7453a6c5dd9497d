//! Subnets have route tables of their own, and routes that nobody's stack made are known to somebody.

use super::{Findings, Look, blocker, warning};

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let plan = look.plan;
    let mut found = Vec::new();
    for subnet in &plan.network.subnets {
        if subnet.route_table.is_empty() {
            found.push(blocker(
                "route-table-implicit",
                format!("subnet {} uses the VPC's main route table implicitly; associate a table of its own", subnet.id),
            ));
        }
    }
    let tables = look
        .ports()
        .cloud(&plan.id)
        .describe_route_tables(&plan.network.vpc)
        .await?;
    let foreign: Vec<String> = tables
        .iter()
        .flat_map(|table| &table.routes)
        .filter(|route| {
            ["tgw-", "vgw-", "eni-", "i-"]
                .iter()
                .any(|kind| route.target.starts_with(kind))
        })
        .map(|route| format!("{} via {}", route.destination, route.target))
        .collect();
    if !foreign.is_empty() {
        found.push(warning(
            "routes-foreign",
            format!(
                "routes that no vintage stack made; watch them during the migration: {}",
                foreign.join(", ")
            ),
        ));
    }
    Ok(found)
}
