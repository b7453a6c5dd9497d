//! The two management clusters: an API server and one etcd each, and on the Cluster API side the real controllers.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::Client;
use serde_json::{Value, json};

use crate::{
    api,
    pki::{Ca, token_key},
    place::{Parts, Place},
    process::{Spec, keep},
};

/// A management cluster.
pub(crate) struct Management {
    /// Its administrator's client.
    pub client: Client,
}

/// Which one, and where.
#[derive(Clone, Copy)]
pub(crate) struct Site {
    /// `vintage-mc` or `capi-mc`.
    pub name: &'static str,
    /// Address of its API.
    pub address: &'static str,
    /// Ports of its etcd, on loopback: clients and peers.
    pub etcd: (u16, u16),
}

/// The vintage side.
pub(crate) const VINTAGE: Site = Site {
    name: "vintage-mc",
    address: "10.250.0.1",
    etcd: (12379, 12380),
};
/// The Cluster API side.
pub(crate) const CAPI: Site = Site {
    name: "capi-mc",
    address: "10.250.0.2",
    etcd: (22379, 22380),
};

/// How long an API server may take until it is ready.
const READY: Duration = Duration::from_secs(120);

impl Management {
    /// Begins one and waits until its API is ready.
    pub(crate) async fn begin(site: Site, place: &Place, parts: &Parts) -> anyhow::Result<Self> {
        let ca = Ca::new(site.name)?;
        let folder = place.path(format!("secrets/{}", site.name));
        fs::create_dir_all(&folder)?;
        let file = |name: &str, text: &str| -> anyhow::Result<String> {
            let path = folder.join(name);
            fs::write(&path, text)?;
            Ok(path.display().to_string())
        };
        let server = format!("https://{}:6443", site.address);
        let names = [site.address, "10.96.0.1", "kubernetes", "localhost"].map(str::to_owned);
        let serving = ca.issue("kube-apiserver", "", &names)?;
        let (token, public) = token_key(&parts.program("kubeadm"), &folder.join("tokens")).await?;
        let data = place.path(format!("data/{}", site.name));
        let etcd = format!("http://127.0.0.1:{}", site.etcd.0);
        let peer = format!("http://127.0.0.1:{}", site.etcd.1);
        let etcd_process = Spec::new(
            &format!("{}-etcd", site.name),
            place.log(&format!("{}-etcd", site.name)),
            &parts.program("etcd"),
            &[
                &format!("--data-dir={}", data.display()),
                &format!("--listen-client-urls={etcd}"),
                &format!("--advertise-client-urls={etcd}"),
                &format!("--listen-peer-urls={peer}"),
                &format!("--initial-advertise-peer-urls={peer}"),
                &format!("--initial-cluster=default={peer}"),
                // The lab's management clusters are made anew each time; nothing is lost with the machine.
                "--unsafe-no-fsync",
            ],
        );
        let api_process = Spec::new(
            &format!("{}-api", site.name),
            place.log(&format!("{}-api", site.name)),
            &parts.program("kube-apiserver"),
            &[
                &format!("--etcd-servers={etcd}"),
                &format!("--bind-address={}", site.address),
                &format!("--advertise-address={}", site.address),
                "--secure-port=6443",
                &format!(
                    "--tls-cert-file={}",
                    file("serving.crt", &serving.certificate)?
                ),
                &format!(
                    "--tls-private-key-file={}",
                    file("serving.key", &serving.key)?
                ),
                &format!("--client-ca-file={}", file("ca.crt", &ca.certificate)?),
                &format!("--service-account-issuer={server}"),
                &format!(
                    "--service-account-signing-key-file={}",
                    file("sa.key", &token)?
                ),
                &format!("--service-account-key-file={}", file("sa.pub", &public)?),
                "--service-cluster-ip-range=10.96.0.0/16",
                "--authorization-mode=RBAC",
            ],
        );
        let kubeconfig = ca.kubeconfig(&server, "lab", "system:masters")?;
        fs::write(place.kubeconfig(site.name), kubeconfig)?;
        keep(etcd_process)?;
        keep(api_process)?;
        let client = ready(&place.kubeconfig(site.name), READY)
            .await
            .with_context(|| format!("the API of {}; see its log", site.name))?;
        Ok(Self { client })
    }
}

