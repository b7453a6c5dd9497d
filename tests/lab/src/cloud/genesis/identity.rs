//! The role that CAPA assumes, and the instance profile of the nodes that it makes.

use anyhow::Context as _;
use drover_model::{Partition, names};
use serde_json::{Value, json};

use super::GenesisPlan;
use crate::cloud::query;

const IAM: (&str, &str) = ("iam", "2010-05-08");

/// Makes both.
pub(super) async fn make(endpoint: &str, plan: &GenesisPlan) -> anyhow::Result<()> {
    let partition = Partition::of_region(&plan.region);
    let profile = names::control_plane_profile(&plan.id);
    let nodes = json!({ "Service": partition.ec2_principal() });
    create_role(endpoint, plan, &profile, nodes).await?;
    let by_name = ("InstanceProfileName", &*profile);
    call(endpoint, plan, "CreateInstanceProfile", &[by_name]).await?;
    let parameters = [by_name, ("RoleName", &*profile)];
    call(endpoint, plan, "AddRoleToInstanceProfile", &parameters).await?;

    let name = names::capa_role(&plan.installation);
    let controllers = json!({ "AWS": partition.role_arn(&plan.account, "capa-controller") });
    let arn = create_role(endpoint, plan, &name, controllers).await?;
    let expected = partition.role_arn(&plan.account, &name);
    anyhow::ensure!(
        arn == expected,
        "the role is {arn} instead of {expected}: start moto with MOTO_ACCOUNT_ID={}",
        plan.account
    );
    Ok(())
}

/// Makes a role that a principal may assume; gives its ARN.
async fn create_role(
    endpoint: &str,
    plan: &GenesisPlan,
    name: &str,
    principal: Value,
) -> anyhow::Result<String> {
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole" }],
    })
    .to_string();
    let parameters = [("RoleName", name), ("AssumeRolePolicyDocument", &*trust)];
    let document = call(endpoint, plan, "CreateRole", &parameters).await?;
    let (_, rest) = document
        .split_once("<Arn>")
        .context("CreateRole gave no ARN")?;
    let (arn, _) = rest
        .split_once("</Arn>")
        .context("CreateRole gave no ARN")?;
    Ok(arn.to_owned())
}

async fn call(
    endpoint: &str,
    plan: &GenesisPlan,
    action: &str,
    parameters: &[(&str, &str)],
) -> anyhow::Result<String> {
    query::call(endpoint, &plan.region, IAM, action, parameters).await
}
