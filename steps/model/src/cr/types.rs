//! The vintage custom resources, as far as a migration reads them. Everything is optional on purpose: real objects have
//! empty fields, `null`s and fields from other versions, and what is missing becomes a finding, not a failure.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// `null` counts as left out.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// One object: metadata, spec, status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(bound = "S: Deserialize<'de> + Default, T: Deserialize<'de> + Default")]
pub struct Resource<S, T = Nothing> {
    /// `metadata`
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
    /// `spec`
    #[serde(default, deserialize_with = "or_default")]
    pub spec: S,
    /// `status`
    #[serde(default, deserialize_with = "or_default")]
    pub status: T,
}

/// A status or spec that nothing reads.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Nothing {}

/// `metadata`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Namespace; empty for cluster-scoped kinds.
    #[serde(deserialize_with = "or_default")]
    pub namespace: String,
    /// Labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
    /// Set once the object is being deleted.
    pub deletion_timestamp: Option<String>,
}

/// `Cluster` (`cluster.x-k8s.io`), spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterSpec {
    /// Networks.
    #[serde(deserialize_with = "or_default")]
    pub cluster_network: ClusterNetwork,
    /// Where the API is.
    #[serde(deserialize_with = "or_default")]
    pub control_plane_endpoint: Endpoint,
    /// The provider's object.
    #[serde(deserialize_with = "or_default")]
    pub infrastructure_ref: ObjectReference,
}

/// `spec.clusterNetwork`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClusterNetwork {
    /// Service network.
    #[serde(deserialize_with = "or_default")]
    pub services: CidrBlocks,
}

/// A list of networks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CidrBlocks {
    /// CIDRs.
    #[serde(deserialize_with = "or_default")]
    pub cidr_blocks: Vec<String>,
}

/// `spec.controlPlaneEndpoint`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// Host name; empty before the cluster exists.
    #[serde(deserialize_with = "or_default")]
    pub host: String,
}

/// A reference to another object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectReference {
    /// Group and version.
    #[serde(deserialize_with = "or_default")]
    pub api_version: String,
    /// Kind.
    #[serde(deserialize_with = "or_default")]
    pub kind: String,
    /// Name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
}

/// `AWSCluster` (`infrastructure.giantswarm.io`), spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AwsClusterSpec {
    /// What does not depend on the cloud.
    #[serde(deserialize_with = "or_default")]
    pub cluster: AwsClusterCommon,
    /// What does.
    #[serde(deserialize_with = "or_default")]
    pub provider: AwsClusterProvider,
}

/// `AWSCluster.spec.cluster`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AwsClusterCommon {
    /// For people.
    #[serde(deserialize_with = "or_default")]
    pub description: String,
    /// Base domain.
    #[serde(deserialize_with = "or_default")]
    pub dns: Dns,
    /// The customer's identity provider.
    #[serde(deserialize_with = "or_default")]
    pub oidc: OidcSpec,
}

/// `AWSCluster.spec.cluster.dns`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Base domain; the API is `api.<id>.k8s.<domain>`.
    #[serde(deserialize_with = "or_default")]
    pub domain: String,
}

/// `AWSCluster.spec.cluster.oidc`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OidcSpec {
    /// Client id.
    #[serde(rename = "clientID", deserialize_with = "or_default")]
    pub client_id: String,
    /// Issuer.
    #[serde(rename = "issuerURL", deserialize_with = "or_default")]
    pub issuer_url: String,
    /// Names of claims.
    #[serde(deserialize_with = "or_default")]
    pub claims: OidcClaims,
}

/// `AWSCluster.spec.cluster.oidc.claims`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OidcClaims {
    /// Claim with the user's name.
    #[serde(deserialize_with = "or_default")]
    pub username: String,
    /// Claim with the groups.
    #[serde(deserialize_with = "or_default")]
    pub groups: String,
}

/// `AWSCluster.spec.provider`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AwsClusterProvider {
    /// AWS region.
    #[serde(deserialize_with = "or_default")]
    pub region: String,
    /// Secret with the roles' ARNs.
    #[serde(deserialize_with = "or_default")]
    pub credential_secret: SecretReference,
    /// Deprecated master settings; superseded by `AWSControlPlane`.
    #[serde(deserialize_with = "or_default")]
    pub master: MasterSpec,
    /// Where node networks come from.
    #[serde(deserialize_with = "or_default")]
    pub nodes: NodesSpec,
    /// Pod network.
    #[serde(deserialize_with = "or_default")]
    pub pods: PodsSpec,
}

/// A reference to a Secret.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SecretReference {
    /// Name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Namespace.
    #[serde(deserialize_with = "or_default")]
    pub namespace: String,
}

/// `AWSCluster.spec.provider.master`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MasterSpec {
    /// Zone of the single master.
    #[serde(deserialize_with = "or_default")]
    pub availability_zone: String,
    /// Instance type.
    #[serde(deserialize_with = "or_default")]
    pub instance_type: String,
}

/// `AWSCluster.spec.provider.nodes`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodesSpec {
    /// Name of a `NetworkPool`; empty for the installation's own range.
    #[serde(deserialize_with = "or_default")]
    pub network_pool: String,
}

/// `AWSCluster.spec.provider.pods`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodsSpec {
    /// Pod CIDR unless an annotation says otherwise.
    #[serde(deserialize_with = "or_default")]
    pub cidr_block: String,
}

