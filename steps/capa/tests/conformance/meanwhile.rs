//! What others do while a step has done its work and has not been taken back yet.

use drover_model::names;
use drover_ports::{Call, CloudCall, CloudReply, EtcdCall, Instance};

use crate::stage::Site;

/// The guard puts the first node on the vintage load balancers, and etcd elects its member.
pub(crate) async fn takes_the_first_node_in(site: &Site) {
    let nodes = nodes(site).await;
    let id = &site.town.cluster;
    for load_balancer in [
        names::api_load_balancer(id),
        names::internal_api_load_balancer(id),
    ] {
        let instances = nodes.iter().map(|node| node.id.clone()).collect();
        let register = CloudCall::RegisterInstancesWithLoadBalancer {
            load_balancer,
            instances,
        };
        site.town.cloud(register).await;
    }
    for node in nodes {
        let call = EtcdCall::MoveLeader {
            to: node.private_dns,
        };
        let cluster = id.clone();
        site.town.by_hand(Call::Etcd { cluster, call }).await;
    }
}

/// The Cluster API control-plane instances that run.
async fn nodes(site: &Site) -> Vec<Instance> {
    let tags = [
        (
            names::tag_capa_cluster(&site.town.cluster),
            "owned".to_owned(),
        ),
        (names::TAG_CAPA_ROLE.to_owned(), "control-plane".to_owned()),
    ];
    let tags = tags.into();
    match site.town.cloud(CloudCall::DescribeInstances { tags }).await {
        CloudReply::Instances(mut instances) => {
            instances.retain(|instance| instance.state == "running");
            instances
        }
        other => panic!("{other:?}"),
    }
}
