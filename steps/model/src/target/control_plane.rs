//! Cluster, KubeadmControlPlane and the health check of its machines.

use serde_json::{Map, Value, json};

use super::{
    api, care,
    join::{API_HEALTHZ_KEY, JOIN_KEY, JOIN_PATH},
    metadata,
};
use crate::{ClusterPlan, Version, cr::keys, names};

/// kube-apiserver has no `--cloud-provider` any more (upstream `cmd/kube-apiserver/app/options`, 1.33); long before, external
/// was all that was left.
const CLOUD_PROVIDER_IS_GONE: Version = Version::new(1, 29, 0);

/// From here on kubeadm would run etcd 3.6 by itself (upstream `kubeadm/app/constants`, `SupportedEtcdVersion`). A migration
/// keeps the vintage etcd's minor version: one cluster, and flags that 3.6 does not know.
const KUBEADM_PREFERS_ETCD_3_6: Version = Version::new(1, 34, 0);
const ETCD_3_5: &str = "3.5.24-0";

/// A kubeadm patch of the API server's manifest, with the flags that have to stand several times.
pub(super) const API_SERVER_PATCH: &str = "/etc/kubernetes/patches/kube-apiserver0+json.json";

pub(super) fn cluster(plan: &ClusterPlan) -> Value {
    let reference = |api_version: &str, kind: &str| {
        json!({
            "apiVersion": api_version,
            "kind": kind,
            "name": plan.id,
            "namespace": plan.namespace,
        })
    };
    let mut object = json!({
        "apiVersion": api::CAPI,
        "kind": "Cluster",
        "metadata": metadata(plan, &plan.id),
        "spec": {
            "clusterNetwork": {
                "apiServerPort": 443,
                "pods": {"cidrBlocks": [plan.network.pod_cidr]},
                "services": {"cidrBlocks": [plan.network.service_cidr]},
                "serviceDomain": "cluster.local",
            },
            "controlPlaneRef": reference(api::CONTROL_PLANE, "KubeadmControlPlane"),
            "infrastructureRef": reference(api::INFRASTRUCTURE, "AWSCluster"),
        },
    });
    if !plan.service_priority.is_empty() {
        object["metadata"]["labels"][keys::SERVICE_PRIORITY] = json!(plan.service_priority);
    }
    if !plan.description.is_empty() {
        object["metadata"]["annotations"] =
            json!({"cluster.giantswarm.io/description": plan.description});
    }
    object
}

/// Paused: with one machine it could never remediate, and with three it might.
pub(super) fn health_check(plan: &ClusterPlan) -> Value {
    let mut object = json!({
        "apiVersion": api::CAPI,
        "kind": "MachineHealthCheck",
        "metadata": metadata(plan, &format!("{}-control-plane", plan.id)),
        "spec": {
            "clusterName": plan.id,
            "maxUnhealthy": "40%",
            "nodeStartupTimeout": "8m0s",
            "selector": {"matchLabels": {
                "cluster.x-k8s.io/cluster-name": plan.id,
                "cluster.x-k8s.io/control-plane": "",
            }},
            "unhealthyConditions": [
                {"type": "Ready", "status": "Unknown", "timeout": "10m0s"},
                {"type": "Ready", "status": "False", "timeout": "10m0s"},
            ],
        },
    });
    object["metadata"]["annotations"] = json!({keys::PAUSED: "true"});
    object
}

