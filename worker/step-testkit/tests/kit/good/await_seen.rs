//! A wait.

use std::time::Duration;

use drover_ports::Ports;
use drover_step_api::{Context, Declaration, Observed, Poll, Step, StepError};
use serde_json::Value;

use super::{BASE, ClusterParams, cluster_ref};

/// Waits until the controller has seen that a cluster is held.
pub(crate) struct AwaitSeen;

impl Step<Ports> for AwaitSeen {
    type Params = ClusterParams;
    type Output = ();

    const DECLARATION: Declaration = Declaration {
        name: "toy.await_seen",
        permissions: &["capi-mc:get:Cluster"],
        ..BASE
    };

    async fn pre(&self, _: &Context<Ports>, _: &ClusterParams) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, ctx: &Context<Ports>, params: &ClusterParams) -> Result<(), StepError> {
        let mc = ctx.ports().capi_mc();
        let every = Duration::from_secs(5);
        let within = Duration::from_secs(600);
        ctx.wait_until("the controller", every, within, || async {
            let cluster: Value = mc.get(&cluster_ref(params)).await?;
            Ok(if cluster["status"]["seen"] == true {
                Poll::Ready(())
            } else {
                Poll::Pending("it has not seen it".to_owned())
            })
        })
        .await
    }

    async fn observe(
        &self,
        _: &Context<Ports>,
        _: &ClusterParams,
    ) -> Result<Observed<()>, StepError> {
        Ok(Observed::NotDone)
    }
}
