//! VPC, subnets, routes and security groups.

use anyhow::Context as _;
use aws_sdk_ec2::{
    Client,
    types::{AttributeBooleanValue, DomainType, ResourceType},
};
use drover_model::{NetworkPlan, SubnetPlan, names};

use super::{GenesisPlan, SecurityGroups, specification, stack_tags};

/// Bits that subnets are longer than the VPC: sixteen of them.
const SUBNET_BITS: u8 = 4;

/// Makes the network.
pub(super) async fn make(
    ec2: &Client,
    plan: &GenesisPlan,
) -> anyhow::Result<(NetworkPlan, SecurityGroups)> {
    let tags = stack_tags(plan, names::STACK_NETWORK, &plan.id);
    let vpc = ec2
        .create_vpc()
        .cidr_block(plan.vpc_cidr.to_string())
        .tag_specifications(specification(ResourceType::Vpc, &tags))
        .send()
        .await?;
    let vpc = vpc.vpc().and_then(|vpc| vpc.vpc_id()).context("no VPC")?;
    let gateway = ec2
        .create_internet_gateway()
        .tag_specifications(specification(ResourceType::InternetGateway, &tags))
        .send()
        .await?;
    let gateway = gateway
        .internet_gateway()
        .and_then(|gateway| gateway.internet_gateway_id())
        .context("no internet gateway")?;
    ec2.attach_internet_gateway()
        .vpc_id(vpc)
        .internet_gateway_id(gateway)
        .send()
        .await?;
    let network = Network { ec2, plan, vpc };
    let mut subnets = network.zones(gateway).await?;
    subnets.sort_by(|a, b| a.id.cmp(&b.id));
    let groups = SecurityGroups {
        master: network.group("master").await?,
        internal_api: network.group("internal-api").await?,
        etcd: network.group("etcd-elb").await?,
    };
    let network = NetworkPlan {
        vpc: vpc.to_owned(),
        vpc_cidr: plan.vpc_cidr.to_string(),
        internet_gateway: gateway.to_owned(),
        subnets,
        master_security_group: groups.master.clone(),
        pod_cidr: String::new(),
        service_cidr: String::new(),
        node_cidr_mask: 0,
    };
    Ok((network, groups))
}

struct Network<'a> {
    ec2: &'a Client,
    plan: &'a GenesisPlan,
    vpc: &'a str,
}

