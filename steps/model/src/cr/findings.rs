//! What is odd about a cluster's objects. Each rule is one function that adds at most a few findings.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::{Finding, VintageCluster, keys, types::Metadata};

/// All findings of one cluster, in a fixed order.
pub(super) fn of(cluster: &VintageCluster) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in [
        empty_fields,
        no_status,
        labels_disagree,
        zones,
        api_name,
        pools,
        annotations_elsewhere,
        oidc,
        network_pool,
    ] {
        rule(cluster, &mut found);
    }
    found
}

fn object(kind: &str, metadata: &Metadata) -> String {
    format!("{kind} {}/{}", metadata.namespace, metadata.name)
}

fn aws_cluster(cluster: &VintageCluster) -> String {
    object("AWSCluster", &cluster.aws_cluster.metadata)
}

fn empty_fields(cluster: &VintageCluster, found: &mut Vec<Finding>) {
    let provider = &cluster.aws_cluster.spec.provider;
    if provider.region.is_empty() {
        found.push(Finding::new(
            "region-empty",
            aws_cluster(cluster),
            format!(
                "spec.provider.region is empty; {} is derived from the availability zone",
                cluster.region
            ),
        ));
    }
    if cluster.aws_cluster.spec.cluster.dns.domain.is_empty() {
        let meaning = match cluster.base_domain() {
            "" => "the installation's base domain counts".to_owned(),
            domain => format!("{domain} is taken from the API's host name"),
        };
        found.push(Finding::new(
            "domain-empty",
            aws_cluster(cluster),
            format!("spec.cluster.dns.domain is empty; {meaning}"),
        ));
    }
    if provider.credential_secret.name.is_empty() {
        found.push(Finding::new(
            "credential-secret-empty",
            aws_cluster(cluster),
            "spec.provider.credentialSecret.name is empty; giantswarm/credential-default counts",
        ));
    }
    if cluster.organization().is_empty() {
        found.push(Finding::new(
            "organization-unknown",
            object("Cluster", &cluster.cluster.metadata),
            format!(
                "neither a label {} nor the namespace names the organization",
                keys::ORGANIZATION
            ),
        ));
    }
    if cluster.release().is_none() {
        found.push(Finding::new(
            "release-unknown",
            object("Cluster", &cluster.cluster.metadata),
            format!("the label {} is no version", keys::RELEASE),
        ));
    }
}

fn no_status(cluster: &VintageCluster, found: &mut Vec<Finding>) {
    let status = &cluster.aws_cluster.status;
    if status.cluster.conditions.is_empty() && status.provider.network.vpc_id.is_empty() {
        found.push(Finding::new(
            "status-empty",
            aws_cluster(cluster),
            "the object has no status: nothing says whether the cluster was ever created",
        ));
    }
}

fn labels_disagree(cluster: &VintageCluster, found: &mut Vec<Finding>) {
    for key in [
        keys::RELEASE,
        keys::AWS_OPERATOR,
        keys::CLUSTER_OPERATOR,
        keys::ORGANIZATION,
    ] {
        let mut values: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (kind, metadata) in all(cluster) {
            if let Some(value) = metadata.labels.get(key) {
                let named = object(kind, metadata);
                values.entry(value).or_default().push(named);
            }
        }
        if values.len() > 1 {
            let said = values
                .iter()
                .map(|(value, by)| format!("{value} ({})", by.join(", ")))
                .collect::<Vec<_>>()
                .join(" and ");
            found.push(Finding::new(
                "labels-disagree",
                object("Cluster", &cluster.cluster.metadata),
                format!("objects disagree about the label {key}: {said}"),
            ));
        }
    }
    for (kind, metadata) in all(cluster) {
        for key in [keys::CLUSTER, keys::CLUSTER_NAME] {
            if metadata.labels.get(key).is_some_and(|id| *id != cluster.id) {
                found.push(Finding::new(
                    "labels-disagree",
                    object(kind, metadata),
                    format!("the label {key} names another cluster than {}", cluster.id),
                ));
            }
        }
    }
}

fn all(cluster: &VintageCluster) -> impl Iterator<Item = (&'static str, &Metadata)> {
    [
        ("Cluster", &cluster.cluster.metadata),
        ("AWSCluster", &cluster.aws_cluster.metadata),
        ("G8sControlPlane", &cluster.control_plane.metadata),
        ("AWSControlPlane", &cluster.aws_control_plane.metadata),
    ]
    .into_iter()
    .chain(
        cluster
            .pools
            .iter()
            .map(|pool| ("AWSMachineDeployment", &pool.aws.metadata)),
    )
}

