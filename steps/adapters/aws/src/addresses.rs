//! Where instances are, for adapters that connect to one.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use drover_ports::{Addresses, PortError, PortErrorKind};
use tokio::time::Instant;

use crate::{AwsAdapter, ec2, error::Asked};

/// As errors name it.
const ACTION: &str = "ec2:DescribeInstances";

/// How long an answer is believed: long enough for the many calls of one look, short enough that a terminated instance
/// is not taken for a living one.
const FRESH: Duration = Duration::from_secs(5);

/// What was looked up a moment ago.
#[derive(Default)]
pub(crate) struct Known(Mutex<HashMap<String, (Instant, IpAddr)>>);

impl Known {
    fn get(&self, instance: &str) -> Option<IpAddr> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, address) = known.get(instance)?;
        (since.elapsed() < FRESH).then_some(*address)
    }

    fn keep(&self, instance: &str, address: IpAddr) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (since, _)| since.elapsed() < FRESH);
        known.insert(instance.to_owned(), (Instant::now(), address));
    }
}

#[async_trait]
impl Addresses for AwsAdapter {
    async fn private_address(&self, _cluster: &str, instance: &str) -> Result<IpAddr, PortError> {
        if let Some(address) = self.known.get(instance) {
            return Ok(address);
        }
        let asked = Asked {
            action: ACTION,
            mutates: false,
        };
        let clients = self.clients();
        let found = Box::pin(ec2::instance(&clients.reads.ec2, asked, instance)).await?;
        let address = found.and_then(|instance| instance.private_ip.parse().ok());
        let Some(address) = address else {
            let why = format!("there is no instance {instance} with an address");
            return Err(PortError::new(PortErrorKind::NotFound, ACTION, why)
                .with_code("InvalidInstanceID.NotFound"));
        };
        self.known.keep(instance, address);
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_is_believed_for_seconds_only() {
        let known = Known::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        known.keep("i-1", address);
        assert_eq!(known.get("i-1"), Some(address));
        assert_eq!(known.get("i-2"), None);
        tokio::time::advance(FRESH).await;
        assert_eq!(known.get("i-1"), None);
    }
}
