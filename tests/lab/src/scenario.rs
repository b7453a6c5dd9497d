//! What earlier steps leave for the stretch that the lab plays: the plan, and the Secrets on both management clusters.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use drover_model::{
    ClusterPlan, ControlPlanePlan, Endpoints, LoadBalancers, Master, NetworkPlan, PLAN_VERSION,
    Partition, ServiceAccountPlan, Version, names, pki,
};
use drover_ports::SecretRef;
use kube::Client;
use serde_json::{Value, json};

use crate::{
    api,
    vintage::{Identity, MasterMachine},
};

/// Organization of the lab's customer.
pub(crate) const ORGANIZATION: &str = "acme";
/// Namespace of its clusters' objects.
pub(crate) const NAMESPACE: &str = "org-acme";
/// The installation.
pub(crate) const INSTALLATION: &str = "golem";
/// Domain of the Cluster API side's names.
pub(crate) const CAPI_DOMAIN: &str = "capi.lab.example";
/// Kubernetes of the lab: vintage and Cluster API nodes alike, for a migration never upgrades.
pub(crate) const KUBERNETES: Version = Version::new(1, 34, 4);

/// The AWS side of the plan.
pub(crate) struct CloudSide {
    /// Region.
    pub region: String,
    /// Account.
    pub account: String,
    /// Network, as far as AWS has it.
    pub network: NetworkPlan,
    /// Auto Scaling group of each master, by instance.
    pub groups: BTreeMap<String, String>,
}

/// The plan that an inventory of the lab's cluster gives.
pub(crate) fn plan(
    identity: &Identity,
    masters: &[MasterMachine],
    cloud: &CloudSide,
) -> ClusterPlan {
    let id = identity.id.as_str();
    let partition = Partition::of_region(&cloud.region);
    let role = names::capa_role(INSTALLATION);
    ClusterPlan {
        version: PLAN_VERSION,
        id: id.to_owned(),
        organization: ORGANIZATION.to_owned(),
        namespace: NAMESPACE.to_owned(),
        installation: INSTALLATION.to_owned(),
        region: cloud.region.clone(),
        partition,
        account: cloud.account.clone(),
        description: "the lab's cluster".to_owned(),
        service_priority: "lowest".to_owned(),
        release: Some(Version::new(20, 0, 0)),
        kubernetes: KUBERNETES,
        condition: "Created".to_owned(),
        update_schedule: None,
        endpoints: Endpoints::new(id, &identity.base, CAPI_DOMAIN),
        network: cloud.network.clone(),
        load_balancers: LoadBalancers::of(id),
        control_plane: ControlPlanePlan {
            id: "cp1ab".to_owned(),
            instance_type: "m5.xlarge".to_owned(),
            zones: masters.iter().map(|master| master.zone.clone()).collect(),
        },
        masters: masters
            .iter()
            .map(|master| Master {
                instance: master.instance.clone(),
                node: master.node.clone(),
                member: master.member.clone(),
                zone: master.zone.clone(),
                auto_scaling_group: cloud
                    .groups
                    .get(&master.instance)
                    .cloned()
                    .unwrap_or_default(),
            })
            .collect(),
        node_pools: Vec::new(),
        service_accounts: ServiceAccountPlan {
            issuers: identity.issuers.clone(),
            capi_issuer: format!("https://irsa.{id}.{CAPI_DOMAIN}"),
            audiences: identity.audiences.clone(),
        },
        oidc: None,
        tags: BTreeMap::new(),
        etcd_quota_bytes: 8 << 30,
        pod_gc_threshold: None,
        capa_role_arn: partition.role_arn(&cloud.account, &role),
        other_settings: Vec::new(),
        findings: Vec::new(),
    }
}

