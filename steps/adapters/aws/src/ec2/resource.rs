//! EC2's resources as the port knows them. What EC2 leaves out is empty.

use aws_sdk_ec2::types::{self as aws, InstanceStateName};
use drover_ports::{Instance, Route, RouteTable, SecurityGroup, Subnet, Tags, Vpc};

fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}

fn tags(tags: &[aws::Tag]) -> Tags {
    tags.iter()
        .map(|tag| (text(tag.key()), text(tag.value())))
        .collect()
}

/// `None` for a terminated one: EC2 shows it for another hour.
pub(super) fn instance(from: &aws::Instance) -> Option<Instance> {
    let state = from.state()?.name()?;
    if *state == InstanceStateName::Terminated {
        return None;
    }
    Some(Instance {
        id: text(from.instance_id()),
        state: state.as_str().to_owned(),
        private_dns: text(from.private_dns_name()),
        private_ip: text(from.private_ip_address()),
        zone: text(from.placement().and_then(|place| place.availability_zone())),
        subnet: text(from.subnet_id()),
        security_groups: from
            .security_groups()
            .iter()
            .filter_map(|group| group.group_id().map(ToOwned::to_owned))
            .collect(),
        tags: tags(from.tags()),
    })
}

pub(super) fn vpc(from: &aws::Vpc) -> Vpc {
    Vpc {
        id: text(from.vpc_id()),
        cidr: text(from.cidr_block()),
        tags: tags(from.tags()),
    }
}

pub(super) fn subnet(from: &aws::Subnet) -> Subnet {
    let free = from.available_ip_address_count().unwrap_or_default();
    Subnet {
        id: text(from.subnet_id()),
        zone: text(from.availability_zone()),
        cidr: text(from.cidr_block()),
        available_ips: u32::try_from(free).unwrap_or_default(),
        tags: tags(from.tags()),
    }
}

pub(super) fn route_table(from: &aws::RouteTable) -> RouteTable {
    let associations = from.associations();
    let mut routes: Vec<Route> = from.routes().iter().map(route).collect();
    routes.sort_by(|a, b| a.destination.cmp(&b.destination));
    RouteTable {
        id: text(from.route_table_id()),
        subnets: associations
            .iter()
            .filter_map(|association| association.subnet_id().map(ToOwned::to_owned))
            .collect(),
        main: associations
            .iter()
            .any(|association| association.main() == Some(true)),
        routes,
        tags: tags(from.tags()),
    }
}

fn route(from: &aws::Route) -> Route {
    let destination = from
        .destination_cidr_block()
        .or(from.destination_ipv6_cidr_block())
        .or(from.destination_prefix_list_id());
    // One of these at most is there. `gateway_id` is also "local" and the id of a gateway endpoint.
    let target = [
        from.gateway_id(),
        from.nat_gateway_id(),
        from.vpc_peering_connection_id(),
        from.transit_gateway_id(),
        from.egress_only_internet_gateway_id(),
        from.local_gateway_id(),
        from.carrier_gateway_id(),
        from.core_network_arn(),
        from.network_interface_id(),
        from.instance_id(),
    ];
    Route {
        destination: text(destination),
        target: text(target.into_iter().flatten().next()),
    }
}

pub(super) fn security_group(from: &aws::SecurityGroup) -> SecurityGroup {
    SecurityGroup {
        id: text(from.group_id()),
        name: text(from.group_name()),
        tags: tags(from.tags()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminated_instance_is_not_there() {
        let of = |state: InstanceStateName| {
            let state = aws::InstanceState::builder().name(state).build();
            let from = aws::Instance::builder().instance_id("i-1").state(state);
            instance(&from.build()).map(|instance| instance.state)
        };
        assert_eq!(of(InstanceStateName::Terminated), None);
        let state = of(InstanceStateName::ShuttingDown);
        assert_eq!(state.as_deref(), Some("shutting-down"));
    }

    #[test]
    fn a_route_has_one_target_of_many_kinds() {
        let to = |route: aws::builders::RouteBuilder| {
            let route = super::route(&route.destination_cidr_block("0.0.0.0/0").build());
            assert_eq!(route.destination, "0.0.0.0/0");
            route.target
        };
        let route = aws::Route::builder;
        assert_eq!(to(route().gateway_id("local")), "local");
        assert_eq!(to(route().nat_gateway_id("nat-1")), "nat-1");
        assert_eq!(to(route().vpc_peering_connection_id("pcx-1")), "pcx-1");
        assert_eq!(to(route().transit_gateway_id("tgw-1")), "tgw-1");
        assert_eq!(to(route()), "");
        let to_prefix = aws::Route::builder().destination_prefix_list_id("pl-1");
        let to_prefix = super::route(&to_prefix.gateway_id("vpce-1").build());
        assert_eq!(to_prefix.destination, "pl-1");
        assert_eq!(to_prefix.target, "vpce-1");
    }
}
