//! The step families that this worker serves.

use drover_ports::Ports;
use drover_step_api::{Registry, RegistryError};

/// Step kinds of the live migration.
pub type StepKinds = Registry<Ports>;

/// Every kind of every family.
///
/// # Errors
/// When a kind contradicts itself or another one; a build with such a kind serves nothing.
pub fn registry() -> Result<StepKinds, RegistryError> {
    let mut registry = StepKinds::default();
    drover_steps_checks::registry(&mut registry)?;
    drover_steps_capa::registry(&mut registry)?;
    Ok(registry)
}