fn zones(cluster: &VintageCluster, found: &mut Vec<Finding>) {
    let named = || object("AWSControlPlane", &cluster.aws_control_plane.metadata);
    let zones = &cluster.aws_control_plane.spec.availability_zones;
    if zones.len() != cluster.replicas() as usize {
        found.push(Finding::new(
            "zones-do-not-match",
            named(),
            format!(
                "{} availability zones for {} masters; they are used in turn",
                zones.len(),
                cluster.replicas()
            ),
        ));
    }
    if let Some(zone) = zones.iter().find(|zone| !zone.starts_with(&cluster.region)) {
        found.push(Finding::new(
            "zone-elsewhere",
            named(),
            format!("zone {zone} is not in region {}", cluster.region),
        ));
    }
}

fn api_name(cluster: &VintageCluster, found: &mut Vec<Finding>) {
    let domain = &cluster.aws_cluster.spec.cluster.dns.domain;
    if domain.is_empty() {
        return;
    }
    let expected = crate::names::old_api(&cluster.id, domain);
    let host = &cluster.cluster.spec.control_plane_endpoint.host;
    if !host.is_empty() && *host != expected {
        found.push(Finding::new(
            "api-name-differs",
            object("Cluster", &cluster.cluster.metadata),
            format!(
                "spec.controlPlaneEndpoint.host is {host}, but the base domain makes it {expected}"
            ),
        ));
    }
    for cert in &cluster.cert_configs {
        let common_name = &cert.spec.cert.common_name;
        if cert.spec.cert.cluster_component == "api" && *common_name != expected {
            found.push(Finding::new(
                "certificate-name-differs",
                object("CertConfig", &cert.metadata),
                format!("the API's certificate is for {common_name}, but its name is {expected}"),
            ));
        }
    }
}

fn pools(cluster: &VintageCluster, found: &mut Vec<Finding>) {
    // Without a pool of its own the installation's range counts, which custom resources do not tell.
    let range = cluster
        .network_pool
        .as_ref()
        .and_then(|pool| pool.spec.cidr_block.parse::<Ipv4Net>().ok());
    for pool in &cluster.pools {
        let named = || object("AWSMachineDeployment", &pool.aws.metadata);
        if !pool.has_machine_deployment {
            found.push(Finding::new(
                "machine-deployment-missing",
                named(),
                "there is no MachineDeployment of this name; cluster-operator will not act on the pool",
            ));
        }
        let scaling = &pool.aws.spec.node_pool.scaling;
        if scaling.min > scaling.max {
            found.push(Finding::new(
                "scaling-inverted",
                named(),
                format!("min {} is above max {}", scaling.min, scaling.max),
            ));
        }
        let subnet = pool.aws.metadata.annotations.get(keys::POOL_SUBNET);
        if let (Some(range), Some(Ok(subnet))) = (range, subnet.map(|s| s.parse::<Ipv4Net>()))
            && !range.contains(&subnet)
        {
            found.push(Finding::new(
                "pool-subnet-elsewhere",
                named(),
                format!("its subnet {subnet} lies outside its network pool's range {range}"),
            ));
        }
    }
}

fn annotations_elsewhere(cluster: &VintageCluster, found: &mut Vec<Finding>) {
    let (on_cluster, on_aws) = (
        &cluster.cluster.metadata.annotations,
        &cluster.aws_cluster.metadata.annotations,
    );
    for key in [keys::POD_CIDR, keys::ETCD_QUOTA, keys::POD_GC_THRESHOLD] {
        if let (None, Some(value)) = (on_cluster.get(key), on_aws.get(key)) {
            found.push(Finding::new(
                "annotation-elsewhere",
                aws_cluster(cluster),
                format!("the annotation {key}: {value} belongs on Cluster; it counts all the same"),
            ));
        }
    }
    let labels = &cluster.cluster.metadata.labels;
    for key in on_aws.keys().chain(on_cluster.keys()) {
        if key.starts_with(keys::TAG_PREFIX) && !labels.contains_key(key) {
            found.push(Finding::new(
                "annotation-elsewhere",
                aws_cluster(cluster),
                format!("the cloud tag {key} belongs among the labels of Cluster; it counts all the same"),
            ));
        }
    }
}

fn oidc(cluster: &VintageCluster, found: &mut Vec<Finding>) {
    let spec = &cluster.aws_cluster.spec.cluster.oidc;
    if let Some(issuer) = cluster.annotation(keys::OIDC_ISSUER)
        && !spec.issuer_url.is_empty()
        && issuer != spec.issuer_url
    {
        found.push(Finding::new(
            "oidc-differs",
            aws_cluster(cluster),
            format!(
                "the annotation {} says {issuer}, spec.cluster.oidc says {}; the spec counts",
                keys::OIDC_ISSUER,
                spec.issuer_url
            ),
        ));
    }
}

fn network_pool(cluster: &VintageCluster, found: &mut Vec<Finding>) {
    let name = &cluster.aws_cluster.spec.provider.nodes.network_pool;
    if !name.is_empty() && cluster.network_pool.is_none() {
        found.push(Finding::new(
            "network-pool-missing",
            aws_cluster(cluster),
            format!("NetworkPool {name} was not in the input"),
        ));
    }
}
