//! The real world: every outside call goes to its adapter.

mod clock;
mod settings;

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use drover_adapter_aws::{AwsAdapter, AwsConfig};
use drover_adapter_etcd::EtcdAdapter;
use drover_adapter_kube::{KubeAdapter, KubeConfig};
use drover_adapter_volume::Volume;
use drover_ports::{
    Addresses, Call, Caller, Door, ObjectStore, PortError, PortErrorKind, Reply, StoreCall,
    StoreReply, Tunnel,
};
use drover_step_api::Stamp;

pub use self::{
    clock::WallClock,
    settings::{Places, Settings},
};
use crate::ledger::{Ledger, LedgerDoor};

/// The door to the real world.
pub struct RealDoor {
    kube: Arc<KubeAdapter>,
    aws: Arc<AwsAdapter>,
    etcd: EtcdAdapter,
    store: Arc<dyn ObjectStore>,
}

impl RealDoor {
    /// Puts the adapters together. Asks nobody yet.
    ///
    /// # Errors
    /// When a kubeconfig makes no sense, or the store does not open.
    pub async fn open(places: &Places) -> anyhow::Result<Self> {
        let aws = AwsAdapter::new(AwsConfig {
            region: places.region.clone(),
            endpoint_url: places.aws_endpoint.clone(),
        });
        let aws = Arc::new(aws.await);
        let store = Volume::open(&places.store)
            .with_context(|| format!("the store {}", places.store.display()))?;
        let store: Arc<dyn ObjectStore> = Arc::new(store);
        let config = KubeConfig {
            vintage_mc: places.vintage_kubeconfig.clone(),
            capi_mc: places.capi_kubeconfig.clone(),
        };
        let addresses: Arc<dyn Addresses> = Arc::clone(&aws) as _;
        let kube = Arc::new(KubeAdapter::new(config, addresses)?);
        let tunnel: Arc<dyn Tunnel> = Arc::clone(&kube) as _;
        Ok(Self {
            etcd: EtcdAdapter::new(tunnel, Arc::clone(&store)),
            kube,
            aws,
            store,
        })
    }

    async fn region_store(&self, call: StoreCall) -> Result<StoreReply, PortError> {
        let action = call.action();
        let not_found =
            || PortError::new(PortErrorKind::NotFound, action, "there is no such object");
        match call {
            StoreCall::Head { key } => {
                let (sha256, _) = self.store.head(&key).await?.ok_or_else(not_found)?;
                Ok(StoreReply::Digest { sha256 })
            }
            StoreCall::Get { key } => {
                let data = self.store.get(&key).await?;
                Ok(StoreReply::Data { data })
            }
            StoreCall::Put { key, data } => {
                let sha256 = self.store.put(&key, &data).await?;
                Ok(StoreReply::Digest { sha256 })
            }
        }
    }
}

#[async_trait]
impl Door for RealDoor {
    async fn pass(
        &self,
        _caller: &Caller,
        call: Call,
        _stamp: Option<Stamp>,
    ) -> Result<Reply, PortError> {
        match call {
            Call::Kube { at, call } => self.kube.call(&at, call).await.map(Reply::Kube),
            Call::Cloud { cluster, call } => self.aws.call(&cluster, call).await.map(Reply::Cloud),
            Call::Etcd { cluster, call } => self.etcd.call(&cluster, call).await.map(Reply::Etcd),
            Call::Ca { call, .. } => Err(PortError::new(
                PortErrorKind::Unavailable,
                call.action(),
                "this worker has no CA source",
            )
            .with_code("NoCaSource")),
            Call::RegionStore { call } => self.region_store(call).await.map(Reply::RegionStore),
            Call::Probe { cluster, call } => {
                self.kube.probe(&cluster, call).await.map(Reply::Probe)
            }
        }
    }

    async fn refresh_credentials(&self) {
        self.aws.refresh().await;
        self.kube.refresh();
        self.etcd.refresh();
    }
}

impl Places {
    /// The door to these places, with its ledger when there is to be one.
    ///
    /// # Errors
    /// As [`RealDoor::open`]; when the ledger does not open.
    pub(crate) async fn open(&self) -> anyhow::Result<Arc<dyn Door>> {
        let door = Arc::new(RealDoor::open(self).await?);
        let Some(path) = &self.ledger else {
            return Ok(door);
        };
        let ledger = Ledger::open(path, self.ledger_reads)
            .with_context(|| format!("the ledger {}", path.display()))?;
        Ok(Arc::new(LedgerDoor::new(door, ledger)))
    }
}

#[cfg(test)]
mod tests {
    use drover_ports::{CaCall, SecretBytes};

    use super::*;

    /// Management clusters that nobody is at.
    const NOWHERE: &str = "\
apiVersion: v1
kind: Config
current-context: nowhere
contexts: [{name: nowhere, context: {cluster: nowhere, user: nobody}}]
clusters: [{name: nowhere, cluster: {server: 'https://127.0.0.1:1'}}]
users: [{name: nobody, user: {}}]
";

    fn places(dir: &std::path::Path) -> Places {
        let kubeconfig = dir.join("kubeconfig");
        std::fs::write(&kubeconfig, NOWHERE).unwrap();
        Places {
            vintage_kubeconfig: kubeconfig.clone(),
            capi_kubeconfig: kubeconfig,
            region: "eu-central-1".to_owned(),
            store: dir.join("store"),
            aws_endpoint: Some("http://127.0.0.1:1".to_owned()),
            ledger: Some(dir.join("ledger.jsonl")),
            ledger_reads: false,
        }
    }

    async fn pass(door: &dyn Door, call: Call) -> Result<Reply, PortError> {
        door.pass(&Caller::default(), call, None).await
    }

    #[tokio::test]
    async fn nobody_has_the_ca() {
        let dir = tempfile::tempdir().unwrap();
        let door = places(dir.path()).open().await.unwrap();
        for call in [CaCall::Fetch, CaCall::Check] {
            let action = call.action();
            let cluster = "c0001".to_owned();
            let error = pass(&*door, Call::Ca { cluster, call }).await.unwrap_err();
            assert_eq!(error.kind, PortErrorKind::Unavailable);
            assert_eq!(error.code, "NoCaSource");
            assert_eq!(error.action, action);
        }
    }

    #[tokio::test]
    async fn the_region_store_is_the_folder_and_puts_stand_in_the_ledger() {
        let dir = tempfile::tempdir().unwrap();
        let door = places(dir.path()).open().await.unwrap();
        let key = "golem/c0001/x".to_owned();
        let call = StoreCall::Head { key: key.clone() };
        let error = pass(&*door, Call::RegionStore { call }).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::NotFound);
        assert_eq!(error.action, "region-store:Head");
        let data = SecretBytes::new(b"abc".to_vec());
        let call = StoreCall::Put {
            key: key.clone(),
            data: data.clone(),
        };
        let put = pass(&*door, Call::RegionStore { call }).await.unwrap();
        let call = StoreCall::Head { key: key.clone() };
        assert_eq!(pass(&*door, Call::RegionStore { call }).await, Ok(put));
        let call = StoreCall::Get { key };
        let got = Reply::RegionStore(StoreReply::Data { data });
        assert_eq!(pass(&*door, Call::RegionStore { call }).await, Ok(got));
        let ledger = std::fs::read_to_string(dir.path().join("ledger.jsonl")).unwrap();
        assert_eq!(ledger.lines().count(), 1, "{ledger}");
    }
}
