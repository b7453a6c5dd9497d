//! Labels, annotations and finalizers of vintage objects.

use std::collections::BTreeMap;

/// Label: which cluster an object belongs to.
pub const CLUSTER: &str = "giantswarm.io/cluster";
/// Label: the same, in Cluster API's words.
pub const CLUSTER_NAME: &str = "cluster.x-k8s.io/cluster-name";
/// Label: organization.
pub const ORGANIZATION: &str = "giantswarm.io/organization";
/// Label: release version, without the leading `v`.
pub const RELEASE: &str = "release.giantswarm.io/version";
/// Label: which aws-operator reconciles an `AWS…` object.
pub const AWS_OPERATOR: &str = "aws-operator.giantswarm.io/version";
/// Label: which cluster-operator reconciles a Cluster API object.
pub const CLUSTER_OPERATOR: &str = "cluster-operator.giantswarm.io/version";
/// Label: id of the control plane.
pub const CONTROL_PLANE: &str = "giantswarm.io/control-plane";
/// Label: id of the node pool.
pub const MACHINE_DEPLOYMENT: &str = "giantswarm.io/machine-deployment";
/// Label on `Cluster`: highest, medium or lowest.
pub const SERVICE_PRIORITY: &str = "giantswarm.io/service-priority";
/// Prefix of labels on `Cluster` that become cloud tags.
pub const TAG_PREFIX: &str = "tag.provider.giantswarm.io/";
/// Label on `AWSCluster`: the OIDC provider stays when the object goes.
pub const KEEP_IRSA: &str = "giantswarm.io/keep-irsa";
/// Label on a certificate's Secret: its component.
pub const CERTIFICATE: &str = "giantswarm.io/certificate";

/// Annotation: every Giant Swarm operator (and Cluster API) leaves the object alone while it is `"true"`.
pub const PAUSED: &str = "cluster.x-k8s.io/paused";
/// Annotation: the same, understood by operatorkit only.
pub const OPERATORKIT_PAUSED: &str = "operatorkit.giantswarm.io/paused";
/// Annotation on `AWSCluster`: pauses irsa-operator only.
pub const PAUSE_IRSA: &str = "giantswarm.io/pause-irsa-operator";
/// Annotation on `AWSCluster`: `"false"` switches the terminator of unhealthy nodes off.
pub const TERMINATE_UNHEALTHY: &str = "alpha.node.giantswarm.io/terminate-unhealthy";
/// Annotation: the real pod CIDR; wins over `AWSCluster.spec.provider.pods.cidrBlock`.
pub const POD_CIDR: &str = "cilium.giantswarm.io/pod-cidr";
/// Annotation: `eni` or `kubernetes`.
pub const IPAM_MODE: &str = "cilium.giantswarm.io/ipam-mode";
/// Annotation: etcd's quota, bytes.
pub const ETCD_QUOTA: &str = "etcd.giantswarm.io/quota-backend-bytes";
/// Annotation: threshold of the pod garbage collector.
pub const POD_GC_THRESHOLD: &str = "controllermanager.giantswarm.io/terminated-pod-gc-threshold";
/// Annotation: release that a scheduled upgrade goes to.
pub const UPDATE_TARGET_RELEASE: &str = "alpha.giantswarm.io/update-schedule-target-release";
/// Annotation: time of a scheduled upgrade, RFC 822, UTC.
pub const UPDATE_TARGET_TIME: &str = "alpha.giantswarm.io/update-schedule-target-time";
/// Annotation: issuer of the customer's identity provider.
pub const OIDC_ISSUER: &str = "oidc.giantswarm.io/issuer-url";
/// Annotation: client id at the customer's identity provider.
pub const OIDC_CLIENT: &str = "oidc.giantswarm.io/client-id";
/// Annotation: claim with the user's name.
pub const OIDC_USERNAME_CLAIM: &str = "oidc.giantswarm.io/username-claim";
/// Annotation: claim with the groups.
pub const OIDC_GROUP_CLAIM: &str = "oidc.giantswarm.io/group-claim";
/// Annotation on `AWSCluster`: roles for service accounts.
pub const IRSA: &str = "alpha.aws.giantswarm.io/iam-roles-for-service-accounts";
/// Annotation on `AWSMachineDeployment`: CIDR allocated to the pool.
pub const POOL_SUBNET: &str = "machine-deployment.giantswarm.io/subnet";
/// Annotation: `required` or `optional` session tokens for instance metadata.
pub const METADATA_V2: &str = "alpha.aws.giantswarm.io/metadata-v2";
/// Annotation: nodes of this pool run cgroup v1.
pub const CGROUP_V1: &str = "node.giantswarm.io/cgroupv1";
/// Annotation on the encryption secret while its key is being rotated.
pub const ROTATION_IN_PROGRESS: &str = "encryption.giantswarm.io/rotation-in-progress";
/// Annotation on the encryption secret: a rotation was asked for.
pub const FORCE_ROTATION: &str = "encryption.giantswarm.io/force-rotation";

/// API group of the vintage AWS kinds.
pub const VINTAGE_GROUP: &str = "infrastructure.giantswarm.io";
/// API group of Cluster API's core.
pub const CAPI_GROUP: &str = "cluster.x-k8s.io";
/// API group of Cluster API's infrastructure providers.
pub const CAPI_INFRASTRUCTURE_GROUP: &str = "infrastructure.cluster.x-k8s.io";

/// Finalizer of aws-operator on `AWSCluster`.
pub const FINALIZER_AWS_CLUSTER: &str = "operatorkit.giantswarm.io/aws-operator-cluster-controller";
/// Finalizer of aws-operator on `AWSControlPlane`.
pub const FINALIZER_AWS_CONTROL_PLANE: &str =
    "operatorkit.giantswarm.io/aws-operator-control-plane-controller";
/// Finalizer of aws-operator on `AWSMachineDeployment`.
pub const FINALIZER_AWS_MACHINE_DEPLOYMENT: &str =
    "operatorkit.giantswarm.io/aws-operator-machine-deployment-controller";
/// Finalizer of cluster-operator on `Cluster`.
pub const FINALIZER_CLUSTER: &str = "operatorkit.giantswarm.io/cluster-operator-cluster-controller";
/// Finalizer of cluster-operator on `G8sControlPlane`.
pub const FINALIZER_CONTROL_PLANE: &str =
    "operatorkit.giantswarm.io/cluster-operator-control-plane-controller";
/// Finalizer of cluster-operator on `MachineDeployment`.
pub const FINALIZER_MACHINE_DEPLOYMENT: &str =
    "operatorkit.giantswarm.io/cluster-operator-machine-deployment-controller";

/// Whether the annotations of the encryption Secret say that its key is being rotated.
pub fn is_rotating(annotations: &BTreeMap<String, String>) -> bool {
    [ROTATION_IN_PROGRESS, FORCE_ROTATION]
        .iter()
        .any(|key| annotations.get(*key).is_some_and(|value| value == "true"))
}
