//! What kubeadm makes of a machine's configuration: flags, certificates, keys.

use serde_json::Value;

use crate::{
    keys::key_identity,
    state::{ApiConfig, Bootstrap, Facts},
};

/// Where kubeadm looks for patches of its manifests.
const PATCHES: &str = "/etc/kubernetes/patches/";
/// What kubeadm uses when nothing says otherwise.
const DEFAULT_PORT: u64 = 6443;
const DEFAULT_NODE_CIDR_MASK: u64 = 24;

/// The API server and controller manager that a machine would run.
pub(super) fn config(bootstrap: &Bootstrap, facts: &Facts) -> ApiConfig {
    let spec = &bootstrap.spec;
    let cluster = &spec["clusterConfiguration"];
    let args = &cluster["apiServer"]["extraArgs"];
    let manager = &cluster["controllerManager"]["extraArgs"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let patched = |flag: &str| patched_flags(bootstrap, flag);

    let mut verifies: std::collections::BTreeSet<String> = [bootstrap.identities.sa.clone()].into();
    verifies.extend(
        patched("--service-account-key-file=")
            .iter()
            .filter_map(|path| bootstrap.files.get(path))
            .map(|key| key_identity(key.as_bytes())),
    );
    let endpoint = if bootstrap.init {
        &spec["initConfiguration"]["localAPIEndpoint"]
    } else {
        &spec["joinConfiguration"]["controlPlane"]["localAPIEndpoint"]
    };
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok());
    ApiConfig {
        ca: bootstrap.identities.ca.clone(),
        verifies,
        signs: bootstrap.identities.sa.clone(),
        issuers: text(&args["service-account-issuer"])
            .into_iter()
            .chain(patched("--service-account-issuer="))
            .collect(),
        encryption: text(&args["encryption-provider-config"])
            .and_then(|path| bootstrap.files.get(&path))
            .map(|content| drover_model::sha256_hex(content.as_bytes())),
        etcd_prefix: text(&args["etcd-prefix"]).unwrap_or_else(|| "registry".to_owned()),
        names: cluster["apiServer"]["certSANs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(text)
            .collect(),
        port: u16::try_from(endpoint["bindPort"].as_u64().unwrap_or(DEFAULT_PORT))
            .unwrap_or(u16::MAX),
        redirects: commands(spec).filter_map(redirect).collect(),
        node_cidr_mask: u8::try_from(
            number(&manager["node-cidr-mask-size"]).unwrap_or(DEFAULT_NODE_CIDR_MASK),
        )
        .unwrap_or(24),
        cluster_cidr: text(&manager["cluster-cidr"]).unwrap_or_else(|| facts.pod_cidr.clone()),
        signs_kubelets: true,
    }
}

/// Whether kubeadm can read its configuration. While the node's name in it is a variable it refuses the whole file, whoever
/// asks; so the name has to be known to the unit, and put in before a script asks kubeadm anything. Seen with kubeadm 1.34
/// and with CABPK's Ignition, whose unit knows nothing of the machine unless it is told.
pub(super) fn can_read_its_configuration(bootstrap: &Bootstrap) -> bool {
    let spec = &bootstrap.spec;
    let name = &spec["initConfiguration"]["nodeRegistration"]["name"];
    if !name.as_str().is_some_and(|name| name.contains("${")) {
        return true;
    }
    let knows = spec["ignition"]["containerLinuxConfig"]["additionalConfig"]
        .as_str()
        .is_some_and(|units| units.contains("EnvironmentFile=/run/metadata/flatcar"));
    let position = |word: &str| commands(spec).position(|command| command.contains(word));
    let put_in = position("envsubst");
    let asks = position("/migration/");
    knows && put_in.is_some() && asks.is_none_or(|asks| put_in < Some(asks))
}

fn commands(spec: &Value) -> impl Iterator<Item = &str> {
    spec["preKubeadmCommands"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// From and to of a redirect of what arrives from elsewhere.
fn redirect(command: &str) -> Option<(u16, u16)> {
    if !command.contains("PREROUTING") || !command.contains("REDIRECT") {
        return None;
    }
    let after = |flag: &str| {
        let mut words = command.split_whitespace();
        words.find(|word| *word == flag)?;
        words.next()?.parse().ok()
    };
    Some((after("--dport")?, after("--to-port")?))
}

/// Values of a flag that patches add to the API server's command.
fn patched_flags(bootstrap: &Bootstrap, flag: &str) -> Vec<String> {
    bootstrap
        .files
        .iter()
        .filter(|(path, _)| path.starts_with(&format!("{PATCHES}kube-apiserver")))
        .filter_map(|(_, content)| serde_json::from_str::<Vec<Value>>(content).ok())
        .flatten()
        .filter_map(|operation| Some(operation["value"].as_str()?.strip_prefix(flag)?.to_owned()))
        .collect()
}

/// How the first machine's etcd comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EtcdStart {
    /// A script that runs before kubeadm joins it to the existing cluster.
    Join {
        /// Without a vote until it has caught up.
        learner: bool,
    },
    /// kubeadm makes a cluster of its own.
    Alone,
}

/// What the machine's files and commands make of etcd: a script joins it only when it is run, adds the member, and tells
/// etcd that the cluster exists.
pub(super) fn etcd_start(bootstrap: &Bootstrap) -> EtcdStart {
    bootstrap
        .files
        .iter()
        .filter(|(path, _)| {
            commands(&bootstrap.spec).any(|command| command.contains(path.as_str()))
        })
        .map(|(_, content)| content)
        .find(|content| {
            content.contains("member add") && content.contains("initial-cluster-state=existing")
        })
        .map_or(EtcdStart::Alone, |content| EtcdStart::Join {
            learner: content.contains("--learner"),
        })
}

/// Whether the machine gets the endpoint that the vintage load balancers ask.
pub(super) fn has_api_healthz(bootstrap: &Bootstrap) -> bool {
    let path = format!("{}/k8s-api-healthz.yaml", drover_model::node_job::MANIFESTS);
    bootstrap.files.contains_key(&path)
}