pub(super) fn control_plane(plan: &ClusterPlan, template: &str) -> Value {
    json!({
        "apiVersion": api::CONTROL_PLANE,
        "kind": "KubeadmControlPlane",
        "metadata": metadata(plan, &plan.id),
        "spec": {
            "replicas": 3,
            "version": format!("v{}", plan.kubernetes),
            "rolloutStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "machineTemplate": {"infrastructureRef": {
                "apiVersion": api::INFRASTRUCTURE,
                "kind": "AWSMachineTemplate",
                "name": template,
                "namespace": plan.namespace,
            }},
            "kubeadmConfigSpec": {
                "format": "ignition",
                "ignition": kubeadm_environment(),
                "clusterConfiguration": cluster_configuration(plan),
                "initConfiguration": {
                    // The vintage cluster has both already.
                    "skipPhases": ["addon/kube-proxy", "addon/coredns"],
                    "localAPIEndpoint": {"bindPort": 443},
                    "nodeRegistration": node_registration(),
                    "patches": {"directory": "/etc/kubernetes/patches"},
                },
                "joinConfiguration": {
                    "controlPlane": {"localAPIEndpoint": {"bindPort": 443}},
                    "nodeRegistration": node_registration(),
                    "patches": {"directory": "/etc/kubernetes/patches"},
                },
                "files": files(plan),
                "preKubeadmCommands": [
                    // CAPA's load balancer sends to 6443; the API server listens on 443, as the vintage ones do, because
                    // the endpoints of the `kubernetes` service have one port for all addresses.
                    "iptables -A PREROUTING -t nat -p tcp --dport 6443 -j REDIRECT --to-port 443",
                    "iptables -t nat -A OUTPUT -p tcp --destination 127.0.0.1 --dport 6443 -j REDIRECT --to-port 443",
                    // kubeadm refuses the whole file while the name in it is a variable, and the join script asks kubeadm.
                    "envsubst '$COREOS_EC2_HOSTNAME' < /etc/kubeadm.yml > /etc/kubeadm.yml.tmp",
                    "mv /etc/kubeadm.yml.tmp /etc/kubeadm.yml",
                    format!("/bin/bash {JOIN_PATH}"),
                ],
                "postKubeadmCommands": [],
            },
        },
    })
}

/// The machine's own name and address, which scripts and kubeadm's configuration name by variables, reach kubeadm's unit only
/// through Flatcar's metadata (cluster-api.sigs.k8s.io, "Ignition Bootstrap configuration").
pub(super) fn kubeadm_environment() -> Value {
    let units = "\
systemd:
  units:
  - name: kubeadm.service
    dropins:
    - name: 10-flatcar.conf
      contents: |
        [Unit]
        Requires=coreos-metadata.service
        After=coreos-metadata.service
        [Service]
        EnvironmentFile=/run/metadata/flatcar
";
    json!({"containerLinuxConfig": {"additionalConfig": units}})
}

fn node_registration() -> Value {
    json!({
        "name": "${COREOS_EC2_HOSTNAME}",
        "kubeletExtraArgs": {"cloud-provider": "external"},
        // The health endpoint's manifest is already there.
        "ignorePreflightErrors": ["DirAvailable--etc-kubernetes-manifests"],
    })
}

fn cluster_configuration(plan: &ClusterPlan) -> Value {
    let network = &plan.network;
    let accounts = &plan.service_accounts;
    let mut api_server = json!({
        // Vintage keys live under /giantswarm.io; with kubeadm's own prefix the cluster would look empty.
        "etcd-prefix": "giantswarm.io",
        "encryption-provider-config": "/etc/kubernetes/encryption/config.yaml",
        // The first issuer signs; a map holds a flag once, so the others come by a patch, in order.
        "service-account-issuer": accounts.issuers.first(),
        "api-audiences": accounts.audiences.join(","),
        "service-cluster-ip-range": network.service_cidr,
    });
    if plan.kubernetes < CLOUD_PROVIDER_IS_GONE {
        api_server["cloud-provider"] = json!("external");
    }
    if let Some(oidc) = &plan.oidc {
        for (flag, value) in [
            ("oidc-issuer-url", &oidc.issuer_url),
            ("oidc-client-id", &oidc.client_id),
            ("oidc-username-claim", &oidc.username_claim),
            ("oidc-groups-claim", &oidc.groups_claim),
        ] {
            if !value.is_empty() {
                api_server[flag] = json!(value);
            }
        }
    }
    let mut controller_manager = json!({
        "allocate-node-cidrs": "true",
        "cluster-cidr": network.pod_cidr,
        // The mask must be the one of the running nodes: allocators with different masks hand out overlapping blocks.
        "node-cidr-mask-size": network.node_cidr_mask.to_string(),
        "cloud-provider": "external",
    });
    if let Some(threshold) = plan.pod_gc_threshold {
        controller_manager["terminated-pod-gc-threshold"] = json!(threshold.to_string());
    }
    let volume = |name: &str, path: &str| json!({"name": name, "hostPath": path, "mountPath": path, "readOnly": true});
    json!({
        "apiServer": {
            "certSANs": [
                "localhost",
                "127.0.0.1",
                plan.endpoints.new_api,
                plan.endpoints.old_api,
            ],
            "extraArgs": api_server,
            "extraVolumes": [
                volume("encryption", "/etc/kubernetes/encryption"),
            ],
        },
        "controllerManager": {"extraArgs": controller_manager},
        "etcd": {"local": etcd(plan)},
        "networking": {
            "serviceSubnet": network.service_cidr,
            "podSubnet": network.pod_cidr,
        },
    })
}

