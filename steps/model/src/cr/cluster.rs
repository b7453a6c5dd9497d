//! One vintage cluster, put together from its custom resources.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Finding, keys,
    types::{
        AppSpec, AwsClusterSpec, AwsClusterStatus, AwsControlPlaneSpec, AwsMachineDeploymentSpec,
        CertConfigSpec, ClusterSpec, G8sControlPlaneSpec, NetworkPoolSpec, Resource,
    },
};
use crate::{Partition, Version};

/// One vintage cluster: its objects typed, its objects as they were read, and what is odd about them.
#[derive(Clone, Debug)]
pub struct VintageCluster {
    /// Cluster id.
    pub id: String,
    /// Namespace of its objects: `org-<organization>`, or `default` for old ones.
    pub namespace: String,
    /// AWS region: what `AWSCluster` says, else derived from the first availability zone.
    pub region: String,
    /// `Cluster`
    pub cluster: Resource<ClusterSpec>,
    /// `AWSCluster`
    pub aws_cluster: Resource<AwsClusterSpec, AwsClusterStatus>,
    /// `G8sControlPlane`
    pub control_plane: Resource<G8sControlPlaneSpec>,
    /// `AWSControlPlane`
    pub aws_control_plane: Resource<AwsControlPlaneSpec>,
    /// Node pools, ordered by id.
    pub pools: Vec<NodePool>,
    /// The `NetworkPool` that the cluster's networks come from, if it names one and it was in the input.
    pub network_pool: Option<Resource<NetworkPoolSpec>>,
    /// Certificates that cert-operator keeps.
    pub cert_configs: Vec<Resource<CertConfigSpec>>,
    /// Apps installed through app-operator.
    pub apps: Vec<Resource<AppSpec>>,
    /// What was missing or contradictory, in the order it was noticed.
    pub findings: Vec<Finding>,
    /// Every object that belongs to the cluster, as it was read.
    pub raw: Vec<Value>,
}

/// One node pool.
#[derive(Clone, Debug)]
pub struct NodePool {
    /// Pool id.
    pub id: String,
    /// `AWSMachineDeployment`
    pub aws: Resource<AwsMachineDeploymentSpec>,
    /// Whether its `MachineDeployment` was in the input too.
    pub has_machine_deployment: bool,
}

impl VintageCluster {
    /// The organization: by label, else by namespace; empty for very old objects without either.
    pub fn organization(&self) -> &str {
        self.label(keys::ORGANIZATION)
            .or_else(|| self.namespace.strip_prefix("org-"))
            .unwrap_or_default()
    }

    /// The AWS partition of its region.
    pub fn partition(&self) -> Partition {
        Partition::of_region(&self.region)
    }

    /// The vintage release, when its label is a version.
    pub fn release(&self) -> Option<Version> {
        self.label(keys::RELEASE)?.parse().ok()
    }

    /// Masters: 1 or 3.
    pub fn replicas(&self) -> u32 {
        self.control_plane.spec.replicas
    }

    /// Zones of the masters, one each; a short list is repeated, as China's old clusters do.
    pub fn master_zones(&self) -> Vec<String> {
        let zones = &self.aws_control_plane.spec.availability_zones;
        (0..self.replicas() as usize)
            .map(|n| match zones.len() {
                0 => format!("{}a", self.region),
                len => zones[n % len].clone(),
            })
            .collect()
    }

    /// Instance type of the masters.
    pub fn master_instance_type(&self) -> &str {
        let current = &self.aws_control_plane.spec.instance_type;
        if current.is_empty() {
            &self.aws_cluster.spec.provider.master.instance_type
        } else {
            current
        }
    }

    /// The base domain as `AWSCluster` says, or as the API's host name implies; empty when neither does.
    pub fn base_domain(&self) -> &str {
        let domain = self.aws_cluster.spec.cluster.dns.domain.as_str();
        if !domain.is_empty() {
            return domain;
        }
        self.cluster
            .spec
            .control_plane_endpoint
            .host
            .strip_prefix(&format!("api.{}.k8s.", self.id))
            .unwrap_or_default()
    }

    /// The pod CIDR: an annotation of `Cluster` or `AWSCluster` wins over the field; empty when nothing says it.
    pub fn pod_cidr(&self) -> &str {
        self.annotation(keys::POD_CIDR)
            .unwrap_or(&self.aws_cluster.spec.provider.pods.cidr_block)
    }

    /// Service CIDR as `Cluster` says; empty when it does not, and then the installation's default counts.
    pub fn service_cidr(&self) -> &str {
        self.cluster
            .spec
            .cluster_network
            .services
            .cidr_blocks
            .first()
            .map_or("", String::as_str)
    }

    /// Cloud tags, which stand as labels (or, in some clusters, annotations) on `Cluster` or `AWSCluster`.
    pub fn cloud_tags(&self) -> BTreeMap<String, String> {
        let aws = &self.aws_cluster.metadata;
        let cluster = &self.cluster.metadata;
        // Later ones win: the label on Cluster is the documented place.
        [
            &aws.annotations,
            &aws.labels,
            &cluster.annotations,
            &cluster.labels,
        ]
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| {
            let key = key.strip_prefix(keys::TAG_PREFIX)?;
            Some((key.to_owned(), value.clone()))
        })
        .collect()
    }

    /// A label of `Cluster`, else of `AWSCluster`.
    pub fn label(&self, key: &str) -> Option<&str> {
        [&self.cluster.metadata, &self.aws_cluster.metadata]
            .into_iter()
            .find_map(|metadata| metadata.labels.get(key))
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// An annotation of `Cluster`, else of `AWSCluster`.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        [&self.cluster.metadata, &self.aws_cluster.metadata]
            .into_iter()
            .find_map(|metadata| metadata.annotations.get(key))
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// True when the cluster is being deleted.
    pub fn is_going(&self) -> bool {
        self.cluster.metadata.deletion_timestamp.is_some()
            || self.aws_cluster.metadata.deletion_timestamp.is_some()
    }
}
