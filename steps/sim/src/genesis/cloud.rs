//! The cluster's part of AWS as its CloudFormation stacks made it.

use std::{collections::BTreeMap, net::Ipv4Addr};

use drover_model::{VintageCluster, names};
use drover_ports::{Route, RouteTable, SecurityGroup, Subnet, Tags, Vpc};
use drover_step_api::Timestamp;
use ipnet::Ipv4Net;

use super::{dns, stacks};
use crate::{
    chance::Chance,
    rules::ec2,
    state::{Backend, Cloud, Cluster, Elb, Facts, Group, InstanceRole, InstanceState},
};

/// How long ago the cluster's instances were started.
const AGE_SECONDS: i64 = 30 * 24 * 3600;

pub(super) fn of(vintage: &VintageCluster, facts: &Facts, chance: &Chance) -> Cloud {
    let mut cloud = Cloud {
        capa_role_trusted: true,
        ..Cloud::default()
    };
    let status = &vintage.aws_cluster.status.provider.network;
    let vpc_id = if status.vpc_id.is_empty() {
        format!("vpc-0{}", chance.hex(16, "vpc", ""))
    } else {
        status.vpc_id.clone()
    };
    let cidr = status.cidr.parse().unwrap_or_else(|_| {
        let third = u8::try_from(chance.below(250, "vpc-cidr", "")).unwrap_or(0);
        net(Ipv4Addr::new(10, 1, third, 0), 24)
    });
    cloud.vpc = Some(Vpc {
        id: vpc_id,
        cidr: cidr.to_string(),
        tags: stack_tags(facts, names::STACK_NETWORK, &facts.id),
    });
    network(&mut cloud, vintage, facts, chance, cidr);
    pools(&mut cloud, vintage, facts, chance);
    security_groups(&mut cloud, vintage, facts, chance);
    load_balancers(&mut cloud, vintage, facts, chance);
    stacks::add(&mut cloud, vintage, facts);
    dns::add(&mut cloud, facts, chance);
    cloud
}

fn net(address: Ipv4Addr, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(address, prefix)
}

