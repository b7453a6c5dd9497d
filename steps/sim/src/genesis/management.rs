//! The cluster's objects on the vintage management cluster: the custom resources as they were read, and what a
//! management cluster holds beside them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use drover_model::{VintageCluster, cr::keys, names};
use drover_ports::SecretBytes;
use drover_step_api::Timestamp;
use serde_json::{Value, json};

use super::Site;
use crate::{
    objects::{Key, SecretData},
    state::{Cluster, Facts},
    text::rfc3339,
};

/// Fills the store, and the installation's shared one.
pub(super) fn fill(
    cluster: &mut Cluster,
    vintage: &VintageCluster,
    site: &mut Site,
    start: Timestamp,
) {
    let facts = std::sync::Arc::clone(&cluster.facts);
    site.namespace(&facts.namespace, start);
    for document in &vintage.raw {
        let mut object = document.clone();
        if let Value::Object(metadata) = &mut object["metadata"] {
            metadata.retain(|_, value| !value.is_null());
            for field in ["resourceVersion", "uid", "managedFields", "generation"] {
                metadata.shift_remove(field);
            }
        }
        let key = Key::of(&object);
        match key.kind.as_str() {
            "Secret" => put_secret(cluster, site, &object, start),
            "AWSCluster" => {
                add_finalizer(&mut object, keys::FINALIZER_AWS_CLUSTER);
                add_status(cluster, &mut object, start);
                cluster.vintage.put(object, start);
            }
            kind => {
                if let Some(finalizer) = finalizer_of(kind) {
                    add_finalizer(&mut object, finalizer);
                }
                cluster.vintage.put(object, start);
            }
        }
    }
    secrets(cluster, start);
    config_maps(cluster, vintage, site, start);
    credentials(vintage, &facts, site, start);
}

fn finalizer_of(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Cluster" => keys::FINALIZER_CLUSTER,
        "G8sControlPlane" => keys::FINALIZER_CONTROL_PLANE,
        "MachineDeployment" => keys::FINALIZER_MACHINE_DEPLOYMENT,
        "AWSControlPlane" => keys::FINALIZER_AWS_CONTROL_PLANE,
        "AWSMachineDeployment" => keys::FINALIZER_AWS_MACHINE_DEPLOYMENT,
        _ => return None,
    })
}

/// Operators put their finalizer back on whatever they reconcile, so files without one are read as if they had it.
fn add_finalizer(object: &mut Value, finalizer: &str) {
    let finalizers = &mut object["metadata"]["finalizers"];
    if !finalizers.is_array() {
        *finalizers = json!([]);
    }
    if let Value::Array(list) = finalizers
        && !list.iter().any(|known| known == finalizer)
    {
        list.push(json!(finalizer));
    }
}

/// aws-operator writes the status of a cluster that runs; files may lack it.
fn add_status(cluster: &Cluster, object: &mut Value, start: Timestamp) {
    if object["status"]["cluster"]["conditions"]
        .as_array()
        .is_none_or(Vec::is_empty)
    {
        object["status"]["cluster"]["conditions"] =
            json!([{"condition": "Created", "lastTransitionTime": rfc3339(start)}]);
    }
    if let Some(vpc) = &cluster.cloud.vpc {
        let network = &mut object["status"]["provider"]["network"];
        if network["vpcID"].as_str().is_none_or(str::is_empty) {
            *network = json!({"cidr": vpc.cidr, "vpcID": vpc.id});
        }
    }
}

fn put_secret(cluster: &mut Cluster, site: &mut Site, object: &Value, start: Timestamp) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let data = object["data"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| {
            let bytes = STANDARD
                .decode(value.as_str().unwrap_or_default())
                .unwrap_or_default();
            (key.clone(), SecretBytes::new(bytes))
        })
        .collect();
    let data = SecretData {
        type_: text(&object["type"]),
        data,
        sealed: None,
    };
    let (namespace, name) = (
        text(&object["metadata"]["namespace"]),
        text(&object["metadata"]["name"]),
    );
    // Credentials serve several clusters.
    let store = if namespace == "giantswarm" {
        &mut site.vintage
    } else {
        &mut cluster.vintage
    };
    store.put_secret(&namespace, &name, &[], data, start);
}