/// A client of an API, once it is ready.
pub(crate) async fn ready(
    kubeconfig: &std::path::Path,
    within: Duration,
) -> anyhow::Result<Client> {
    let client = api::client(kubeconfig).await?;
    let wait = async {
        loop {
            let request = http::Request::get("/readyz").body(Vec::new());
            let request = request.expect("a constant request");
            if client.request_text(request).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    if tokio::time::timeout(within, wait).await.is_err() {
        bail!("not ready within {} s", within.as_secs());
    }
    Ok(client)
}

/// A controller of the Cluster API side.
struct Controller {
    name: &'static str,
    namespace: &'static str,
    /// Webhook, diagnostics, health.
    ports: [u16; 3],
    args: &'static [&'static str],
}

const CONTROLLERS: [Controller; 4] = [
    Controller {
        name: "capi",
        namespace: "capi-system",
        ports: [9443, 8443, 9440],
        args: &[],
    },
    Controller {
        name: "cabpk",
        namespace: "capi-kubeadm-bootstrap-system",
        ports: [9444, 8444, 9441],
        args: &["--feature-gates=KubeadmBootstrapFormatIgnition=true"],
    },
    Controller {
        name: "kcp",
        namespace: "capi-kubeadm-control-plane-system",
        ports: [9445, 8445, 9442],
        args: &["--feature-gates=KubeadmBootstrapFormatIgnition=true"],
    },
    Controller {
        name: "capa",
        namespace: "capa-system",
        ports: [9446, 8446, 9447],
        args: &[
            "--feature-gates=EKS=false,MachinePool=true,ROSA=false,BootstrapFormatIgnition=true",
        ],
    },
];

/// Makes the controllers' kinds known and begins them. `cloud` is where AWS is.
pub(crate) async fn begin_controllers(
    client: &Client,
    place: &Place,
    parts: &Parts,
    cloud: &str,
) -> anyhow::Result<()> {
    let ca = Ca::new("webhooks")?;
    let folder = place.path("secrets/webhooks");
    fs::create_dir_all(&folder)?;
    let pair = ca.issue("webhooks", "", &["127.0.0.1".to_owned()])?;
    fs::write(folder.join("tls.crt"), &pair.certificate)?;
    fs::write(folder.join("tls.key"), &pair.key)?;
    for controller in &CONTROLLERS {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": controller.namespace}});
        api::apply(client, &namespace).await?;
    }
    for file in definitions(parts)? {
        let text = fs::read_to_string(&file)?;
        let mut definition: Value =
            serde_saphyr::from_str(&text).with_context(|| format!("read {}", file.display()))?;
        adapt(&mut definition, &STANDARD.encode(&ca.certificate));
        api::apply(client, &definition).await?;
    }
    established(client).await?;
    let identity = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2",
        "kind": "AWSClusterControllerIdentity",
        "metadata": {"name": "default"},
        "spec": {"allowedNamespaces": {}},
    });
    for controller in &CONTROLLERS {
        let spec = spec(controller, place, parts, &folder, cloud);
        keep(spec)?;
    }
    until("CAPA's webhook", Duration::from_secs(90), async || {
        api::apply(client, &identity).await.map(drop)
    })
    .await
}

