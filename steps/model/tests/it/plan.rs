//! Plans to render, and the size of a large one.

use drover_model::{
    ClusterPlan, ControlPlanePlan, Endpoints, LoadBalancers, Master, NetworkPlan, OidcPlan,
    PLAN_VERSION, Partition, PoolPlan, ServiceAccountPlan, SpotPlan, SubnetPlan, Version, names,
};

pub(crate) fn plan(region: &str, masters: u32, pools: usize) -> ClusterPlan {
    let (id, account) = ("ab1c2", "111122223333");
    let (base, capi) = ("eu.acme.example", "capi.acme.example");
    let partition = Partition::of_region(region);
    let zones: Vec<String> = (0..masters)
        .map(|n| format!("{region}{}", ["a", "b", "c"][n as usize]))
        .collect();
    ClusterPlan {
        version: PLAN_VERSION,
        id: id.into(),
        organization: "acme".into(),
        namespace: "org-acme".into(),
        installation: "golem".into(),
        region: region.into(),
        partition,
        account: account.into(),
        description: "payments production".into(),
        service_priority: "highest".into(),
        release: Some(Version::new(20, 1, 2)),
        kubernetes: Version::new(1, 25, 16),
        condition: "Updated".into(),
        update_schedule: None,
        endpoints: Endpoints::new(id, base, capi),
        network: NetworkPlan {
            vpc: "vpc-0aa11".into(),
            vpc_cidr: "10.1.4.0/24".into(),
            internet_gateway: "igw-0aa11".into(),
            subnets: subnets(&zones),
            master_security_group: "sg-0master".into(),
            pod_cidr: "10.96.0.0/16".into(),
            service_cidr: "172.31.0.0/16".into(),
            node_cidr_mask: 25,
        },
        load_balancers: LoadBalancers::of(id),
        control_plane: ControlPlanePlan {
            id: "zz9x8".into(),
            instance_type: "m5.xlarge".into(),
            zones: zones.clone(),
        },
        masters: names::etcd_members(masters)
            .into_iter()
            .zip(&zones)
            .enumerate()
            .map(|(n, (member, zone))| Master {
                instance: format!("i-0master{n}"),
                node: format!("ip-10-1-4-{n}.{}", partition.compute_domain(region)),
                member,
                zone: zone.clone(),
                auto_scaling_group: format!("cluster-{id}-tccpn-master{n}"),
            })
            .collect(),
        node_pools: (0..pools).map(|n| pool(n, &zones)).collect(),
        service_accounts: ServiceAccountPlan {
            issuers: partition.vintage_issuers(region, account, id, base, None),
            capi_issuer: partition.capi_issuer(region, account, id, capi),
            audiences: vec![partition.sts_audience()],
        },
        oidc: Some(OidcPlan {
            issuer_url: "https://login.acme.example".into(),
            client_id: "dex-client".into(),
            username_claim: "email".into(),
            groups_claim: String::new(),
        }),
        tags: [("cost-center".to_owned(), "4711".to_owned())].into(),
        etcd_quota_bytes: 8 << 30,
        pod_gc_threshold: Some(500),
        capa_role_arn: partition.role_arn(account, &names::capa_role("golem")),
        other_settings: vec![
            "AWSCluster org-acme/ab1c2: alpha.aws.giantswarm.io/aws-subnet-size=25".into(),
        ],
        findings: Vec::new(),
    }
}

fn subnets(zones: &[String]) -> Vec<SubnetPlan> {
    zones
        .iter()
        .enumerate()
        .flat_map(|(n, zone)| [(n, zone, false), (n, zone, true)])
        .map(|(n, zone, public)| SubnetPlan {
            id: format!("subnet-0{n}{}", if public { "public" } else { "private" }),
            zone: zone.clone(),
            cidr: format!("10.1.4.{}/28", (n * 2 + usize::from(public)) * 16),
            public,
            stack: "tccp".into(),
            pool: String::new(),
            route_table: format!("rtb-0{n}"),
            nat_gateway: if public {
                String::new()
            } else {
                format!("nat-0{n}")
            },
        })
        .collect()
}

fn pool(n: usize, zones: &[String]) -> PoolPlan {
    PoolPlan {
        name: format!("np{n:03}"),
        description: "general purpose nodes of the payments team".into(),
        min: 3,
        max: 10,
        current: 4,
        instance_type: "m5.2xlarge".into(),
        alike_instance_types: vec!["m4.2xlarge".into()],
        zones: zones.to_vec(),
        subnets: vec![format!("subnet-0pool{n}")],
        security_group: format!("sg-0worker{n}"),
        auto_scaling_group: format!("cluster-ab1c2-tcnp-np{n:03}"),
        container_volume_gb: 100,
        kubelet_volume_gb: 100,
        spot: (n == 1).then_some(SpotPlan {
            on_demand_base: 1,
            on_demand_percent: 20,
        }),
        imds_v2: true,
    }
}

#[test]
fn the_plan_of_a_dozen_pools_fits_into_parameters() {
    let size = serde_json::to_vec(&plan("eu-central-1", 3, 12))
        .unwrap()
        .len();
    assert!(size < 32 * 1024, "{size} bytes");
}

#[test]
fn a_plan_survives_the_way_through_json() {
    let plan = plan("cn-north-1", 3, 2);
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<ClusterPlan>(&text).unwrap(), plan);
}
