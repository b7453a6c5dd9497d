//! The one door, and what passes through it.

use async_trait::async_trait;
use drover_step_api::Stamp;
use serde::{Deserialize, Serialize};

use crate::{
    CaCall, CaReply, CloudCall, CloudReply, Cluster, EtcdCall, EtcdReply, KubeCall, KubeReply,
    PortError, ProbeCall, ProbeReply, StoreCall, StoreReply,
};

/// One outside call. `cluster` names the workload cluster that it is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "port", rename_all = "kebab-case")]
pub enum Call {
    /// A Kubernetes API.
    Kube {
        /// Which API.
        at: Cluster,
        /// The verb.
        call: KubeCall,
    },
    /// AWS APIs in the account and region of a workload cluster.
    Cloud {
        /// Whose account and region.
        cluster: String,
        /// The action.
        call: CloudCall,
    },
    /// etcd of a workload cluster.
    Etcd {
        /// Whose etcd.
        cluster: String,
        /// The request.
        call: EtcdCall,
    },
    /// Where the cluster CA's key comes from.
    Ca {
        /// Whose CA.
        cluster: String,
        /// The request.
        call: CaCall,
    },
    /// The installation's own store for what must be kept.
    RegionStore {
        /// The request.
        call: StoreCall,
    },
    /// A look from the outside.
    Probe {
        /// At which cluster.
        cluster: String,
        /// The look.
        call: ProbeCall,
    },
}

impl Call {
    /// The action as permissions and ledgers name it: `ec2:DescribeInstances`, `capi-mc:apply:Secret`, `etcd:MemberAdd`.
    pub fn action(&self) -> String {
        match self {
            Self::Kube { at, call } => format!("{}:{}", at.word(), call.action()),
            Self::Cloud { call, .. } => call.action().to_owned(),
            Self::Etcd { call, .. } => call.action().to_owned(),
            Self::Ca { call, .. } => call.action().to_owned(),
            Self::RegionStore { call } => call.action().to_owned(),
            Self::Probe { call, .. } => call.action().to_owned(),
        }
    }

    /// True when the call changes something, and so needs a permit.
    pub fn mutates(&self) -> bool {
        match self {
            Self::Kube { call, .. } => call.mutates(),
            Self::Cloud { call, .. } => call.mutates(),
            Self::Etcd { call, .. } => call.mutates(),
            Self::Ca { .. } | Self::Probe { .. } => false,
            Self::RegionStore { call } => call.mutates(),
        }
    }
}

/// The answer to a [`Call`], of the same port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "port", content = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// To [`Call::Kube`].
    Kube(KubeReply),
    /// To [`Call::Cloud`].
    Cloud(CloudReply),
    /// To [`Call::Etcd`].
    Etcd(EtcdReply),
    /// To [`Call::Ca`].
    Ca(CaReply),
    /// To [`Call::RegionStore`].
    RegionStore(StoreReply),
    /// To [`Call::Probe`].
    Probe(ProbeReply),
}

/// Who calls. Reads carry no permit, but faults and ledgers want to know whose they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The installation that the worker serves: its management clusters are meant by a call to one.
    pub installation: String,
    /// The step kind, `name/version`.
    pub kind: String,
    /// Workflow id.
    pub workflow: String,
    /// Step id.
    pub step: String,
    /// Counted from 1.
    pub attempt: u32,
    /// Worker id.
    pub worker: String,
}

/// Where every outside call passes. Implemented by the adapters of the real world and by the simulated world, and
/// wrapped by whatever has to see all calls.
#[async_trait]
pub trait Door: Send + Sync {
    /// Passes one call. `stamp` is the used-up permit of a mutation, `None` for a read.
    ///
    /// Not cancel-safe: a dropped mutation may or may not have happened.
    async fn pass(
        &self,
        caller: &Caller,
        call: Call,
        stamp: Option<Stamp>,
    ) -> Result<Reply, PortError>;

    /// Forgets cached credentials, so that the next call uses fresh ones.
    async fn refresh_credentials(&self);
}
