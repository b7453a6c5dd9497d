//! From what was seen to the plan. Pure.

use drover_model::{
    ClusterPlan, ControlPlanePlan, Endpoints, Finding, LoadBalancers, Master, NetworkPlan,
    OidcPlan, PLAN_VERSION, Partition, PoolPlan, ServiceAccountPlan, SpotPlan, SubnetPlan,
    UpdateSchedule, Version, VintageCluster,
    cr::{NodePool, keys},
    names,
};
use drover_ports::{Instance, Subnet};
use drover_step_api::StepError;
use serde_json::Value;

use super::read::Seen;

/// etcd's quota when no annotation says another.
const ETCD_QUOTA: u64 = 8 << 30;

pub(super) fn plan(installation: &str, seen: &Seen) -> Result<ClusterPlan, StepError> {
    let vintage = &seen.vintage;
    let id = &vintage.id;
    let partition = vintage.partition();
    let account = account(seen, partition)?;
    let endpoints = Endpoints::new(id, &base_domain(seen)?, &seen.capi_domain);
    let mut findings = vintage.findings.clone();
    let service_cidr = service_cidr(seen, &mut findings)?;
    let masters = masters(seen);
    let kubernetes = kubernetes(seen, &masters)?;
    Ok(ClusterPlan {
        version: PLAN_VERSION,
        organization: vintage.organization().to_owned(),
        namespace: vintage.namespace.clone(),
        installation: installation.to_owned(),
        region: vintage.region.clone(),
        partition,
        description: vintage.aws_cluster.spec.cluster.description.clone(),
        service_priority: vintage
            .label(keys::SERVICE_PRIORITY)
            .unwrap_or_default()
            .to_owned(),
        release: vintage.release(),
        kubernetes,
        condition: vintage
            .aws_cluster
            .status
            .cluster
            .conditions
            .first()
            .map(|condition| condition.condition.clone())
            .unwrap_or_default(),
        update_schedule: UpdateSchedule::of(vintage),
        network: network(seen, service_cidr)?,
        load_balancers: LoadBalancers::of(id),
        control_plane: ControlPlanePlan {
            id: vintage.control_plane.metadata.name.clone(),
            instance_type: vintage.master_instance_type().to_owned(),
            zones: vintage.master_zones(),
        },
        masters,
        node_pools: vintage
            .pools
            .iter()
            .map(|pool| node_pool(seen, pool))
            .collect(),
        service_accounts: ServiceAccountPlan {
            issuers: flags(&seen.api_server, "service-account-issuer"),
            capi_issuer: partition.capi_issuer(&vintage.region, &account, id, &seen.capi_domain),
            audiences: flag(&seen.api_server, "api-audiences")
                .map(|audiences| audiences.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
        },
        oidc: oidc(vintage),
        tags: vintage.cloud_tags(),
        etcd_quota_bytes: vintage
            .annotation(keys::ETCD_QUOTA)
            .and_then(|quota| quota.parse().ok())
            .unwrap_or(ETCD_QUOTA),
        pod_gc_threshold: vintage
            .annotation(keys::POD_GC_THRESHOLD)
            .and_then(|threshold| threshold.parse().ok()),
        capa_role_arn: partition.role_arn(&account, &names::capa_role(installation)),
        other_settings: other_settings(vintage),
        findings,
        endpoints,
        account,
        id: id.clone(),
    })
}

fn refused(code: &'static str, message: impl Into<String>) -> StepError {
    StepError::refused(code, message)
}

/// The account that the operators' role lies in; it has to lie in the region's partition.
fn account(seen: &Seen, partition: Partition) -> Result<String, StepError> {
    let arn = &seen.role_arn;
    if Partition::of_arn(arn) != Some(partition) {
        return Err(refused(
            "partition-differs",
            format!(
                "the role {arn} does not lie in the partition {partition} of region {}",
                seen.vintage.region
            ),
        ));
    }
    arn.split(':')
        .nth(4)
        .filter(|account| account.len() == 12)
        .map(str::to_owned)
        .ok_or_else(|| refused("credentials-unreadable", format!("{arn} names no account")))
}

fn base_domain(seen: &Seen) -> Result<String, StepError> {
    let own = seen.vintage.base_domain();
    if !own.is_empty() {
        return Ok(own.to_owned());
    }
    api_values(seen)["EndpointBase"]
        .as_str()
        .and_then(|base| base.strip_prefix("k8s."))
        .map(str::to_owned)
        .ok_or_else(|| {
            refused(
                "base-domain-unknown",
                "neither the AWSCluster nor the installation's operator names the base domain",
            )
        })
}

fn api_values(seen: &Seen) -> &Value {
    &seen.operator_values["Installation"]["V1"]["Guest"]["Kubernetes"]["API"]
}

/// A flag's value on a command line.
fn flag<'f>(command: &'f [String], name: &str) -> Option<&'f str> {
    command.iter().find_map(|flag| {
        flag.strip_prefix("--")?
            .strip_prefix(name)?
            .strip_prefix('=')
    })
}

