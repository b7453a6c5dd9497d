//! A vintage control plane as the old operators build it (giantswarm/k8scloudconfig v18, `master_template.go`): per master one
//! etcd member as a systemd unit, API server, controller manager, scheduler and health endpoint as static pods, all on one
//! cluster CA.

use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use drover_model::names;
use serde_json::{Value, json};

use crate::{
    node::{MANIFESTS, NodeSpec},
    pki::{Ca, encryption_config, token_key},
    place::{Parts, Place},
};

/// Service CIDR of vintage clusters.
pub(crate) const SERVICES: &str = "172.31.0.0/16";
/// Pod CIDR.
pub(crate) const PODS: &str = "10.96.0.0/16";
/// Mask of each node's block.
pub(crate) const NODE_MASK: u8 = 25;

/// Names and keys of the lab's cluster.
pub(crate) struct Identity {
    /// Cluster id.
    pub id: String,
    /// Base domain of its vintage names.
    pub base: String,
    /// The one CA.
    pub ca: Ca,
    /// Key that signs tokens, and its public half.
    pub tokens: (String, String),
    /// Legacy key.
    pub old_tokens: (String, String),
    /// Configuration of encryption at rest.
    pub encryption: String,
    /// Token issuers, the signing one first.
    pub issuers: Vec<String>,
    /// Token audiences.
    pub audiences: Vec<String>,
}

impl Identity {
    /// New keys for a cluster.
    pub(crate) async fn new(
        id: &str,
        base: &str,
        sts: &str,
        place: &Place,
        parts: &Parts,
    ) -> anyhow::Result<Self> {
        let kubeadm = parts.program("kubeadm");
        let api = format!("https://{}", names::old_api(id, base));
        Ok(Self {
            id: id.to_owned(),
            base: base.to_owned(),
            ca: Ca::new(&format!("{id}.k8s.{base}"))?,
            tokens: token_key(&kubeadm, &place.path("secrets/tokens")).await?,
            old_tokens: token_key(&kubeadm, &place.path("secrets/old-tokens")).await?,
            encryption: encryption_config()?,
            issuers: vec![format!("https://irsa.{id}.k8s.{base}"), api.clone()],
            audiences: vec![sts.to_owned(), api],
        })
    }

    /// The vintage API's name.
    pub(crate) fn old_api(&self) -> String {
        names::old_api(&self.id, &self.base)
    }

    /// etcd's name.
    pub(crate) fn etcd(&self) -> String {
        names::etcd(&self.id, &self.base)
    }

    /// A member's own name.
    pub(crate) fn member(&self, member: &str) -> String {
        format!("{member}.{}.k8s.{}", self.id, self.base)
    }
}

/// One master.
#[derive(Clone, Debug)]
pub(crate) struct MasterMachine {
    /// EC2 instance id.
    pub instance: String,
    /// Name of its Node.
    pub node: String,
    /// Private address.
    pub address: Ipv4Addr,
    /// Zone.
    pub zone: String,
    /// etcd member.
    pub member: String,
}

/// Lays a master's files and answers what its node is begun with.
pub(crate) fn lay(
    identity: &Identity,
    master: &MasterMachine,
    masters: &[MasterMachine],
    place: &Place,
    parts: &Parts,
    number: usize,
) -> anyhow::Result<NodeSpec> {
    let folder = place.path(format!("nodes/{}", master.node));
    fs::create_dir_all(folder.join("logs"))?;
    let files = Files(folder.join("upper"));
    keys(identity, master, &files)?;
    let high_availability = masters.len() > 1;
    let etcd_servers = if high_availability {
        format!("https://{}:2379", identity.etcd())
    } else {
        "https://127.0.0.1:2379".to_owned()
    };
    manifest(
        &files,
        "k8s-api-server",
        &api_server(identity, master, &etcd_servers),
    )?;
    manifest(&files, "k8s-controller-manager", &controller_manager())?;
    manifest(&files, "k8s-scheduler", &scheduler())?;
    manifest_of(&files, "k8s-api-healthz", &healthz())?;
    let spec = NodeSpec {
        instance: master.instance.clone(),
        name: master.node.clone(),
        address: master.address,
        provider_id: format!("aws:///{}/{}", master.zone, master.instance),
        labels: labels(identity, master, number),
        hosts: place.hosts(),
        programs: parts.programs(),
        lab: std::env::current_exe()?,
        kubeconfig: "/etc/kubernetes/kubelet.kubeconfig".to_owned(),
        kubelet_serving: Some((
            "/etc/kubernetes/ssl/kubelet.pem".to_owned(),
            "/etc/kubernetes/ssl/kubelet-key.pem".to_owned(),
        )),
        units: units(identity, master, masters),
        bootstrap: None,
        bind: None,
        join_fails: None,
        folder: folder.clone(),
    };
    fs::write(NodeSpec::file(&folder), serde_json::to_vec_pretty(&spec)?)?;
    Ok(spec)
}

struct Files(PathBuf);

impl Files {
    fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let target = self.0.join(path.trim_start_matches('/'));
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(target, text)?)
    }
}

