//! A look, and a kind that handles a key.

use drover_ports::Ports;
use drover_step_api::{Context, Declaration, Effect, Observed, Step, StepError};

use super::{BASE, ClusterParams};

/// Reads.
pub(crate) struct Look;

impl Step<Ports> for Look {
    type Params = ClusterParams;
    type Output = Vec<String>;

    const DECLARATION: Declaration = Declaration {
        name: "toy.look",
        permissions: &["elasticloadbalancing:DescribeLoadBalancers"],
        ..BASE
    };

    async fn pre(&self, _: &Context<Ports>, _: &ClusterParams) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(
        &self,
        ctx: &Context<Ports>,
        params: &ClusterParams,
    ) -> Result<Vec<String>, StepError> {
        let cloud = ctx.ports().cloud(&params.cluster);
        Ok(cloud.describe_load_balancer("api").await?.instances)
    }

    async fn observe(
        &self,
        _: &Context<Ports>,
        _: &ClusterParams,
    ) -> Result<Observed<Vec<String>>, StepError> {
        Ok(Observed::NotDone)
    }
}

/// Keeps the CA's key in the region store.
pub(crate) struct KeepKey;

impl Step<Ports> for KeepKey {
    type Params = ClusterParams;
    type Output = String;

    const DECLARATION: Declaration = Declaration {
        name: "toy.keep_key",
        effects: &[Effect::repeatable("keep")],
        permissions: &["ca:Fetch", "region-store:Put", "region-store:Head"],
        ..BASE
    };

    async fn pre(&self, _: &Context<Ports>, _: &ClusterParams) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, ctx: &Context<Ports>, params: &ClusterParams) -> Result<String, StepError> {
        let bundle = ctx.ports().ca_source(&params.cluster).fetch().await?;
        let permit = ctx.permit("keep").await?;
        let store = ctx.ports().region_store();
        Ok(store
            .put(permit, &params.cluster, bundle.private_key_pem)
            .await?)
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &ClusterParams,
    ) -> Result<Observed<String>, StepError> {
        match ctx.ports().region_store().head(&params.cluster).await {
            Ok(digest) => Ok(Observed::Done(digest)),
            Err(error) if error.is_not_found() => Ok(Observed::NotDone),
            Err(error) => Err(error.into()),
        }
    }
}
