//! Route 53, and who still uses what its names used to point to.

use drover_step_api::Permit;

use super::{Cloud, CloudCall, CloudReply, DnsRecord, HostedZone};
use crate::{PortError, ports::mismatch};

impl Cloud {
    /// Hosted zones of a domain, the public ones first; none where Route 53 is not in use.
    ///
    /// # Errors
    /// As all actions.
    pub async fn list_hosted_zones(&self, domain: &str) -> Result<Vec<HostedZone>, PortError> {
        let domain = domain.to_owned();
        match self.read(CloudCall::ListHostedZones { domain }).await? {
            CloudReply::Zones(zones) => Ok(zones),
            _ => Err(mismatch("route53:ListHostedZonesByName")),
        }
    }

    /// Records of a hosted zone, ordered by name and type.
    ///
    /// # Errors
    /// `NotFound` when there is no such zone.
    pub async fn list_records(&self, zone: &str) -> Result<Vec<DnsRecord>, PortError> {
        let zone = zone.to_owned();
        match self.read(CloudCall::ListRecords { zone }).await? {
            CloudReply::Records(records) => Ok(records),
            _ => Err(mismatch("route53:ListResourceRecordSets")),
        }
    }

    /// Puts a record into the place of the one that was `seen`, in one change batch: whoever asks meets one or the other.
    ///
    /// # Errors
    /// `Conflict` with code `InvalidChangeBatch` when the record is not as it was seen any more.
    pub async fn replace_record(
        &self,
        permit: Permit,
        zone: &str,
        seen: &DnsRecord,
        record: &DnsRecord,
    ) -> Result<(), PortError> {
        let call = CloudCall::ReplaceRecord {
            zone: zone.to_owned(),
            seen: seen.clone(),
            record: record.clone(),
        };
        self.write(permit, call).await
    }

    /// Connections that were made to a classic load balancer in the last `seconds`: the sum of its metric `RequestCount`,
    /// which counts connections when it listens on TCP.
    ///
    /// # Errors
    /// As all actions; a load balancer that does not exist has no connections.
    pub async fn count_connections(
        &self,
        load_balancer: &str,
        seconds: u64,
    ) -> Result<u64, PortError> {
        let call = CloudCall::CountConnections {
            load_balancer: load_balancer.to_owned(),
            seconds,
        };
        match self.read(call).await? {
            CloudReply::Connections(count) => Ok(count),
            _ => Err(mismatch("cloudwatch:GetMetricStatistics")),
        }
    }
}