/// The kubelet's serving certificate of any node of the lab.
pub(crate) fn lay_kubelet_serving(
    ca: &Ca,
    upper: &Path,
    node: &str,
    address: Ipv4Addr,
) -> anyhow::Result<()> {
    let files = Files(upper.to_owned());
    let pair = ca.issue(
        &format!("system:node:{node}"),
        "system:nodes",
        &[node.to_owned(), address.to_string()],
    )?;
    files.write("/etc/kubernetes/ssl/kubelet.pem", &pair.certificate)?;
    files.write("/etc/kubernetes/ssl/kubelet-key.pem", &pair.key)
}

const SSL: &str = "/etc/kubernetes/ssl";

fn keys(identity: &Identity, master: &MasterMachine, files: &Files) -> anyhow::Result<()> {
    let ca = &identity.ca;
    files.write(&format!("{SSL}/ca.pem"), &ca.certificate)?;
    let api_names = [
        identity.old_api(),
        "kubernetes".to_owned(),
        "kubernetes.default".to_owned(),
        "kubernetes.default.svc".to_owned(),
        "kubernetes.default.svc.cluster.local".to_owned(),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "172.31.0.1".to_owned(),
        master.address.to_string(),
    ];
    let etcd_names = [
        identity.etcd(),
        identity.member(&master.member),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
    ];
    let masters = "system:masters";
    for (name, user, group, alternatives) in [
        ("apiserver", "kube-apiserver", masters, api_names.as_slice()),
        ("etcd", "etcd", "", etcd_names.as_slice()),
    ] {
        let pair = ca.issue(user, group, alternatives)?;
        files.write(&format!("{SSL}/{name}.pem"), &pair.certificate)?;
        files.write(&format!("{SSL}/{name}-key.pem"), &pair.key)?;
    }
    lay_kubelet_serving(ca, &files.0, &master.node, master.address)?;
    files.write(
        &format!("{SSL}/service-account-key.pem"),
        &identity.old_tokens.0,
    )?;
    files.write(
        &format!("{SSL}/service-account-v2-key.pem"),
        &identity.tokens.0,
    )?;
    files.write(
        &format!("{SSL}/service-account-v2-pub.pem"),
        &identity.tokens.1,
    )?;
    files.write(
        "/etc/kubernetes/encryption/k8s-encryption-config.yaml",
        &identity.encryption,
    )?;
    let local = "https://127.0.0.1:443";
    for (name, user, server) in [
        (
            "controller-manager",
            "system:kube-controller-manager",
            local.to_owned(),
        ),
        ("scheduler", "system:kube-scheduler", local.to_owned()),
        (
            "kubelet",
            "kubelet",
            format!("https://{}:443", identity.old_api()),
        ),
    ] {
        let group = if name == "kubelet" { masters } else { "" };
        let kubeconfig = ca.kubeconfig(&server, user, group)?;
        files.write(&format!("/etc/kubernetes/{name}.kubeconfig"), &kubeconfig)?;
    }
    Ok(())
}

fn api_server(identity: &Identity, master: &MasterMachine, etcd_servers: &str) -> Vec<String> {
    let mut command = vec![
        "kube-apiserver".to_owned(),
        "--secure-port=443".to_owned(),
        "--bind-address=0.0.0.0".to_owned(),
        format!("--advertise-address={}", master.address),
        "--etcd-prefix=giantswarm.io".to_owned(),
        format!("--etcd-servers={etcd_servers}"),
        format!("--etcd-cafile={SSL}/ca.pem"),
        format!("--etcd-certfile={SSL}/etcd.pem"),
        format!("--etcd-keyfile={SSL}/etcd-key.pem"),
        // Vintage etcd compacts itself.
        "--etcd-compaction-interval=0".to_owned(),
        format!("--tls-cert-file={SSL}/apiserver.pem"),
        format!("--tls-private-key-file={SSL}/apiserver-key.pem"),
        format!("--client-ca-file={SSL}/ca.pem"),
        format!("--kubelet-client-certificate={SSL}/apiserver.pem"),
        format!("--kubelet-client-key={SSL}/apiserver-key.pem"),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--requestheader-client-ca-file={SSL}/ca.pem"),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        format!("--service-account-key-file={SSL}/service-account-key.pem"),
        format!("--service-account-key-file={SSL}/service-account-v2-pub.pem"),
        format!("--service-account-signing-key-file={SSL}/service-account-v2-key.pem"),
        format!("--api-audiences={}", identity.audiences.join(",")),
        "--encryption-provider-config=/etc/kubernetes/encryption/k8s-encryption-config.yaml"
            .to_owned(),
        format!("--service-cluster-ip-range={SERVICES}"),
        "--authorization-mode=RBAC".to_owned(),
        "--allow-privileged=true".to_owned(),
    ];
    command.extend(
        identity
            .issuers
            .iter()
            .map(|issuer| format!("--service-account-issuer={issuer}")),
    );
    command
}

