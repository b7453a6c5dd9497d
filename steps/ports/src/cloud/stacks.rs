//! CloudFormation: what it takes to let go of a stack without what is in it.

use drover_step_api::Permit;

use super::{Cloud, CloudCall, CloudReply};
use crate::{PortError, ports::mismatch};

impl Cloud {
    /// A stack's template, as it was handed in: JSON or YAML.
    ///
    /// # Errors
    /// `NotFound` when there is no such stack.
    pub async fn get_template(&self, stack: &str) -> Result<String, PortError> {
        let stack = stack.to_owned();
        match self.read(CloudCall::GetTemplate { stack }).await? {
            CloudReply::Template(template) => Ok(template),
            _ => Err(mismatch("cloudformation:GetTemplate")),
        }
    }

    /// Begins to update a stack to another template, with the parameters that it has.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` with code `ValidationError` when CloudFormation sees nothing to update (a deletion policy alone
    /// is nothing to it), or while an update is under way.
    pub async fn update_stack(
        &self,
        permit: Permit,
        stack: &str,
        template: &str,
    ) -> Result<(), PortError> {
        let call = CloudCall::UpdateStack {
            stack: stack.to_owned(),
            template: template.to_owned(),
        };
        self.write(permit, call).await
    }

    /// Switches a stack's termination protection.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_termination_protection(
        &self,
        permit: Permit,
        stack: &str,
        enabled: bool,
    ) -> Result<(), PortError> {
        let call = CloudCall::SetTerminationProtection {
            stack: stack.to_owned(),
            enabled,
        };
        self.write(permit, call).await
    }

    /// Begins to delete a stack; one that does not exist is success.
    ///
    /// # Errors
    /// `Invalid` with code `ValidationError` while its termination protection is on.
    pub async fn delete_stack(&self, permit: Permit, stack: &str) -> Result<(), PortError> {
        let call = CloudCall::DeleteStack {
            stack: stack.to_owned(),
        };
        self.write(permit, call).await
    }
}
