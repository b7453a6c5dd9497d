//! The Cluster API objects that a vintage cluster becomes, rendered from its plan. Pure: the same plan gives the same
//! objects, so a later step can render again and compare digests instead of passing documents around.
//!
//! # The held join: why a Secret is missing on purpose
//!
//! A `KubeadmControlPlane` cannot be held from the start: paused, it makes neither certificates nor the first Machine;
//! unpaused, it evicts every etcd member that belongs to no Machine, ten seconds after the first node has joined. So it is
//! paused in between, when its first Machine exists. If nothing else held the machine back, that pause would be a race
//! against a booting instance, and whoever lost it (because the coordinator was away, say) would watch the cluster go
//! from four members to one unprepared.
//!
//! Therefore the join script is not in these objects. Their `files` name a Secret, `<id>-migration-custom-files`, that does not
//! exist when they are applied. CABPK resolves every file before it writes bootstrap data, fails on the missing Secret,
//! reports `DataSecretAvailable=False` and tries again later; without bootstrap data CAPA starts no instance. The first
//! Machine exists and nothing boots, for as long as it takes to pause the control plane. Only then does the join step write
//! the Secret, and touches the `KubeadmConfig` so that CABPK looks again at once instead of after its back-off.
//!
//! The script writes a kubeadm patch for etcd (`initial-cluster`, `initial-cluster-state=existing`) on the node that
//! initialises, and only there. So `ClusterConfiguration` never carries those two flags, later nodes cannot inherit them, and
//! nothing has to be cleaned out of it afterwards.

pub mod care;
mod control_plane;
mod infrastructure;
mod join;
mod lossy;
mod pools;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{ClusterPlan, digest};

pub(crate) use join::registry;
pub use join::{API_HEALTHZ_KEY, JOIN_KEY, files as migration_files};
pub use lossy::Lossy;

/// API versions of the objects.
pub mod api {
    /// Cluster, Machine, MachinePool, MachineHealthCheck.
    pub const CAPI: &str = "cluster.x-k8s.io/v1beta1";
    /// KubeadmControlPlane.
    pub const CONTROL_PLANE: &str = "controlplane.cluster.x-k8s.io/v1beta1";
    /// KubeadmConfig.
    pub const BOOTSTRAP: &str = "bootstrap.cluster.x-k8s.io/v1beta1";
    /// AWSCluster, AWSMachineTemplate, AWSMachine, AWSMachinePool, identities.
    pub const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io/v1beta2";
}

/// Annotation on the AWSCluster: whether CAPA deletes load balancers and groups that Services made when the cluster
/// object goes. They are the customer's ingress; `"false"` until the migration is accepted.
pub const EXTERNAL_RESOURCE_GC: &str = "aws.cluster.x-k8s.io/external-resource-gc";

/// What a cluster becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Objects of the control plane, in the order in which they are applied.
    pub objects: Vec<Value>,
    /// Objects of the node pools, applied only when their pool's turn comes.
    pub pools: Vec<Value>,
    /// Vintage settings that no object carries.
    pub lossy: Vec<Lossy>,
    /// Digest of objects and pools.
    pub digest: String,
}

/// One object, named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetObject {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl TargetObject {
    /// The name of an object.
    pub fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            api_version: text(&object["apiVersion"]),
            kind: text(&object["kind"]),
            namespace: text(&object["metadata"]["namespace"]),
            name: text(&object["metadata"]["name"]),
        }
    }
}

/// Renders the objects of a plan.
pub fn render(plan: &ClusterPlan) -> Target {
    let template = infrastructure::machine_template(plan);
    let template_name = template["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let objects = vec![
        infrastructure::role_identity(plan),
        infrastructure::aws_cluster(plan),
        control_plane::health_check(plan),
        template,
        control_plane::control_plane(plan, &template_name),
        // Last: until the Cluster exists, no controller acts on the others.
        control_plane::cluster(plan),
    ];
    let pools = pools::render(plan);
    let digest = digest(&json!([objects, pools]));
    Target {
        objects,
        pools,
        lossy: lossy::of(plan),
        digest,
    }
}

/// The objects of one node pool as it begins: with its own bounds but the lower one, which is 0, so that nodes come batch by batch
/// as vintage ones go. `None` when the plan has no such pool.
pub fn render_pool(plan: &ClusterPlan, pool: &str) -> Option<Vec<Value>> {
    let pool = plan.node_pools.iter().find(|known| known.name == pool)?;
    Some(pools::empty(plan, pool).into())
}

/// Metadata that every namespaced object carries.
fn metadata(plan: &ClusterPlan, name: &str) -> Value {
    json!({
        "name": name,
        "namespace": plan.namespace,
        "labels": {
            "cluster.x-k8s.io/cluster-name": plan.id,
            "giantswarm.io/cluster": plan.id,
            "giantswarm.io/organization": plan.organization,
        },
    })
}