fn etcd(plan: &ClusterPlan) -> Value {
    let mut etcd = json!({
        "dataDir": "/var/lib/etcd/data",
        // Lets the node stand behind the vintage etcd load balancer.
        "serverCertSANs": [plan.endpoints.etcd],
        "extraArgs": etcd_arguments(plan),
    });
    if plan.kubernetes >= KUBEADM_PREFERS_ETCD_3_6 {
        etcd["imageTag"] = json!(ETCD_3_5);
    }
    etcd
}

fn etcd_arguments(plan: &ClusterPlan) -> Map<String, Value> {
    [
        // Vintage peers' certificates do not name the nodes' addresses.
        (
            "experimental-peer-skip-client-san-verification",
            "true".to_owned(),
        ),
        ("listen-metrics-urls", "http://0.0.0.0:2381".to_owned()),
        ("quota-backend-bytes", plan.etcd_quota_bytes.to_string()),
    ]
    .into_iter()
    .map(|(flag, value)| (flag.to_owned(), Value::from(value)))
    .collect()
}

fn files(plan: &ClusterPlan) -> Value {
    let from_secret = |path: &str, permissions: &str, secret: String, key: &str| {
        json!({
            "path": path,
            "permissions": permissions,
            "contentFrom": {"secret": {"name": secret, "key": key}},
        })
    };
    json!([
        from_secret(
            "/etc/kubernetes/encryption/config.yaml",
            "0600",
            names::encryption_secret(&plan.id),
            "encryption",
        ),
        from_secret(
            "/etc/kubernetes/pki/sa-old.pem",
            "0640",
            names::sa_old_secret(&plan.id),
            "tls.key",
        ),
        {
            "path": API_SERVER_PATCH,
            "permissions": "0644",
            "content": api_server_patch(plan),
        },
        from_secret(JOIN_PATH, "0700", names::migration_files_secret(&plan.id), JOIN_KEY),
        from_secret(
            "/etc/kubernetes/manifests/k8s-api-healthz.yaml",
            "0644",
            names::migration_files_secret(&plan.id),
            API_HEALTHZ_KEY,
        ),
    ])
}

fn api_server_patch(plan: &ClusterPlan) -> String {
    let accounts = &plan.service_accounts;
    let issuers = accounts
        .issuers
        .iter()
        .skip(1)
        .chain([&accounts.capi_issuer])
        .map(|issuer| care::issuer_flag(issuer));
    // The legacy key verifies tokens that were never renewed.
    let old_key = "--service-account-key-file=/etc/kubernetes/pki/sa-old.pem".to_owned();
    let operations: Vec<Value> = [old_key]
        .into_iter()
        .chain(issuers)
        .map(|flag| care::argument(&flag))
        .collect();
    Value::from(operations).to_string()
}
