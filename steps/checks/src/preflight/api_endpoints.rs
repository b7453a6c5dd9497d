//! Vintage API servers advertise port 443, as the Cluster API ones will: the endpoints of the `kubernetes` service have one
//! port for all addresses. And the old name answers.

use drover_ports::{ObjectRef, Via};

use super::{Findings, Look, blocker};
use crate::{insist::again_while, kinds};

pub(super) async fn check(look: &Look<'_>) -> Findings {
    let plan = look.plan;
    let mut found = Vec::new();
    let prober = look.ports().probe(&plan.id);
    let probe = again_while(
        look.ctx,
        || prober.api(Via::OldName),
        |answer| answer.as_ref().is_ok_and(|probe| !probe.ok),
    )
    .await??;
    if !probe.ok {
        found.push(blocker(
            "old-name-silent",
            format!(
                "{} does not answer: {}",
                plan.endpoints.old_api, probe.detail
            ),
        ));
    }
    let object = ObjectRef::new(&kinds::endpoints(), "default", "kubernetes");
    let endpoints = look.workload().get(&object).await?;
    let subset = &endpoints["subsets"][0];
    let port = &subset["ports"][0]["port"];
    if *port != 443 {
        found.push(blocker(
            "endpoint-port",
            format!("the kubernetes service has endpoints at port {port}, and the new API servers will listen on 443"),
        ));
    }
    let count = subset["addresses"].as_array().map_or(0, Vec::len);
    if count != plan.masters.len() {
        found.push(blocker(
            "endpoints-missing",
            format!(
                "{count} of {} masters are endpoints of the kubernetes service",
                plan.masters.len()
            ),
        ));
    }
    Ok(found)
}
