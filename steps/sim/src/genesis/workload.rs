//! The workload cluster itself: hosts, etcd, and the objects in it.

use std::collections::{BTreeMap, BTreeSet};

use drover_model::{VintageCluster, cr::keys, names};
use drover_ports::SecretBytes;
use drover_step_api::Timestamp;
use serde_json::json;

use super::management::cloudfront_domain;
use crate::{
    objects::{SecretData, Store},
    rules::{nodes, static_pods},
    state::{
        ApiConfig, Cluster, EtcdMember, Flavour, Host, InstanceRole, Lease, Proc, VINTAGE_REALM,
    },
};

/// Mask of the pod CIDRs that vintage controller managers hand out.
pub(crate) const VINTAGE_NODE_CIDR_MASK: u8 = 25;

pub(super) fn fill(cluster: &mut Cluster, vintage: &VintageCluster, start: Timestamp) {
    let realm = Store::new(format!("{}-workload", cluster.facts.id));
    cluster.realms.insert(VINTAGE_REALM.to_owned(), realm);
    masters(cluster, vintage);
    base_objects(cluster, start);
    let instances: Vec<String> = cluster.cloud.instances.keys().cloned().collect();
    for instance in instances {
        nodes::register(cluster, &instance, start);
    }
    static_pods::publish_all(cluster, start);
}

/// The configuration that vintage cloud-config gives every master.
pub(crate) fn vintage_config(cluster: &Cluster) -> ApiConfig {
    let facts = &cluster.facts;
    let identities = &cluster.identities;
    let cloudfront = cloudfront_domain(cluster);
    ApiConfig {
        ca: identities.ca.clone(),
        verifies: BTreeSet::from([identities.sa.clone(), identities.sa_old.clone()]),
        signs: identities.sa.clone(),
        issuers: facts.partition.vintage_issuers(
            &facts.region,
            &facts.account,
            &facts.id,
            &facts.base_domain,
            Some(&cloudfront),
        ),
        encryption: Some(identities.encryption.clone()),
        etcd_prefix: VINTAGE_REALM.to_owned(),
        names: BTreeSet::from([facts.old_name.clone()]),
        port: 443,
        redirects: BTreeMap::new(),
        node_cidr_mask: VINTAGE_NODE_CIDR_MASK,
        cluster_cidr: facts.pod_cidr.clone(),
        // It has no signing certificate, so it signs nothing.
        signs_kubelets: false,
    }
}

/// A vintage master with everything in place and running.
pub(crate) fn vintage_host(cluster: &Cluster, number: u32, node: &str) -> Host {
    let mut host = Host::new(Flavour::Vintage(number), node, vintage_config(cluster));
    for proc in Proc::ALL {
        host.place(proc);
    }
    host
}

fn masters(cluster: &mut Cluster, vintage: &VintageCluster) {
    let facts = std::sync::Arc::clone(&cluster.facts);
    let members = names::etcd_members(facts.masters);
    let masters: Vec<(String, u32, String)> = cluster
        .cloud
        .instances
        .values()
        .filter_map(|instance| match instance.role {
            InstanceRole::Master(n) => Some((instance.id.clone(), n, instance.dns.clone())),
            InstanceRole::Worker(_) | InstanceRole::ControlPlane(_) | InstanceRole::PoolNode(_) => {
                None
            }
        })
        .collect();
    for (instance, number, node) in masters {
        let mut host = vintage_host(cluster, number, &node);
        host.running.extend(Proc::ALL);
        let name = members[number as usize - 1].clone();
        let member = EtcdMember {
            id: cluster.chance.number("etcd-member", &name, 0),
            peer_url: format!("https://{name}.{}.k8s.{}:2380", facts.id, facts.base_domain),
            name,
            instance: instance.clone(),
            started: true,
            learner: false,
        };
        cluster.etcd.members.push(member);
        cluster.endpoints.insert(instance.clone(), host.config.port);
        cluster.endpoint_port = Some(host.config.port);
        cluster.hosts.insert(instance, host);
    }
    cluster.etcd.members.sort_by(|a, b| a.name.cmp(&b.name));
    cluster.etcd.leader = cluster.etcd.members.first().map(|member| member.id);
    cluster.etcd.revision = 1_000_000 + cluster.chance.below(9_000_000, "revision", "");
    cluster.etcd.db_size = (100 + cluster.chance.below(900, "db-size", "")) << 20;
    cluster.etcd.quota = vintage
        .annotation(keys::ETCD_QUOTA)
        .and_then(|quota| quota.parse().ok())
        .unwrap_or(8 << 30);
    let first = cluster
        .etcd
        .members
        .first()
        .map(|member| member.instance.clone());
    for component in ["kube-controller-manager", "kube-scheduler"] {
        let lease = Lease {
            holder: first.clone(),
            transitions: 0,
        };
        cluster.leases.insert(component, lease);
    }
}

fn base_objects(cluster: &mut Cluster, start: Timestamp) {
    let encryption = cluster.identities.encryption.clone();
    let Some(realm) = cluster.realms.get_mut(VINTAGE_REALM) else {
        return;
    };
    for namespace in ["default", "giantswarm", "kube-system"] {
        realm.put(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            start,
        );
        realm.put(
            json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "default", "namespace": namespace},
            }),
            start,
        );
    }
    // Something of the customer's that only the right encryption key can read.
    let data = SecretData {
        type_: "Opaque".to_owned(),
        data: BTreeMap::from([(
            "password".to_owned(),
            SecretBytes::new(b"a customer's own".to_vec()),
        )]),
        sealed: Some(encryption),
    };
    realm.put_secret("default", "customer-database", &[], data, start);
}
