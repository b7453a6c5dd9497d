//! Names and tags that follow from a cluster's id, on both sides.

/// The vintage API's name.
pub fn old_api(id: &str, base_domain: &str) -> String {
    format!("api.{id}.k8s.{base_domain}")
}

/// The vintage domain of a cluster.
pub fn old_zone(id: &str, base_domain: &str) -> String {
    format!("{id}.k8s.{base_domain}")
}

/// What names of the cluster's CloudFormation stacks begin with.
pub fn stack_prefix(id: &str) -> String {
    format!("cluster-{id}-")
}

/// The Cluster API side's name of the API.
pub fn new_api(id: &str, capi_domain: &str) -> String {
    format!("api.{id}.{capi_domain}")
}

/// The name of vintage etcd: its clients' load balancer.
pub fn etcd(id: &str, base_domain: &str) -> String {
    format!("etcd.{id}.k8s.{base_domain}")
}

/// Names of vintage etcd members.
pub fn etcd_members(masters: u32) -> Vec<String> {
    match masters {
        1 => vec!["etcd0".to_owned()],
        n => (1..=n).map(|n| format!("etcd{n}")).collect(),
    }
}

/// Load balancer in front of the vintage API.
pub fn api_load_balancer(id: &str) -> String {
    format!("{id}-api")
}

/// Load balancer in front of the vintage API, inside the VPC.
pub fn internal_api_load_balancer(id: &str) -> String {
    format!("{id}-api-internal")
}

/// Load balancer in front of vintage etcd.
pub fn etcd_load_balancer(id: &str) -> String {
    format!("{id}-etcd")
}

/// Load balancer that CAPA makes.
pub fn capa_load_balancer(id: &str) -> String {
    format!("{id}-apiserver")
}

/// Role that CAPA assumes in the cluster's account.
pub fn capa_role(installation: &str) -> String {
    format!("giantswarm-{installation}-capa-controller")
}

/// Instance profile of control-plane nodes on the Cluster API side.
pub fn control_plane_profile(id: &str) -> String {
    format!("control-plane-{id}")
}

/// Instance profile of a node pool's nodes on the Cluster API side.
pub fn nodes_profile(id: &str, pool: &str) -> String {
    format!("nodes-{pool}-{id}")
}

/// A node pool on the Cluster API side: its MachinePool, its AWSMachinePool and its Auto Scaling group.
pub fn machine_pool(id: &str, pool: &str) -> String {
    format!("{id}-{pool}")
}

/// Bucket in which CAPA keeps machines' bootstrap data.
pub fn ignition_bucket(id: &str, region: &str) -> String {
    format!("{region}-capa-{id}")
}

/// Tag on every instance, subnet and group of a vintage stack.
pub const TAG_CLUSTER: &str = "giantswarm.io/cluster";
/// Tag: which stack made it (`tccp`, `tccpn`, `tcnp`).
pub const TAG_STACK: &str = "giantswarm.io/stack";
/// Tag: which node pool it is of.
pub const TAG_MACHINE_DEPLOYMENT: &str = "giantswarm.io/machine-deployment";
/// Tag that CAPA puts on instances; value `control-plane` or `node`.
pub const TAG_CAPA_ROLE: &str = "sigs.k8s.io/cluster-api-provider-aws/role";

/// Key of the tag with which CAPA calls a resource its own (value `owned`).
pub fn tag_capa_cluster(id: &str) -> String {
    format!("sigs.k8s.io/cluster-api-provider-aws/cluster/{id}")
}

/// Stack of the network and load balancers.
pub const STACK_NETWORK: &str = "tccp";
/// Stack of the masters.
pub const STACK_MASTERS: &str = "tccpn";
/// Stacks of node pools.
pub const STACK_POOL: &str = "tcnp";

/// Deployment that makes the Charts of one cluster; it lies in the namespace that is called like the cluster.
pub fn app_operator(id: &str) -> String {
    format!("app-operator-{id}")
}

/// Secret with the service-account key pair, vintage side.
pub fn service_account_v2_secret(id: &str) -> String {
    format!("{id}-service-account-v2")
}

/// Secret with the legacy service-account key, vintage side.
pub fn service_account_secret(id: &str) -> String {
    format!("{id}-service-account")
}

/// Secret with the configuration of encryption at rest, both sides.
pub fn encryption_secret(id: &str) -> String {
    format!("{id}-encryption-provider-config")
}

/// Secret with the vintage API's certificate.
pub fn api_certificate_secret(id: &str) -> String {
    format!("{id}-api")
}

/// Secrets that a KubeadmControlPlane looks up by name, and invents when one is missing.
pub fn ca_secrets(id: &str) -> [String; 3] {
    [
        format!("{id}-ca"),
        format!("{id}-etcd"),
        format!("{id}-proxy"),
    ]
}

/// Secret with the service-account key pair that a KubeadmControlPlane uses.
pub fn sa_secret(id: &str) -> String {
    format!("{id}-sa")
}

/// Secret with the legacy key, against which old tokens are still verified.
pub fn sa_old_secret(id: &str) -> String {
    format!("{id}-sa-old")
}

/// Secret with the scripts of the migration; written only once the control plane is held.
pub fn migration_files_secret(id: &str) -> String {
    format!("{id}-migration-custom-files")
}

/// Annotation and tag: which workflow made an object, so that a compensation takes back only its own.
pub const MIGRATION: &str = "drover.giantswarm.io/migration";
/// EC2 tag on a control-plane instance that is about to be taken back: guards must not send traffic to it any more.
pub const TAG_LEAVING: &str = "drover.giantswarm.io/leaving";
