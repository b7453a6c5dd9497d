//! The facts that a running coordinator gives to its workflows.

use std::time::Duration;

use crate::{
    ids::{InstallationName, WorkerId},
    lease::LeaseTable,
    pools::Pools,
    time::Timestamp,
    workflow::Facts,
};

/// What is durably known, and who is heard.
#[derive(Clone, Copy, Debug)]
pub struct Present<'a> {
    /// What is durably known.
    pub pools: &'a Pools,
    /// Who is heard.
    pub leases: &'a LeaseTable,
}

impl Facts for Present<'_> {
    fn brake(&self) -> bool {
        self.pools.brake.is_some()
    }

    fn uncharged(
        &self,
        installation: &InstallationName,
        worker: Option<&WorkerId>,
        since: Timestamp,
        now: Timestamp,
    ) -> Duration {
        match worker {
            // While the coordinator is away nobody is unheard: the two never overlap.
            Some(worker) => self.pools.away(since, now) + self.leases.unheard(worker, since, now),
            None => self.pools.absent(installation, since, now),
        }
    }
}