/// Lays the cluster's objects on the vintage management cluster.
pub(crate) async fn lay_vintage(client: &Client, identity: &Identity) -> anyhow::Result<()> {
    let id = identity.id.as_str();
    for namespace in [NAMESPACE, id] {
        api::apply(client, &namespace_object(namespace)).await?;
    }
    let labels = json!({
        "giantswarm.io/cluster": id,
        "cluster.x-k8s.io/cluster-name": id,
        "giantswarm.io/organization": ORGANIZATION,
        "release.giantswarm.io/version": "20.0.0",
    });
    let cluster = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta1", "kind": "Cluster",
        "metadata": {
            "name": id, "namespace": NAMESPACE, "labels": labels,
            "annotations": {"cluster.x-k8s.io/paused": "true"},
        },
        "spec": {"controlPlaneEndpoint": {"host": identity.old_api(), "port": 443}},
    });
    api::apply(client, &cluster).await?;
    let server = format!("https://{}:443", identity.old_api());
    let kubeconfig = identity
        .ca
        .kubeconfig(&server, "drover", "system:masters")?;
    api::apply(
        client,
        &secret(
            id,
            &format!("{id}-kubeconfig"),
            id,
            "Opaque",
            &[("kubeConfig", &kubeconfig)],
        ),
    )
    .await?;
    let pair = identity.ca.issue("calico-etcd-client", "", &[])?;
    let data = [
        ("ca", identity.ca.certificate.as_str()),
        ("crt", pair.certificate.as_str()),
        ("key", pair.key.as_str()),
    ];
    let mut etcd = secret(
        NAMESPACE,
        &format!("{id}-calico-etcd-client"),
        id,
        "Opaque",
        &data,
    );
    etcd["metadata"]["labels"]["giantswarm.io/certificate"] = json!("calico-etcd-client");
    api::apply(client, &etcd).await?;
    Ok(())
}

/// Lays the Secrets on the Cluster API management cluster, as the copying steps leave them; answers what later steps are
/// told of them.
pub(crate) async fn lay_capi(
    client: &Client,
    identity: &Identity,
) -> anyhow::Result<Vec<SecretRef>> {
    api::apply(client, &namespace_object(NAMESPACE)).await?;
    let id = identity.id.as_str();
    let ca = pki::Certificate::from_pem(&identity.ca.certificate)
        .map_err(|error| anyhow::anyhow!("the lab's CA: {error}"))?;
    let capi = "cluster.x-k8s.io/secret";
    let [ca_name, etcd_name, proxy_name] = names::ca_secrets(id);
    let certificate = identity.ca.certificate.as_str();
    let key = identity.ca.key.as_str();
    let both = [("tls.crt", certificate), ("tls.key", key)];
    let tokens = [
        ("tls.crt", identity.tokens.1.as_str()),
        ("tls.key", identity.tokens.0.as_str()),
    ];
    let old = [("tls.key", identity.old_tokens.0.as_str())];
    let encryption = [("encryption", identity.encryption.as_str())];
    let wanted: [(String, &str, Data<'_>); 6] = [
        (ca_name, capi, &both),
        (etcd_name, capi, &both),
        (proxy_name, capi, &both),
        (names::sa_secret(id), capi, &tokens),
        (names::sa_old_secret(id), "Opaque", &old),
        (names::encryption_secret(id), "Opaque", &encryption),
    ];
    let mut references = Vec::new();
    for (name, type_, data) in wanted {
        api::apply(client, &secret(NAMESPACE, &name, id, type_, data)).await?;
        references.push(SecretRef {
            installation: INSTALLATION.to_owned(),
            place: "capi-mc".to_owned(),
            namespace: NAMESPACE.to_owned(),
            name,
            key: data[0].0.to_owned(),
            fingerprint: ca.fingerprint.clone(),
        });
    }
    Ok(references)
}

/// Keys and texts of a Secret.
type Data<'d> = &'d [(&'d str, &'d str)];

fn namespace_object(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn secret(namespace: &str, name: &str, cluster: &str, type_: &str, data: Data<'_>) -> Value {
    let data: BTreeMap<&str, String> = data
        .iter()
        .map(|(key, value)| (*key, STANDARD.encode(value)))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": type_,
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {"cluster.x-k8s.io/cluster-name": cluster, "giantswarm.io/cluster": cluster},
        },
        "data": data,
    })
}
