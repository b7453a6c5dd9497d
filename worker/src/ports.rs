//! Where an attempt's ports come from.

use std::sync::Arc;

use async_trait::async_trait;
use drover_ports::{Caller, Door, Ports};
use drover_step_api::Declaration;

/// Makes the ports of one attempt.
#[async_trait]
pub trait PortsSource<P>: Send + Sync {
    /// Ports for one attempt of a kind.
    fn ports(&self, caller: Caller, declaration: &Declaration) -> P;
    /// Forgets cached credentials, so that the next call uses fresh ones.
    async fn refresh_credentials(&self);
}

/// Ports that all end at one door.
pub struct DoorPorts(pub Arc<dyn Door>);

#[async_trait]
impl PortsSource<Ports> for DoorPorts {
    fn ports(&self, caller: Caller, declaration: &Declaration) -> Ports {
        Ports::new(Arc::clone(&self.0), caller, declaration.permissions)
    }

    async fn refresh_credentials(&self) {
        self.0.refresh_credentials().await;
    }
}
