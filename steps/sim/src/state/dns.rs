//! Route 53, as far as the cluster's vintage domain goes.

use drover_ports::{DnsRecord, HostedZone};

/// A hosted zone with what is in it.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    pub(crate) zone: HostedZone,
    /// Ordered by name and type.
    pub(crate) records: Vec<DnsRecord>,
}

impl Zone {
    /// What a name points to or has as address.
    pub(crate) fn answer(&self, name: &str) -> Option<&str> {
        self.records
            .iter()
            .find(|record| record.name == name && record.type_ != "TXT")
            .and_then(|record| record.values.first())
            .map(String::as_str)
    }
}