/// All values of a flag, in order.
fn flags(command: &[String], name: &str) -> Vec<String> {
    command
        .iter()
        .filter_map(|flag| {
            flag.strip_prefix("--")?
                .strip_prefix(name)?
                .strip_prefix('=')
        })
        .map(str::to_owned)
        .collect()
}

/// What runs counts; what else says something is a finding when it differs.
fn service_cidr(seen: &Seen, findings: &mut Vec<Finding>) -> Result<String, StepError> {
    let running = flag(&seen.api_server, "service-cluster-ip-range").ok_or_else(|| {
        refused(
            "flags-unreadable",
            "the API server runs without --service-cluster-ip-range",
        )
    })?;
    let configured = [
        ("Cluster", seen.vintage.service_cidr()),
        (
            "the operator's values",
            api_values(seen)["ClusterIPRange"]
                .as_str()
                .unwrap_or_default(),
        ),
    ];
    for (source, cidr) in configured {
        if !cidr.is_empty() && cidr != running {
            findings.push(Finding::new(
                "service-cidr-differs",
                source,
                format!(
                    "{source} says {cidr}, but the API server runs with {running}; that counts"
                ),
            ));
        }
    }
    Ok(running.to_owned())
}

fn masters(seen: &Seen) -> Vec<Master> {
    let members: Vec<&str> = seen
        .members
        .iter()
        .map(|member| member.name.as_str())
        .collect();
    let mut masters: Vec<Master> = seen
        .instances
        .iter()
        .filter(|instance| tag(&instance.tags, names::TAG_STACK) == names::STACK_MASTERS)
        .map(|instance| {
            let node = node_of(seen, instance);
            let number = node
                .and_then(|node| node["metadata"]["labels"]["giantswarm.io/master-id"].as_str());
            let member = match number {
                Some(number) if members.contains(&format!("etcd{number}").as_str()) => {
                    format!("etcd{number}")
                }
                _ => "etcd0".to_owned(),
            };
            Master {
                node: node
                    .and_then(|node| node["metadata"]["name"].as_str())
                    .unwrap_or(&instance.private_dns)
                    .to_owned(),
                member,
                zone: instance.zone.clone(),
                auto_scaling_group: group_of(seen, &instance.id),
                instance: instance.id.clone(),
            }
        })
        .collect();
    masters.sort_by(|a, b| a.member.cmp(&b.member));
    masters
}

fn tag<'t>(tags: &'t drover_ports::Tags, key: &str) -> &'t str {
    tags.get(key).map_or("", String::as_str)
}

fn node_of<'s>(seen: &'s Seen, instance: &Instance) -> Option<&'s Value> {
    let suffix = format!("/{}", instance.id);
    seen.nodes.iter().find(|node| {
        node["spec"]["providerID"]
            .as_str()
            .is_some_and(|id| id.ends_with(&suffix))
    })
}

fn group_of(seen: &Seen, instance: &str) -> String {
    seen.groups
        .iter()
        .find(|group| group.instances.iter().any(|id| id == instance))
        .map(|group| group.name.clone())
        .unwrap_or_default()
}

fn kubernetes(seen: &Seen, masters: &[Master]) -> Result<Version, StepError> {
    let of = |master: &Master| {
        let node = seen
            .nodes
            .iter()
            .find(|node| node["metadata"]["name"] == master.node.as_str())?;
        node["status"]["nodeInfo"]["kubeletVersion"]
            .as_str()?
            .parse()
            .ok()
    };
    masters.iter().find_map(of).ok_or_else(|| {
        refused(
            "kubernetes-version-unknown",
            "no master's Node says which Kubernetes version it runs",
        )
    })
}

