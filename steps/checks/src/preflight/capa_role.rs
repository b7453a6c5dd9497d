//! CAPA can act in the cluster's account: its role exists there and can be assumed.

use drover_ports::PortErrorKind;

use super::{Findings, Look, blocker};

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let plan = look.plan;
    let role = &plan.capa_role_arn;
    match look.ports().cloud(&plan.id).assume_role(role).await {
        Ok(_) => Ok(Vec::new()),
        Err(error) if matches!(error.kind, PortErrorKind::Denied | PortErrorKind::NotFound) => {
            Ok(vec![blocker(
                "capa-role",
                format!(
                    "the role {role} cannot be assumed ({}); create it in account {} with the trust policy of this installation",
                    error.message, plan.account
                ),
            )])
        }
        Err(error) => Err(error.into()),
    }
}