/// Tries again until it works; its last error when it does not within `within`.
pub(crate) async fn until<T>(
    what: &str,
    within: Duration,
    mut attempt: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let begin = std::time::Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if begin.elapsed() >= within => {
                return Err(error.context(format!("{what}: not within {} s", within.as_secs())));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

fn spec(
    controller: &Controller,
    place: &Place,
    parts: &Parts,
    certificates: &std::path::Path,
    cloud: &str,
) -> Spec {
    let [webhook, diagnostics, health] = controller.ports;
    let mut args = vec![
        format!("--kubeconfig={}", place.kubeconfig(CAPI.name).display()),
        format!("--webhook-port={webhook}"),
        format!("--webhook-cert-dir={}", certificates.display()),
        format!("--diagnostics-address=127.0.0.1:{diagnostics}"),
        "--insecure-diagnostics=true".to_owned(),
        format!("--health-addr=127.0.0.1:{health}"),
        "--leader-elect=false".to_owned(),
    ];
    args.extend(controller.args.iter().map(|arg| (*arg).to_owned()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let program = parts.program(controller.name);
    let spec = Spec::new(controller.name, place.log(controller.name), &program, &args)
        .env("POD_NAMESPACE", controller.namespace)
        .env("POD_NAME", controller.name)
        .env("POD_UID", controller.name);
    if controller.name != "capa" {
        return spec;
    }
    spec.env("AWS_ENDPOINT_URL", cloud)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ACCESS_KEY_ID", "AKIALAB")
        .env("AWS_SECRET_ACCESS_KEY", "lab")
        .env("AWS_REGION", "eu-central-1")
}

fn definitions(parts: &Parts) -> anyhow::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(parts.crds())
        .with_context(|| format!("list {}", parts.crds().display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<_>>()?;
    files.sort();
    Ok(files)
}

/// What kustomize adds to a definition when a provider is installed: the contract's labels, and where to convert.
fn adapt(definition: &mut Value, bundle: &str) {
    let group = definition["spec"]["group"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let plural = definition["spec"]["names"]["plural"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let versions: Vec<String> = definition["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version["name"].as_str()?.to_owned()))
        .collect();
    let is_capa = group == "infrastructure.cluster.x-k8s.io"
        || plural.starts_with("aws")
        || plural.starts_with("eks");
    let port = match group.as_str() {
        _ if is_capa => 9446,
        "bootstrap.cluster.x-k8s.io" => 9444,
        "controlplane.cluster.x-k8s.io" => 9445,
        _ => 9443,
    };
    let labels = if is_capa {
        let served = if versions.len() > 1 {
            "v1beta1_v1beta2"
        } else {
            versions[0].as_str()
        };
        json!({"cluster.x-k8s.io/v1beta1": served})
    } else {
        json!({"cluster.x-k8s.io/v1beta1": "v1beta1", "cluster.x-k8s.io/v1beta2": "v1beta2"})
    };
    definition["metadata"]["labels"] = labels;
    if versions.len() > 1 {
        definition["spec"]["conversion"] = json!({
            "strategy": "Webhook",
            "webhook": {
                "conversionReviewVersions": ["v1"],
                "clientConfig": {"url": format!("https://127.0.0.1:{port}/convert"), "caBundle": bundle},
            },
        });
    }
}

async fn established(client: &Client) -> anyhow::Result<()> {
    let kind = "CustomResourceDefinition";
    let definitions = api::resource(client, "apiextensions.k8s.io/v1", kind, None).await?;
    until(
        "custom resource definitions",
        Duration::from_secs(60),
        async || {
            for definition in definitions.list(&kube::api::ListParams::default()).await? {
                let conditions = definition.data["status"]["conditions"].as_array().cloned();
                let established = conditions.unwrap_or_default().iter().any(|condition| {
                    condition["type"] == "Established" && condition["status"] == "True"
                });
                anyhow::ensure!(
                    established,
                    "{:?} is not established",
                    definition.metadata.name
                );
            }
            Ok(())
        },
    )
    .await
}

/// The one kind that the vintage side needs: the cluster's own object. Nobody reconciles it here.
pub(crate) async fn vintage_kinds(client: &Client) -> anyhow::Result<()> {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "clusters.cluster.x-k8s.io", "annotations": {"api-approved.kubernetes.io": "unapproved"}},
        "spec": {
            "group": "cluster.x-k8s.io", "scope": "Namespaced",
            "names": {"kind": "Cluster", "plural": "clusters", "singular": "cluster"},
            "versions": [{
                "name": "v1beta1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    api::apply(client, &definition).await?;
    established(client).await
}