fn opaque(data: &[(&str, &[u8])]) -> SecretData {
    SecretData {
        type_: "Opaque".to_owned(),
        data: data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), SecretBytes::new(value.to_vec())))
            .collect(),
        sealed: None,
    }
}

fn secrets(cluster: &mut Cluster, start: Timestamp) {
    let facts = std::sync::Arc::clone(&cluster.facts);
    let held = std::sync::Arc::clone(&cluster.keys);
    let ca = held.ca_certificate.as_bytes();
    let secrets = [
        (
            names::service_account_v2_secret(&facts.id),
            opaque(&[
                ("key", held.sa_key.expose()),
                ("pub", held.sa_public.as_bytes()),
            ]),
        ),
        (
            names::service_account_secret(&facts.id),
            opaque(&[("ca", ca), ("crt", ca), ("key", held.sa_old_key.expose())]),
        ),
        (
            names::encryption_secret(&facts.id),
            opaque(&[("encryption", held.encryption.expose())]),
        ),
        (
            names::api_certificate_secret(&facts.id),
            opaque(&[
                ("ca", ca),
                ("crt", ca),
                ("key", b"a leaf's key, which nobody needs"),
            ]),
        ),
    ];
    for (name, data) in secrets {
        let labels = [(keys::CLUSTER, facts.id.as_str())];
        cluster
            .vintage
            .put_secret(&facts.namespace, &name, &labels, data, start);
    }
}

fn config_maps(cluster: &mut Cluster, vintage: &VintageCluster, site: &mut Site, start: Timestamp) {
    let facts = std::sync::Arc::clone(&cluster.facts);
    let operator = vintage.aws_cluster.metadata.labels.get(keys::AWS_OPERATOR);
    if let Some(version) = operator {
        // What the operators of one version were installed with; the service range and base domain of all clusters.
        site.vintage.put(
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": format!("aws-operator-{version}-chart-values"),
                    "namespace": "giantswarm",
                },
                "data": {"values": format!(
                    "Installation:\n  V1:\n    Guest:\n      Kubernetes:\n        API:\n          ClusterIPRange: {}\n          EndpointBase: k8s.{}\n",
                    "172.31.0.0/16", site.config.base_domain
                )},
            }),
            start,
        );
    }
    if facts.partition != drover_model::Partition::AwsCn {
        cluster.vintage.put(
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": format!("{}-irsa-cloudfront", facts.id),
                    "namespace": facts.namespace,
                    "labels": {keys::CLUSTER: facts.id},
                },
                "data": {
                    "domain": cloudfront_domain(cluster),
                    "domainAlias": format!("irsa.{}.k8s.{}", facts.id, facts.base_domain),
                },
            }),
            start,
        );
    }
}

/// Domain of the cluster's CloudFront distribution.
pub(super) fn cloudfront_domain(cluster: &Cluster) -> String {
    format!(
        "d{}.cloudfront.net",
        cluster.chance.suffix(13, "cloudfront", "")
    )
}

fn credentials(vintage: &VintageCluster, facts: &Facts, site: &mut Site, start: Timestamp) {
    let reference = &vintage.aws_cluster.spec.provider.credential_secret;
    let name = if reference.name.is_empty() {
        "credential-default"
    } else {
        &reference.name
    };
    if site.vintage.contains(&Key::secret("giantswarm", name)) {
        return;
    }
    let arn = |role: &str| facts.partition.role_arn(&facts.account, role).into_bytes();
    let data = opaque(&[
        ("aws.admin.arn", &arn("GiantSwarmAdmin")),
        ("aws.awsoperator.arn", &arn("GiantSwarmAWSOperator")),
    ]);
    site.vintage
        .put_secret("giantswarm", name, &[], data, start);
}