/// Tags that every resource of a stack carries.
pub(crate) fn stack_tags(facts: &Facts, stack: &str, name: &str) -> Tags {
    [
        ("Name", name),
        (names::TAG_CLUSTER, &facts.id),
        ("giantswarm.io/installation", &facts.installation),
        ("giantswarm.io/organization", &facts.organization),
        (names::TAG_STACK, stack),
        (&format!("kubernetes.io/cluster/{}", facts.id), "owned"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// One private and one public subnet a zone, each with its route table, cut from the VPC's range.
fn network(
    cloud: &mut Cloud,
    vintage: &VintageCluster,
    facts: &Facts,
    chance: &Chance,
    cidr: Ipv4Net,
) {
    let prefix = (cidr.prefix_len() + 3).min(28);
    let mut blocks = cidr.subnets(prefix).into_iter().flatten().cycle();
    let gateway = format!("igw-0{}", chance.hex(16, "igw", ""));
    let mut zones = vintage.master_zones();
    zones.sort();
    zones.dedup();
    for zone in &zones {
        for public in [true, false] {
            let side = if public { "public" } else { "private" };
            let Some(block) = blocks.next() else { return };
            let id = format!(
                "subnet-0{}",
                chance.hex(16, "subnet", &format!("{zone}/{side}"))
            );
            let mut tags = stack_tags(
                facts,
                names::STACK_NETWORK,
                &format!("{}-{side}-{zone}", facts.id),
            );
            tags.insert("giantswarm.io/subnet-type".into(), side.into());
            tags.insert("giantswarm.io/availability-zone".into(), zone.clone());
            tags.insert(names::TAG_CAPA_ROLE.into(), side.into());
            let role = if public {
                "kubernetes.io/role/elb"
            } else {
                "kubernetes.io/role/internal-elb"
            };
            tags.insert(role.into(), "1".into());
            let target = if public {
                gateway.clone()
            } else {
                format!("nat-0{}", chance.hex(16, "nat", zone))
            };
            route_table(
                cloud,
                facts,
                chance,
                &format!("{side}-{zone}"),
                &id,
                cidr,
                &target,
            );
            add_subnet(cloud, id, zone, block, tags);
        }
    }
    let main = format!("rtb-0{}", chance.hex(16, "route-table", "main"));
    cloud.route_tables.insert(
        main.clone(),
        RouteTable {
            id: main,
            subnets: Vec::new(),
            main: true,
            routes: vec![route(&cidr.to_string(), "local")],
            tags: Tags::new(),
        },
    );
}

fn route(destination: &str, target: &str) -> Route {
    Route {
        destination: destination.to_owned(),
        target: target.to_owned(),
    }
}

fn route_table(
    cloud: &mut Cloud,
    facts: &Facts,
    chance: &Chance,
    name: &str,
    subnet: &str,
    vpc: Ipv4Net,
    default: &str,
) {
    let id = format!("rtb-0{}", chance.hex(16, "route-table", name));
    let peering = format!("pcx-0{}", chance.hex(16, "peering", ""));
    let table = RouteTable {
        id: id.clone(),
        subnets: vec![subnet.to_owned()],
        main: false,
        routes: vec![
            route("0.0.0.0/0", default),
            route("10.0.0.0/24", &peering),
            route(&vpc.to_string(), "local"),
        ],
        tags: stack_tags(facts, names::STACK_NETWORK, &format!("{}-{name}", facts.id)),
    };
    cloud.route_tables.insert(id, table);
}

/// AWS keeps five addresses of each subnet.
fn add_subnet(cloud: &mut Cloud, id: String, zone: &str, cidr: Ipv4Net, tags: Tags) {
    let subnet = Subnet {
        id: id.clone(),
        zone: zone.to_owned(),
        cidr: cidr.to_string(),
        available_ips: (1u32 << (32 - cidr.prefix_len())).saturating_sub(5),
        tags,
    };
    cloud.subnets.insert(id, subnet);
}

fn pools(cloud: &mut Cloud, vintage: &VintageCluster, facts: &Facts, chance: &Chance) {
    let Some(vpc) = cloud.vpc.as_ref().and_then(|vpc| vpc.cidr.parse().ok()) else {
        return;
    };
    for (n, pool) in vintage.pools.iter().enumerate() {
        let annotated = pool
            .aws
            .metadata
            .annotations
            .get(drover_model::cr::keys::POOL_SUBNET)
            .and_then(|cidr| cidr.parse::<Ipv4Net>().ok());
        let range = annotated.unwrap_or_else(|| {
            net(
                Ipv4Addr::new(10, 128 + u8::try_from(n % 100).unwrap_or(0), 0, 0),
                24,
            )
        });
        let zones = &pool.aws.spec.provider.availability_zones;
        let bits = zones.len().max(1).next_power_of_two().trailing_zeros();
        let prefix = (range.prefix_len() + u8::try_from(bits).unwrap_or(0)).min(28);
        let blocks = range.subnets(prefix).into_iter().flatten();
        for (zone, block) in zones.iter().zip(blocks) {
            let name = format!("{}/{zone}", pool.id);
            let id = format!("subnet-0{}", chance.hex(16, "subnet", &name));
            let mut tags = stack_tags(
                facts,
                names::STACK_POOL,
                &format!("{}-{}", facts.id, pool.id),
            );
            tags.insert(names::TAG_MACHINE_DEPLOYMENT.into(), pool.id.clone());
            tags.insert(names::TAG_CAPA_ROLE.into(), "private".into());
            let nat = format!("nat-0{}", chance.hex(16, "nat", zone));
            route_table(
                cloud,
                facts,
                chance,
                &format!("private-{name}"),
                &id,
                vpc,
                &nat,
            );
            add_subnet(cloud, id, zone, block, tags);
        }
    }
}

fn security_groups(cloud: &mut Cloud, vintage: &VintageCluster, facts: &Facts, chance: &Chance) {
    let mut add = |name: String, key: &str, stack: &str, pool: Option<&str>| {
        let id = format!("sg-0{}", chance.hex(16, "security-group", key));
        let mut tags = stack_tags(facts, stack, &name);
        if let Some(pool) = pool {
            tags.insert(names::TAG_MACHINE_DEPLOYMENT.into(), pool.to_owned());
        }
        let group = SecurityGroup {
            id: id.clone(),
            name,
            tags,
        };
        cloud.security_groups.insert(id, group);
    };
    for name in ["master", "internal-api", "etcd-elb", "aws-cni"] {
        add(
            format!("{}-{name}", facts.id),
            name,
            names::STACK_NETWORK,
            None,
        );
    }
    for pool in &vintage.pools {
        let name = format!("{}-worker", facts.id);
        add(name, &pool.id, names::STACK_POOL, Some(&pool.id));
    }
}

/// Id of a security group by its name tag.
fn group_id(cloud: &Cloud, name: &str, pool: Option<&str>) -> Vec<String> {
    cloud
        .security_groups
        .values()
        .filter(|group| group.name == name)
        .filter(|group| {
            pool.is_none_or(|pool| {
                group
                    .tags
                    .get(names::TAG_MACHINE_DEPLOYMENT)
                    .map(String::as_str)
                    == Some(pool)
            })
        })
        .map(|group| group.id.clone())
        .collect()
}

fn load_balancers(cloud: &mut Cloud, vintage: &VintageCluster, facts: &Facts, chance: &Chance) {
    let zones = vintage.master_zones();
    for (name, scheme, health_check) in [
        (
            names::api_load_balancer(&facts.id),
            "internet-facing",
            "HTTP:8089/healthz",
        ),
        (
            names::internal_api_load_balancer(&facts.id),
            "internal",
            "HTTP:8089/healthz",
        ),
        (names::etcd_load_balancer(&facts.id), "internal", "TCP:2379"),
    ] {
        let elb = Elb {
            dns_name: elb_dns_name(facts, chance, &name),
            scheme,
            zones: zones.iter().cloned().collect(),
            health_check,
            timing: (5, 2, 2),
            backends: BTreeMap::new(),
            connection_draining: None,
            tags: stack_tags(facts, names::STACK_NETWORK, &name),
            name: name.clone(),
        };
        cloud.elbs.insert(name, elb);
    }
    // The customer's own, made by a Service of type LoadBalancer.
    let name = format!("a{}", chance.hex(31, "ingress", ""));
    let tags = [
        (format!("kubernetes.io/cluster/{}", facts.id), "owned"),
        (
            "kubernetes.io/service-name".to_owned(),
            "kube-system/ingress-nginx",
        ),
    ];
    let ingress = Elb {
        dns_name: elb_dns_name(facts, chance, &name),
        scheme: "internet-facing",
        zones: zones.into_iter().collect(),
        health_check: "TCP:30080",
        timing: (10, 2, 6),
        backends: BTreeMap::new(),
        connection_draining: None,
        tags: tags
            .into_iter()
            .map(|(key, value)| (key, value.to_owned()))
            .collect(),
        name: name.clone(),
    };
    cloud.elbs.insert(name, ingress);
}

pub(crate) fn elb_dns_name(facts: &Facts, chance: &Chance, name: &str) -> String {
    let number = chance.below(2_000_000_000, "elb-dns", name);
    let suffix = facts.partition.api_suffix();
    format!("{name}-{number}.{}.elb.{suffix}", facts.region)
}

/// Starts masters and workers, in their groups and behind their load balancers.
pub(super) fn start_instances(cluster: &mut Cluster, vintage: &VintageCluster, start: Timestamp) {
    let launched = Timestamp(start.0 - AGE_SECONDS * 1_000_000);
    let facts = std::sync::Arc::clone(&cluster.facts);
    let load_balancers = [
        names::api_load_balancer(&facts.id),
        names::internal_api_load_balancer(&facts.id),
        names::etcd_load_balancer(&facts.id),
    ];
    for (n, zone) in (1u32..).zip(vintage.master_zones()) {
        let mut tags = stack_tags(
            &facts,
            names::STACK_MASTERS,
            &format!("{}-master", facts.id),
        );
        tags.insert(
            "giantswarm.io/control-plane".into(),
            facts.control_plane.clone(),
        );
        let group = Group {
            name: format!(
                "cluster-{}-tccpn-ControlPlaneNodeAutoScalingGroup{n}-{}",
                facts.id,
                cluster
                    .chance
                    .suffix(12, "asg", &n.to_string())
                    .to_ascii_uppercase()
            ),
            role: InstanceRole::Master(n),
            min: 1,
            desired: 1,
            max: 1,
            zones: vec![zone],
            instances: std::collections::BTreeSet::new(),
            suspended: std::collections::BTreeSet::new(),
            hooks: vec!["ControlPlane".to_owned()],
            ending: BTreeMap::new(),
            subnets: Vec::new(),
            load_balancers: load_balancers.to_vec(),
            tags,
        };
        add_group(cluster, group, launched);
    }
    for pool in &vintage.pools {
        let scaling = &pool.aws.spec.node_pool.scaling;
        let running = running_nodes(vintage, &pool.id).unwrap_or(scaling.min);
        let mut tags = stack_tags(&facts, names::STACK_POOL, &format!("{}-worker", facts.id));
        tags.insert(names::TAG_MACHINE_DEPLOYMENT.into(), pool.id.clone());
        let group = Group {
            name: format!(
                "cluster-{}-tcnp-{}-NodePoolAutoScalingGroup-{}",
                facts.id,
                pool.id,
                cluster
                    .chance
                    .suffix(12, "asg", &pool.id)
                    .to_ascii_uppercase()
            ),
            role: InstanceRole::Worker(pool.id.clone()),
            min: scaling.min,
            desired: running,
            max: scaling.max,
            zones: pool.aws.spec.provider.availability_zones.clone(),
            instances: std::collections::BTreeSet::new(),
            suspended: std::collections::BTreeSet::new(),
            hooks: vec!["NodePool".to_owned()],
            ending: BTreeMap::new(),
            subnets: Vec::new(),
            load_balancers: Vec::new(),
            tags,
        };
        add_group(cluster, group, launched);
    }
    for elb in cluster.cloud.elbs.values_mut() {
        for backend in elb.backends.values_mut() {
            *backend = Backend {
                in_service: true,
                fresh: false,
            };
        }
    }
}

/// Nodes that a pool has, when its MachineDeployment says so.
fn running_nodes(vintage: &VintageCluster, pool: &str) -> Option<u32> {
    let object = vintage.raw.iter().find(|object| {
        object["kind"] == "MachineDeployment" && object["metadata"]["name"] == pool
    })?;
    u32::try_from(object["status"]["replicas"].as_u64()?).ok()
}

fn add_group(cluster: &mut Cluster, group: Group, launched: Timestamp) {
    let name = group.name.clone();
    let desired = group.desired;
    cluster.cloud.groups.insert(name.clone(), group);
    for _ in 0..desired {
        if let Some(id) = ec2::launch_for_group(cluster, &name, launched)
            && let Some(instance) = cluster.cloud.instances.get_mut(&id)
        {
            instance.state = InstanceState::Running;
            instance.boot = ec2::BOOTED;
        }
    }
}

/// Security groups of a group's instances.
pub(crate) fn security_groups_of(cluster: &Cluster, role: &InstanceRole) -> Vec<String> {
    let id = &cluster.facts.id;
    match role {
        InstanceRole::Master(_) => group_id(&cluster.cloud, &format!("{id}-master"), None),
        InstanceRole::Worker(pool) => group_id(&cluster.cloud, &format!("{id}-worker"), Some(pool)),
        InstanceRole::ControlPlane(_) | InstanceRole::PoolNode(_) => Vec::new(),
    }
}
