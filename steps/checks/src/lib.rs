//! Step kinds that only look: preflight checks and proofs.
//!
//! Nothing here changes anything outside; a kind of this family can be run against any cluster at any time.

mod defaults;
pub mod first_node;
mod insist;
mod kinds;
pub mod preflight;
mod target;
pub mod watch_routes;

use drover_ports::Ports;
use drover_step_api::{Registry, RegistryError};

/// Adds the kinds of this family.
///
/// # Errors
/// When a kind is there already or its declaration contradicts itself.
pub fn registry(into: &mut Registry<Ports>) -> Result<(), RegistryError> {
    into.register(preflight::Preflight)?;
    into.register(first_node::FirstNode)?;
    into.register(watch_routes::WatchRoutes)
}
