//! Jobs that act on a node's host. Their form is `drover_model::node_job`'s.

use drover_model::{
    Partition,
    node_job::{self, NodeCommand, NodeJob},
    sha256_hex,
};
use drover_ports::{ObjectRef, PortErrorKind, Ports, Via};
use drover_step_api::{Context, Poll, StepError};
use serde_json::Value;

use super::defaults::{minutes, seconds};
use crate::kinds;

/// What is done on a node, and under which name.
pub(crate) struct Task<'t> {
    pub(crate) cluster: &'t str,
    pub(crate) partition: Partition,
    pub(crate) node: &'t str,
    /// Declared effect; also part of the Job's name.
    pub(crate) effect: &'t str,
    pub(crate) commands: Vec<NodeCommand>,
}

impl Task<'_> {
    /// The same for every attempt of one workflow, another for every effect and node.
    fn name(&self, ctx: &Context<Ports>) -> String {
        let of = format!("{}/{}/{}", ctx.workflow(), self.effect, self.node);
        format!(
            "drover-{}-{}",
            self.effect,
            &sha256_hex(of.as_bytes())[..10]
        )
    }

    fn reference(&self, ctx: &Context<Ports>) -> ObjectRef {
        ObjectRef::new(&kinds::job(), node_job::NAMESPACE, &self.name(ctx))
    }

    /// The Job, if it exists.
    ///
    /// # Errors
    /// As the port.
    pub(crate) async fn find(&self, ctx: &Context<Ports>) -> Result<Option<Value>, StepError> {
        let workload = ctx.ports().workload(self.cluster, Via::OldName);
        Ok(workload.find(&self.reference(ctx)).await?)
    }

    /// True when the Job exists and has not come to an end.
    ///
    /// # Errors
    /// As the port.
    pub(crate) async fn is_pending(&self, ctx: &Context<Ports>) -> Result<bool, StepError> {
        let found = self.find(ctx).await?;
        Ok(found.is_some_and(|job| !NodeJob::has_succeeded(&job) && !NodeJob::has_failed(&job)))
    }

    /// Starts the Job, unless it has been started already, and waits until it has succeeded.
    ///
    /// # Errors
    /// `Failed` when the Job failed; `Transient` when it does not come to an end.
    pub(crate) async fn run(&self, ctx: &Context<Ports>) -> Result<(), StepError> {
        self.start(ctx).await?;
        let what = format!("{} on {}", self.effect, self.node);
        ctx.wait_until(&what, seconds(5), minutes(10), async || {
            Ok(match self.find(ctx).await? {
                Some(job) if NodeJob::has_succeeded(&job) => Poll::Ready(()),
                Some(job) if NodeJob::has_failed(&job) => {
                    return Err(StepError::failed(
                        "node-job-failed",
                        format!(
                            "Job {}/{} failed; read the log of its pod, then delete it and retry the step",
                            node_job::NAMESPACE,
                            self.name(ctx)
                        ),
                    ));
                }
                Some(_) => Poll::Pending("the Job runs".to_owned()),
                None => Poll::Pending("the Job is gone".to_owned()),
            })
        })
        .await
    }

    /// Starts the Job, unless it has been started already. For what makes its own report impossible, like the end of the
    /// API that it would report to.
    ///
    /// # Errors
    /// As the port.
    pub(crate) async fn start(&self, ctx: &Context<Ports>) -> Result<(), StepError> {
        if self.find(ctx).await?.is_none() {
            self.create(ctx).await?;
        }
        Ok(())
    }

    async fn create(&self, ctx: &Context<Ports>) -> Result<(), StepError> {
        let job = NodeJob {
            name: self.name(ctx),
            node: self.node.to_owned(),
            image: node_job::image(self.partition),
            commands: self.commands.clone(),
        };
        let permit = ctx.permit_for(self.effect, self.node).await?;
        let workload = ctx.ports().workload(self.cluster, Via::OldName);
        match workload.create(permit, job.render()).await {
            Ok(_) => Ok(()),
            // An earlier attempt's request arrived after all.
            Err(error) if error.kind == PortErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes a Job that has not come to an end, so that it acts no more.
    ///
    /// # Errors
    /// As the port.
    pub(crate) async fn withdraw(
        &self,
        ctx: &Context<Ports>,
        effect: &str,
    ) -> Result<(), StepError> {
        if !self.is_pending(ctx).await? {
            return Ok(());
        }
        let item = format!("{}/{}", self.effect, self.node);
        let permit = ctx.permit_for(effect, &item).await?;
        let workload = ctx.ports().workload(self.cluster, Via::OldName);
        Ok(workload.delete(permit, &self.reference(ctx)).await?)
    }
}