fn network(seen: &Seen, service_cidr: String) -> Result<NetworkPlan, StepError> {
    let id = &seen.vintage.id;
    let group = seen
        .security_groups
        .iter()
        .find(|group| group.name == format!("{id}-master"))
        .ok_or_else(|| {
            refused(
                "security-group-missing",
                format!("there is no security group {id}-master"),
            )
        })?;
    let pod_cidr = flag(&seen.controller_manager, "cluster-cidr").ok_or_else(|| {
        refused(
            "flags-unreadable",
            "the controller manager runs without --cluster-cidr",
        )
    })?;
    let mask = flag(&seen.controller_manager, "node-cidr-mask-size")
        .and_then(|mask| mask.parse().ok())
        // What Kubernetes uses when the flag is not set.
        .unwrap_or(24);
    let gateway = seen
        .route_tables
        .iter()
        .flat_map(|table| &table.routes)
        .find(|route| route.target.starts_with("igw-"))
        .map(|route| route.target.clone());
    Ok(NetworkPlan {
        vpc: seen.vpc.id.clone(),
        vpc_cidr: seen.vpc.cidr.clone(),
        internet_gateway: gateway.unwrap_or_default(),
        subnets: seen
            .subnets
            .iter()
            .filter(|subnet| tag(&subnet.tags, names::TAG_CLUSTER) == id)
            .map(|s| subnet(seen, s))
            .collect(),
        master_security_group: group.id.clone(),
        pod_cidr: pod_cidr.to_owned(),
        service_cidr,
        node_cidr_mask: mask,
    })
}

fn subnet(seen: &Seen, subnet: &Subnet) -> SubnetPlan {
    let table = seen
        .route_tables
        .iter()
        .find(|table| table.subnets.contains(&subnet.id));
    let default = table
        .and_then(|table| {
            table
                .routes
                .iter()
                .find(|route| route.destination == "0.0.0.0/0")
        })
        .map_or("", |route| route.target.as_str());
    SubnetPlan {
        id: subnet.id.clone(),
        zone: subnet.zone.clone(),
        cidr: subnet.cidr.clone(),
        public: default.starts_with("igw-"),
        stack: tag(&subnet.tags, names::TAG_STACK).to_owned(),
        pool: tag(&subnet.tags, names::TAG_MACHINE_DEPLOYMENT).to_owned(),
        route_table: table.map(|table| table.id.clone()).unwrap_or_default(),
        nat_gateway: if default.starts_with("nat-") {
            default.to_owned()
        } else {
            String::new()
        },
    }
}

fn node_pool(seen: &Seen, pool: &NodePool) -> PoolPlan {
    let spec = &pool.aws.spec;
    let of_pool = |tags: &drover_ports::Tags| tag(tags, names::TAG_MACHINE_DEPLOYMENT) == pool.id;
    let group = seen.groups.iter().find(|group| of_pool(&group.tags));
    let distribution = spec.provider.instance_distribution;
    let alike = spec.provider.worker.use_alike_instance_types;
    PoolPlan {
        name: pool.id.clone(),
        description: spec.node_pool.description.clone(),
        min: spec.node_pool.scaling.min,
        max: spec.node_pool.scaling.max,
        current: group
            .map(|group| u32::try_from(group.instances.len()).unwrap_or(u32::MAX))
            .unwrap_or_default(),
        instance_type: spec.provider.worker.instance_type.clone(),
        alike_instance_types: if alike {
            alike_types(seen, pool)
        } else {
            Vec::new()
        },
        zones: spec.provider.availability_zones.clone(),
        subnets: seen
            .subnets
            .iter()
            .filter(|subnet| of_pool(&subnet.tags))
            .map(|subnet| subnet.id.clone())
            .collect(),
        security_group: seen
            .security_groups
            .iter()
            .find(|group| of_pool(&group.tags))
            .map(|group| group.id.clone())
            .unwrap_or_default(),
        auto_scaling_group: group.map(|group| group.name.clone()).unwrap_or_default(),
        container_volume_gb: spec.node_pool.machine.docker_volume_size_gb,
        kubelet_volume_gb: spec.node_pool.machine.kubelet_volume_size_gb,
        spot: (distribution.on_demand_percentage_above_base_capacity < 100).then_some(SpotPlan {
            on_demand_base: distribution.on_demand_base_capacity,
            on_demand_percent: distribution.on_demand_percentage_above_base_capacity,
        }),
        imds_v2: pool
            .aws
            .metadata
            .annotations
            .get(keys::METADATA_V2)
            .is_none_or(|value| value != "optional"),
    }
}

