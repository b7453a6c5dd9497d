//! Auto Scaling groups that come to their end: one method per AWS action, as in the module above.

use drover_step_api::Permit;

use super::{Cloud, CloudCall, CloudReply, LifecycleHook};
use crate::{PortError, PortErrorKind, ports::mismatch};

impl Cloud {
    /// Lifecycle hooks of an Auto Scaling group, ordered by name.
    ///
    /// # Errors
    /// As all actions.
    pub async fn describe_lifecycle_hooks(
        &self,
        group: &str,
    ) -> Result<Vec<LifecycleHook>, PortError> {
        let group = group.to_owned();
        match self
            .read(CloudCall::DescribeLifecycleHooks { group })
            .await?
        {
            CloudReply::Hooks(hooks) => Ok(hooks),
            _ => Err(mismatch("autoscaling:DescribeLifecycleHooks")),
        }
    }

    /// Sets the lower bound of an Auto Scaling group, and nothing else.
    ///
    /// # Errors
    /// `NotFound` when there is no such group.
    pub async fn set_least_instances(
        &self,
        permit: Permit,
        group: &str,
        min: u32,
    ) -> Result<(), PortError> {
        let group = group.to_owned();
        self.write(permit, CloudCall::UpdateAutoScalingGroup { group, min })
            .await
    }

    /// Ends an instance of an Auto Scaling group. With `decrement` the group wants one instance less, else it starts another.
    /// One that is in no group any more is success.
    ///
    /// # Errors
    /// `Conflict` while the instance is on its way already; `Invalid` when the group's lower bound does not allow it.
    pub async fn terminate_instance_in_auto_scaling_group(
        &self,
        permit: Permit,
        instance: &str,
        decrement: bool,
    ) -> Result<(), PortError> {
        let call = CloudCall::TerminateInstanceInAutoScalingGroup {
            instance: instance.to_owned(),
            decrement,
        };
        gone_is_done(self.write(permit, call).await)
    }

    /// Lets an instance end that a lifecycle hook holds up. One that is not held up any more is success.
    ///
    /// # Errors
    /// As all actions.
    pub async fn complete_lifecycle_action(
        &self,
        permit: Permit,
        group: &str,
        hook: &str,
        instance: &str,
    ) -> Result<(), PortError> {
        let call = CloudCall::CompleteLifecycleAction {
            group: group.to_owned(),
            hook: hook.to_owned(),
            instance: instance.to_owned(),
        };
        gone_is_done(self.write(permit, call).await)
    }

    /// Deletes an Auto Scaling group that has no instances; one that is not there is success.
    ///
    /// # Errors
    /// `Conflict` while it has instances, or while they come and go.
    pub async fn delete_auto_scaling_group(
        &self,
        permit: Permit,
        group: &str,
    ) -> Result<(), PortError> {
        let group = group.to_owned();
        gone_is_done(
            self.write(permit, CloudCall::DeleteAutoScalingGroup { group })
                .await,
        )
    }
}

fn gone_is_done(done: Result<(), PortError>) -> Result<(), PortError> {
    match done {
        Err(error) if error.kind == PortErrorKind::NotFound => Ok(()),
        done => done,
    }
}
