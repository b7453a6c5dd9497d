//! The vintage domain of a cluster: one zone for the world and one for the VPC.

use drover_model::names;
use drover_ports::{DnsRecord, HostedZone};

use crate::{
    chance::Chance,
    state::{Cloud, Facts, Zone},
};

/// What an alias to a load balancer has for a time to live.
const ALIAS_TTL: u32 = 60;

pub(super) fn add(cloud: &mut Cloud, facts: &Facts, chance: &Chance) {
    let domain = names::old_zone(&facts.id, &facts.base_domain);
    let elb = |name: &str| {
        let elb = cloud.elbs.get(name);
        elb.map(|elb| elb.dns_name.clone()).unwrap_or_default()
    };
    let (api, internal) = (
        elb(&names::api_load_balancer(&facts.id)),
        elb(&names::internal_api_load_balancer(&facts.id)),
    );
    let etcd = elb(&names::etcd_load_balancer(&facts.id));
    let ingress = cloud
        .elbs
        .values()
        .find(|elb| elb.tags.contains_key("kubernetes.io/service-name"))
        .map(|elb| elb.dns_name.clone())
        .unwrap_or_default();
    let zones = [(false, &api), (true, &internal)].map(|(private, api)| {
        let alias = |name: &str, target: &str| DnsRecord {
            name: format!("{name}.{domain}"),
            type_: "A".to_owned(),
            ttl: ALIAS_TTL,
            alias: true,
            values: vec![target.to_owned()],
        };
        let plain = |name: &str, type_: &str, value: String| DnsRecord {
            name: format!("{name}.{domain}"),
            type_: type_.to_owned(),
            ttl: 300,
            alias: false,
            values: vec![value],
        };
        let mut records = vec![
            plain("*", "CNAME", format!("ingress.{domain}")),
            alias("api", api),
            alias("etcd", &etcd),
            alias("internal-api", &internal),
        ];
        if !private {
            // external-dns of the ingress controller; the text says whose the record is.
            let owner = format!("heritage=external-dns,external-dns/owner={}", facts.id);
            records.extend([
                plain("ingress", "CNAME", ingress.clone()),
                plain("ingress", "TXT", owner),
            ]);
        }
        records.sort_by(|a, b| (&a.name, &a.type_).cmp(&(&b.name, &b.type_)));
        let id = format!(
            "Z{}",
            chance
                .suffix(20, "zone", if private { "private" } else { "public" })
                .to_ascii_uppercase()
        );
        Zone {
            zone: HostedZone {
                id,
                domain: domain.clone(),
                private,
            },
            records,
        }
    });
    cloud.zones = zones.into();
}