/// `AWSCluster.status`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AwsClusterStatus {
    /// Conditions and versions.
    #[serde(deserialize_with = "or_default")]
    pub cluster: AwsClusterStatusCluster,
    /// Network.
    #[serde(deserialize_with = "or_default")]
    pub provider: AwsClusterStatusProvider,
}

/// `AWSCluster.status.cluster`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AwsClusterStatusCluster {
    /// Newest first.
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<VintageCondition>,
}

/// `AWSCluster.status.cluster.conditions[]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct VintageCondition {
    /// `Creating`, `Created`, `Updating`, `Updated`, `Deleting`.
    #[serde(deserialize_with = "or_default")]
    pub condition: String,
}

/// `AWSCluster.status.provider`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AwsClusterStatusProvider {
    /// The VPC.
    #[serde(deserialize_with = "or_default")]
    pub network: StatusNetwork,
}

/// `AWSCluster.status.provider.network`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StatusNetwork {
    /// CIDR of the nodes.
    #[serde(deserialize_with = "or_default")]
    pub cidr: String,
    /// VPC id.
    #[serde(rename = "vpcID", deserialize_with = "or_default")]
    pub vpc_id: String,
}

/// `G8sControlPlane`, spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct G8sControlPlaneSpec {
    /// 1 or 3.
    #[serde(deserialize_with = "or_default")]
    pub replicas: u32,
}

/// `AWSControlPlane`, spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AwsControlPlaneSpec {
    /// 1 or 3 entries.
    #[serde(deserialize_with = "or_default")]
    pub availability_zones: Vec<String>,
    /// Instance type.
    #[serde(deserialize_with = "or_default")]
    pub instance_type: String,
}

/// `AWSMachineDeployment`, spec: one node pool.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AwsMachineDeploymentSpec {
    /// What does not depend on the cloud.
    #[serde(deserialize_with = "or_default")]
    pub node_pool: NodePoolSpec,
    /// What does.
    #[serde(deserialize_with = "or_default")]
    pub provider: NodePoolProvider,
}

/// `AWSMachineDeployment.spec.nodePool`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodePoolSpec {
    /// For people.
    #[serde(deserialize_with = "or_default")]
    pub description: String,
    /// Volumes.
    #[serde(deserialize_with = "or_default")]
    pub machine: PoolMachine,
    /// Bounds.
    #[serde(deserialize_with = "or_default")]
    pub scaling: Scaling,
}

/// `AWSMachineDeployment.spec.nodePool.machine`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PoolMachine {
    /// GB of the container volume.
    #[serde(rename = "dockerVolumeSizeGB", deserialize_with = "or_default")]
    pub docker_volume_size_gb: u32,
    /// GB of the kubelet's volume.
    #[serde(rename = "kubeletVolumeSizeGB", deserialize_with = "or_default")]
    pub kubelet_volume_size_gb: u32,
}

/// `AWSMachineDeployment.spec.nodePool.scaling`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Scaling {
    /// Fewest nodes.
    #[serde(deserialize_with = "or_default")]
    pub min: u32,
    /// Most nodes.
    #[serde(deserialize_with = "or_default")]
    pub max: u32,
}

/// `AWSMachineDeployment.spec.provider`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodePoolProvider {
    /// Zones of the nodes.
    #[serde(deserialize_with = "or_default")]
    pub availability_zones: Vec<String>,
    /// Spot and on-demand mix.
    #[serde(deserialize_with = "or_default")]
    pub instance_distribution: InstanceDistribution,
    /// Instance types.
    #[serde(deserialize_with = "or_default")]
    pub worker: WorkerSpec,
}

/// `AWSMachineDeployment.spec.provider.instanceDistribution`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceDistribution {
    /// On-demand instances before the percentage counts.
    #[serde(deserialize_with = "or_default")]
    pub on_demand_base_capacity: u32,
    /// 100 is all on demand, 0 all spot.
    pub on_demand_percentage_above_base_capacity: u32,
}

impl Default for InstanceDistribution {
    fn default() -> Self {
        Self {
            on_demand_base_capacity: 0,
            on_demand_percentage_above_base_capacity: 100,
        }
    }
}

/// `AWSMachineDeployment.spec.provider.worker`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkerSpec {
    /// Instance type.
    #[serde(deserialize_with = "or_default")]
    pub instance_type: String,
    /// Whether similar types may be used.
    #[serde(deserialize_with = "or_default")]
    pub use_alike_instance_types: bool,
}

/// `NetworkPool`, spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPoolSpec {
    /// Range that node networks are cut from.
    #[serde(deserialize_with = "or_default")]
    pub cidr_block: String,
}

/// `CertConfig`, spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CertConfigSpec {
    /// The certificate.
    #[serde(deserialize_with = "or_default")]
    pub cert: CertSpec,
}

/// `CertConfig.spec.cert`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CertSpec {
    /// For example `api`, `etcd1`.
    #[serde(rename = "clusterComponent", deserialize_with = "or_default")]
    pub cluster_component: String,
    /// Which cluster asks.
    #[serde(rename = "clusterID", deserialize_with = "or_default")]
    pub cluster_id: String,
    /// Common name.
    #[serde(rename = "commonName", deserialize_with = "or_default")]
    pub common_name: String,
}

/// `App`, spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AppSpec {
    /// Name of the app in its catalog.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Version.
    #[serde(deserialize_with = "or_default")]
    pub version: String,
}