fn controller_manager() -> Vec<String> {
    vec![
        "kube-controller-manager".to_owned(),
        "--kubeconfig=/etc/kubernetes/controller-manager.kubeconfig".to_owned(),
        "--authentication-kubeconfig=/etc/kubernetes/controller-manager.kubeconfig".to_owned(),
        "--authorization-kubeconfig=/etc/kubernetes/controller-manager.kubeconfig".to_owned(),
        "--allocate-node-cidrs=true".to_owned(),
        format!("--cluster-cidr={PODS}"),
        format!("--node-cidr-mask-size={NODE_MASK}"),
        format!("--service-account-private-key-file={SSL}/service-account-key.pem"),
        format!("--root-ca-file={SSL}/ca.pem"),
        "--use-service-account-credentials=true".to_owned(),
        "--leader-elect=true".to_owned(),
    ]
}

fn scheduler() -> Vec<String> {
    vec![
        "kube-scheduler".to_owned(),
        "--kubeconfig=/etc/kubernetes/scheduler.kubeconfig".to_owned(),
        "--authentication-kubeconfig=/etc/kubernetes/scheduler.kubeconfig".to_owned(),
        "--authorization-kubeconfig=/etc/kubernetes/scheduler.kubeconfig".to_owned(),
        "--leader-elect=true".to_owned(),
    ]
}

fn healthz() -> Value {
    let args = [
        format!("--etcd-cert={SSL}/etcd.pem"),
        format!("--etcd-key={SSL}/etcd-key.pem"),
        format!("--etcd-ca-cert={SSL}/ca.pem"),
    ];
    json!({"name": "k8s-api-healthz", "image": "registry.lab/giantswarm/k8s-api-healthz:0.2.0", "args": args})
}

fn manifest(files: &Files, name: &str, command: &[String]) -> anyhow::Result<()> {
    let container = json!({"name": name, "image": format!("registry.lab/giantswarm/{name}:lab"), "command": command});
    manifest_of(files, name, &container)
}

fn manifest_of(files: &Files, name: &str, container: &Value) -> anyhow::Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "kube-system",
            "labels": {"app.kubernetes.io/name": name.trim_start_matches("k8s-")},
        },
        "spec": {"hostNetwork": true, "priorityClassName": "system-node-critical", "containers": [container]},
    });
    files.write(&format!("{MANIFESTS}/{name}.yaml"), &pod.to_string())
}

fn labels(identity: &Identity, master: &MasterMachine, number: usize) -> BTreeMap<String, String> {
    [
        ("aws-operator.giantswarm.io/version", "16.1.0".to_owned()),
        ("giantswarm.io/cluster", identity.id.clone()),
        ("giantswarm.io/master-id", number.to_string()),
        ("kubernetes.io/hostname", master.node.clone()),
        ("kubernetes.io/os", "linux".to_owned()),
        ("node-role.kubernetes.io/control-plane", String::new()),
        ("node-role.kubernetes.io/master", String::new()),
        ("role", "master".to_owned()),
        ("topology.kubernetes.io/zone", master.zone.clone()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

fn units(
    identity: &Identity,
    master: &MasterMachine,
    masters: &[MasterMachine],
) -> BTreeMap<String, Vec<String>> {
    let peer = |member: &str| format!("https://{}:2380", identity.member(member));
    let cluster: Vec<String> = masters
        .iter()
        .map(|master| format!("{}={}", master.member, peer(&master.member)))
        .collect();
    let etcd = vec![
        "etcd".to_owned(),
        format!("--name={}", master.member),
        "--data-dir=/var/lib/etcd".to_owned(),
        "--listen-client-urls=https://0.0.0.0:2379".to_owned(),
        // Every member names the load balancer.
        format!("--advertise-client-urls=https://{}:2379", identity.etcd()),
        format!("--listen-peer-urls=https://{}:2380", master.address),
        format!("--initial-advertise-peer-urls={}", peer(&master.member)),
        format!("--initial-cluster={}", cluster.join(",")),
        "--initial-cluster-state=new".to_owned(),
        format!("--trusted-ca-file={SSL}/ca.pem"),
        format!("--cert-file={SSL}/etcd.pem"),
        format!("--key-file={SSL}/etcd-key.pem"),
        "--client-cert-auth".to_owned(),
        format!("--peer-trusted-ca-file={SSL}/ca.pem"),
        format!("--peer-cert-file={SSL}/etcd.pem"),
        format!("--peer-key-file={SSL}/etcd-key.pem"),
        "--peer-client-cert-auth".to_owned(),
        "--experimental-peer-skip-client-san-verification=true".to_owned(),
        "--quota-backend-bytes=8589934592".to_owned(),
        "--auto-compaction-mode=revision".to_owned(),
        "--auto-compaction-retention=1".to_owned(),
    ];
    let timers = [
        "etcd3-defragmentation.timer",
        "k8s-label-node.timer",
        "master-instance-healthcheck.timer",
    ];
    // Timers do nothing here but exist, so that steps find and stop them.
    timers
        .into_iter()
        .map(|timer| (timer.to_owned(), Vec::new()))
        .chain([("etcd3.service".to_owned(), etcd)])
        .collect()
}