impl Network<'_> {
    /// A public subnet, a NAT gateway in it, and a private subnet behind that, in each zone.
    async fn zones(&self, gateway: &str) -> anyhow::Result<Vec<SubnetPlan>> {
        let seen = self.ec2.describe_availability_zones().send().await?;
        let zones = seen
            .availability_zones()
            .iter()
            .filter_map(|zone| zone.zone_name())
            .take(self.plan.zones);
        let prefix = self.plan.vpc_cidr.prefix_len() + SUBNET_BITS;
        let mut blocks = self.plan.vpc_cidr.subnets(prefix)?;
        let mut block = || {
            blocks
                .next()
                .context("the VPC is too small for its subnets")
        };
        let mut subnets = Vec::new();
        for zone in zones {
            let public = self.subnet(zone, block()?.to_string(), true).await?;
            let public = self.routed(public, Target::Internet(gateway)).await?;
            let nat = self.nat_gateway(&public).await?;
            let private = self.subnet(zone, block()?.to_string(), false).await?;
            let private = self.routed(private, Target::Nat(&nat)).await?;
            subnets.extend([public, private]);
        }
        anyhow::ensure!(!subnets.is_empty(), "the region has no availability zone");
        Ok(subnets)
    }

    async fn subnet(&self, zone: &str, cidr: String, public: bool) -> anyhow::Result<SubnetPlan> {
        let (side, role) = side(public);
        let name = format!("{}-{side}-{zone}", self.plan.id);
        let mut tags = stack_tags(self.plan, names::STACK_NETWORK, &name);
        tags.extend(
            [
                ("giantswarm.io/subnet-type", side),
                ("giantswarm.io/availability-zone", zone),
                (names::TAG_CAPA_ROLE, side),
                (role, "1"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        let made = self
            .ec2
            .create_subnet()
            .vpc_id(self.vpc)
            .availability_zone(zone)
            .cidr_block(&cidr)
            .tag_specifications(specification(ResourceType::Subnet, &tags))
            .send()
            .await?;
        let id = made
            .subnet()
            .and_then(|subnet| subnet.subnet_id())
            .context("no subnet")?;
        if public {
            let yes = AttributeBooleanValue::builder().value(true).build();
            self.ec2
                .modify_subnet_attribute()
                .subnet_id(id)
                .map_public_ip_on_launch(yes)
                .send()
                .await?;
        }
        Ok(SubnetPlan {
            id: id.to_owned(),
            zone: zone.to_owned(),
            cidr,
            public,
            stack: names::STACK_NETWORK.to_owned(),
            pool: String::new(),
            route_table: String::new(),
            nat_gateway: String::new(),
        })
    }

    /// Gives a subnet its own route table, with its way out.
    async fn routed(&self, subnet: SubnetPlan, target: Target<'_>) -> anyhow::Result<SubnetPlan> {
        let (side, _) = side(subnet.public);
        let name = format!("{}-{side}-{}", self.plan.id, subnet.zone);
        let mut tags = stack_tags(self.plan, names::STACK_NETWORK, &name);
        tags.insert("giantswarm.io/route-table-type".into(), side.into());
        tags.insert(
            "giantswarm.io/availability-zone".into(),
            subnet.zone.clone(),
        );
        let made = self
            .ec2
            .create_route_table()
            .vpc_id(self.vpc)
            .tag_specifications(specification(ResourceType::RouteTable, &tags))
            .send()
            .await?;
        let table = made
            .route_table()
            .and_then(|table| table.route_table_id())
            .context("no route table")?;
        self.ec2
            .associate_route_table()
            .route_table_id(table)
            .subnet_id(&subnet.id)
            .send()
            .await?;
        let route = self
            .ec2
            .create_route()
            .route_table_id(table)
            .destination_cidr_block("0.0.0.0/0");
        let (route, nat_gateway) = match target {
            Target::Internet(gateway) => (route.gateway_id(gateway), String::new()),
            Target::Nat(gateway) => (route.nat_gateway_id(gateway), gateway.to_owned()),
        };
        route.send().await?;
        Ok(SubnetPlan {
            route_table: table.to_owned(),
            nat_gateway,
            ..subnet
        })
    }

    async fn nat_gateway(&self, public: &SubnetPlan) -> anyhow::Result<String> {
        let address = self
            .ec2
            .allocate_address()
            .domain(DomainType::Vpc)
            .send()
            .await?;
        let name = format!("{}-{}", self.plan.id, public.zone);
        let tags = stack_tags(self.plan, names::STACK_NETWORK, &name);
        let made = self
            .ec2
            .create_nat_gateway()
            .subnet_id(&public.id)
            .set_allocation_id(address.allocation_id().map(str::to_owned))
            .tag_specifications(specification(ResourceType::Natgateway, &tags))
            .send()
            .await?;
        let id = made
            .nat_gateway()
            .and_then(|gateway| gateway.nat_gateway_id());
        Ok(id.context("no NAT gateway")?.to_owned())
    }

    async fn group(&self, suffix: &str) -> anyhow::Result<String> {
        let name = format!("{}-{suffix}", self.plan.id);
        let tags = stack_tags(self.plan, names::STACK_NETWORK, &name);
        let made = self
            .ec2
            .create_security_group()
            .vpc_id(self.vpc)
            .group_name(&name)
            .description(&name)
            .tag_specifications(specification(ResourceType::SecurityGroup, &tags))
            .send()
            .await?;
        Ok(made.group_id().context("no security group")?.to_owned())
    }
}

/// A subnet's way out.
enum Target<'a> {
    Internet(&'a str),
    Nat(&'a str),
}

/// Name of a subnet's side, and the tag by which Kubernetes finds subnets for load balancers.
fn side(public: bool) -> (&'static str, &'static str) {
    if public {
        ("public", "kubernetes.io/role/elb")
    } else {
        ("private", "kubernetes.io/role/internal-elb")
    }
}
