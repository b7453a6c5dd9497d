//! The plan of one cluster's migration: everything that later steps must know, as it was when the migration began.
//!
//! The inventory step writes it once. Later steps read it instead of looking again, because what they would see changes
//! under their hands: a master that was terminated is no longer listed, but it was a master.

mod network;
mod nodes;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use network::{LoadBalancers, NetworkPlan, SubnetPlan};
pub use nodes::{ControlPlanePlan, Master, PoolPlan, SpotPlan};

use crate::{Finding, Partition, UpdateSchedule, Version, names};

/// Version of the document's shape. A reader refuses a newer one.
pub const PLAN_VERSION: u32 = 1;

/// Default of `node-cidr-mask-size` in the charts of Cluster API clusters; vintage clusters use 25.
pub const CHART_NODE_CIDR_MASK: u8 = 24;

/// The plan. Holds no secret. Serialized it stays below 64 KiB for a dozen pools, so that it can be passed as a
/// parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterPlan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// Cluster id.
    pub id: String,
    /// Organization.
    pub organization: String,
    /// Namespace of its objects on both management clusters.
    pub namespace: String,
    /// Installation.
    pub installation: String,
    /// AWS region.
    pub region: String,
    /// AWS partition.
    pub partition: Partition,
    /// AWS account of the cluster.
    pub account: String,
    /// For people.
    pub description: String,
    /// highest, medium, lowest, or empty.
    pub service_priority: String,
    /// Vintage release; `None` when its label is no version.
    pub release: Option<Version>,
    /// Kubernetes version of the vintage nodes, and of the Cluster API nodes: a migration never upgrades.
    pub kubernetes: Version,
    /// Newest condition of the `AWSCluster`: Created, Updated, …; empty when it has none.
    pub condition: String,
    /// A scheduled upgrade, when the annotations name one.
    pub update_schedule: Option<UpdateSchedule>,
    /// Names of the API and of etcd.
    pub endpoints: Endpoints,
    /// VPC, subnets, groups, CIDRs.
    pub network: NetworkPlan,
    /// Names of the classic load balancers.
    pub load_balancers: LoadBalancers,
    /// Control plane.
    pub control_plane: ControlPlanePlan,
    /// Masters, ordered by their etcd member's name. 1 or 3.
    pub masters: Vec<Master>,
    /// Node pools, ordered by id.
    pub node_pools: Vec<PoolPlan>,
    /// Service-account tokens.
    pub service_accounts: ServiceAccountPlan,
    /// The customer's identity provider.
    pub oidc: Option<OidcPlan>,
    /// Cloud tags.
    pub tags: BTreeMap<String, String>,
    /// etcd's quota, bytes.
    pub etcd_quota_bytes: u64,
    /// `--terminated-pod-gc-threshold`, when it is set.
    pub pod_gc_threshold: Option<u32>,
    /// ARN of the role that CAPA assumes in the cluster's account.
    pub capa_role_arn: String,
    /// Annotations of the vintage objects that nothing above carries, `Kind name: key=value`.
    pub other_settings: Vec<String>,
    /// What was missing or contradictory in the custom resources.
    pub findings: Vec<Finding>,
}

/// Names of the API and of etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoints {
    /// `<base>` in `api.<id>.k8s.<base>`.
    pub base_domain: String,
    /// Base domain of the Cluster API management cluster.
    pub capi_domain: String,
    /// The name that customers use today.
    pub old_api: String,
    /// The name that they are to use.
    pub new_api: String,
    /// Vintage etcd's name.
    pub etcd: String,
}

impl Endpoints {
    /// All names of a cluster.
    pub fn new(id: &str, base_domain: &str, capi_domain: &str) -> Self {
        Self {
            base_domain: base_domain.to_owned(),
            capi_domain: capi_domain.to_owned(),
            old_api: names::old_api(id, base_domain),
            new_api: names::new_api(id, capi_domain),
            etcd: names::etcd(id, base_domain),
        }
    }
}

/// How service-account tokens are issued and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceAccountPlan {
    /// Issuers of the running vintage API servers, the signing one first.
    pub issuers: Vec<String>,
    /// The issuer that the Cluster API side adds, last.
    pub capi_issuer: String,
    /// Audiences of the running vintage API servers.
    pub audiences: Vec<String>,
}

/// The customer's identity provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OidcPlan {
    /// Issuer.
    pub issuer_url: String,
    /// Client id; empty when unknown.
    pub client_id: String,
    /// Claim with the user's name; empty when unknown.
    pub username_claim: String,
    /// Claim with the groups; empty when unknown.
    pub groups_claim: String,
}

impl ClusterPlan {
    /// Names of the vintage etcd members.
    pub fn vintage_members(&self) -> impl Iterator<Item = &str> {
        self.masters.iter().map(|master| master.member.as_str())
    }

    /// EC2 instance ids of the masters.
    pub fn master_instances(&self) -> Vec<String> {
        self.masters
            .iter()
            .map(|master| master.instance.clone())
            .collect()
    }
}