/// Types that aws-operator has found to be alike, besides the pool's own.
fn alike_types(seen: &Seen, pool: &NodePool) -> Vec<String> {
    let own = &pool.aws.spec.provider.worker.instance_type;
    seen.vintage
        .raw
        .iter()
        .find(|object| {
            object["kind"] == "AWSMachineDeployment"
                && object["metadata"]["name"] == pool.id.as_str()
        })
        .and_then(|object| object["status"]["provider"]["worker"]["instanceTypes"].as_array())
        .into_iter()
        .flatten()
        .filter_map(|instance_type| Some(instance_type.as_str()?.to_owned()))
        .filter(|instance_type| instance_type != own)
        .collect()
}

/// The spec counts; annotations fill in what it leaves open.
fn oidc(vintage: &VintageCluster) -> Option<OidcPlan> {
    let spec = &vintage.aws_cluster.spec.cluster.oidc;
    let or = |value: &str, key: &str| {
        if value.is_empty() {
            vintage.annotation(key).unwrap_or_default()
        } else {
            value
        }
        .to_owned()
    };
    let issuer_url = or(&spec.issuer_url, keys::OIDC_ISSUER);
    (!issuer_url.is_empty()).then(|| OidcPlan {
        issuer_url,
        client_id: or(&spec.client_id, keys::OIDC_CLIENT),
        username_claim: or(&spec.claims.username, keys::OIDC_USERNAME_CLAIM),
        groups_claim: or(&spec.claims.groups, keys::OIDC_GROUP_CLAIM),
    })
}

/// Annotations that the plan carries, or that mean nothing to a migration.
const KNOWN: [&str; 22] = [
    keys::PAUSED,
    keys::OPERATORKIT_PAUSED,
    keys::PAUSE_IRSA,
    keys::TERMINATE_UNHEALTHY,
    keys::POD_CIDR,
    keys::ETCD_QUOTA,
    keys::POD_GC_THRESHOLD,
    keys::UPDATE_TARGET_RELEASE,
    keys::UPDATE_TARGET_TIME,
    keys::OIDC_ISSUER,
    keys::OIDC_CLIENT,
    keys::OIDC_USERNAME_CLAIM,
    keys::OIDC_GROUP_CLAIM,
    keys::IRSA,
    keys::POOL_SUBNET,
    keys::METADATA_V2,
    "cluster.giantswarm.io/description",
    "machine-deployment.giantswarm.io/name",
    "giantswarm.io/docs",
    "alpha.aws.giantswarm.io/irsa-migration",
    "alpha.aws.giantswarm.io/enable-cloudfront-alias",
    "alpha.aws.giantswarm.io/irsa-keep-cloudfront-oidc-provider",
];

/// Settings in annotations that nothing of the plan carries.
fn other_settings(vintage: &VintageCluster) -> Vec<String> {
    let objects = [
        ("Cluster", &vintage.cluster.metadata),
        ("AWSCluster", &vintage.aws_cluster.metadata),
        ("G8sControlPlane", &vintage.control_plane.metadata),
        ("AWSControlPlane", &vintage.aws_control_plane.metadata),
    ];
    let pools = vintage
        .pools
        .iter()
        .map(|pool| ("AWSMachineDeployment", &pool.aws.metadata));
    objects
        .into_iter()
        .chain(pools)
        .flat_map(|(kind, metadata)| {
            metadata
                .annotations
                .iter()
                .filter(|(key, _)| key.contains("giantswarm.io/"))
                .filter(|(key, _)| {
                    !KNOWN.contains(&key.as_str()) && !key.starts_with(keys::TAG_PREFIX)
                })
                .filter(|(key, _)| !key.starts_with("drover."))
                .map(move |(key, value)| format!("{kind} {}: {key}={value}", metadata.name))
        })
        .collect()
}
