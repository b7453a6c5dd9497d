//! The adapter: one call, one door, one answer.

use std::sync::Arc;

use drover_ports::{
    Addresses, Cluster, KubeCall, KubeReply, PortError, ProbeCall, ProbeReply, ProbeResult, Via,
};

use crate::{
    asked::{Asked, NO_DOOR},
    config::{KubeAdapterError, KubeConfig},
    doors::Doors,
    probe, served_ca, verbs,
};

/// Kubernetes APIs of both management clusters and of all workload clusters that these know.
pub struct KubeAdapter {
    doors: Doors,
}

impl KubeAdapter {
    /// Reads both kubeconfigs once, to find mistakes early; connects to nothing. `addresses` says where instances are.
    ///
    /// # Errors
    /// A kubeconfig that is not there, or is none.
    pub fn new(
        config: KubeConfig,
        addresses: Arc<dyn Addresses>,
    ) -> Result<Self, KubeAdapterError> {
        config.check()?;
        Ok(Self {
            doors: Doors::new(config, addresses),
        })
    }

    /// Passes one call, within 30 s a request. Not cancel-safe: a dropped mutation may or may not have happened.
    ///
    /// # Errors
    /// `PortError` by what to do about it; its code is the API's reason. `Unreachable` with the code `NoDoor` when the
    /// door does not exist (no instance, no endpoint yet); `NotFound` with the code `NoKind` when the API does not serve
    /// the kind.
    pub async fn call(&self, at: &Cluster, call: KubeCall) -> Result<KubeReply, PortError> {
        let action = format!("{}:{}", at.word(), call.action());
        let asked = Asked {
            action: &action,
            mutates: call.mutates(),
        };
        let connection = self.doors.connection(at, asked).await?;
        self.doors
            .noted(at, verbs::pass(&connection, call, asked).await)
    }

    /// Takes a look from the outside, over a new connection.
    ///
    /// # Errors
    /// For `Api` only when the look could not be taken. For `ServedCa` also `Unreachable`, when no certificate was shown
    /// or its CA is none of the kubeconfig's.
    pub async fn probe(&self, cluster: &str, call: ProbeCall) -> Result<ProbeReply, PortError> {
        let asked = Asked::read(call.action());
        match call {
            ProbeCall::Api { via } => {
                let result = self.probe_api(cluster, via, asked).await?;
                Ok(ProbeReply::Api(result))
            }
            ProbeCall::ServedCa { via } => {
                let config = self.doors.find(cluster, &via, asked).await?;
                let fingerprint = served_ca::fingerprint(&config, asked).await?;
                Ok(ProbeReply::ServedCa { fingerprint })
            }
        }
    }

    /// Forgets connections and credentials, so that the next calls use fresh ones.
    pub fn refresh(&self) {
        self.doors.refresh();
    }

    /// For the tunnel.
    pub(crate) fn doors(&self) -> &Doors {
        &self.doors
    }

    async fn probe_api(
        &self,
        cluster: &str,
        via: Via,
        asked: Asked<'_>,
    ) -> Result<ProbeResult, PortError> {
        let config = match self.doors.find(cluster, &via, asked).await {
            Ok(config) => config,
            // A door that is not there is closed to customers too.
            Err(error) if error.code == NO_DOOR => return Ok(probe::failed(&error.message)),
            Err(error) => return Err(error),
        };
        let at = Cluster::Workload {
            cluster: cluster.to_owned(),
            via,
        };
        self.doors.noted(&at, probe::api(config, asked).await)
    }
}
