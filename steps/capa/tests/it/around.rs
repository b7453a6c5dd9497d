//! What surrounds the cluster: what becomes of a migration that leaves out one of these steps, and what they leave.

use std::time::Duration;

use drover_ports::{CloudCall, CloudReply, DnsRecord, Gvk, ObjectRef};
use drover_sim::ClusterReport;
use serde_json::{Value, json};

use crate::stage::{Migration, Town};

/// A migration that went through without one step.
async fn without(step: &'static str) -> Migration {
    let mut migration = Migration::without(Town::three_masters(), &[step]);
    migration.play().await;
    migration
}

async fn gives_up_without(step: &'static str) -> (String, String) {
    Migration::without(Town::three_masters(), &[step])
        .gives_up()
        .await
}

fn at(step: &str, code: &str) -> (String, String) {
    (step.to_owned(), code.to_owned())
}

fn has_accident(report: &ClusterReport, part: &str) -> bool {
    report.accidents.iter().any(|what| what.contains(part))
}

/// What is left of the cluster, by place in the world.
fn world(migration: &Migration) -> Value {
    migration.town.world.now().normalized()["clusters"][&migration.town.cluster].clone()
}

/// Objects of a place whose words begin so.
fn objects<'w>(world: &'w Value, place: &str, begin: &str) -> Vec<&'w Value> {
    let objects = world.pointer(place).unwrap().as_object().unwrap();
    objects
        .iter()
        .filter(|(words, _)| words.starts_with(begin))
        .map(|(_, object)| object)
        .collect()
}

const WORKLOAD: &str = "/workload/giantswarm.io";

#[tokio::test(start_paused = true)]
async fn without_suspending_gitops_no_object_is_removed() {
    assert_eq!(
        gives_up_without("suspend-gitops").await,
        at("remove-custom-resources", "gitops-not-suspended")
    );
}

#[tokio::test(start_paused = true)]
async fn without_pausing_the_operators_no_stack_is_disowned() {
    assert_eq!(
        gives_up_without("pause-operators").await,
        at("disown-stacks", "operators-not-paused")
    );
}

#[tokio::test(start_paused = true)]
async fn without_quiescing_the_apps_the_network_is_not_switched_over() {
    assert_eq!(
        gives_up_without("quiesce-apps").await,
        at("switch-over-cni", "cilium-not-released")
    );
}

#[tokio::test(start_paused = true)]
async fn without_freezing_the_autoscaler_fills_what_is_emptied() {
    for (omitted, fills) in [(None, false), (Some("freeze-mutators"), true)] {
        let omitted: Vec<&'static str> = omitted.into_iter().collect();
        let mut migration = Migration::without(Town::three_masters(), &omitted);
        migration.until("retire-vintage-etcd").await;
        let town = &migration.town;
        let workers = [("giantswarm.io/stack".to_owned(), "tcnp".to_owned())];
        let tags = workers.into();
        let worker = match town.cloud(CloudCall::DescribeInstances { tags }).await {
            CloudReply::Instances(instances) => instances[0].private_dns.clone(),
            other => panic!("{other:?}"),
        };
        let node = ObjectRef::new(&Gvk::of("v1", "Node"), "", &worker);
        let cordon = json!({"spec": {"unschedulable": true}});
        town.patch(town.workload(), node, cordon).await;
        migration.wait(Duration::from_secs(300)).await;
        let report = migration.town.report();
        assert_eq!(has_accident(&report, "cluster-autoscaler"), fills);
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_switch_over_agents_go_on_by_the_old_name() {
    for (omitted, old) in [(None, false), (Some("switch-over-cni"), true)] {
        let omitted: Vec<&'static str> = omitted.into_iter().collect();
        let mut migration = Migration::without(Town::three_masters(), &omitted);
        migration.play().await;
        let world = world(&migration);
        let agents = objects(&world, WORKLOAD, "Pod. kube-system/cilium-");
        assert!(!agents.is_empty());
        for agent in agents {
            let env = &agent["spec"]["containers"][0]["env"][0];
            let api = env["value"].as_str().unwrap();
            assert_eq!(api.contains(".k8s."), old, "{api}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_handing_the_name_over_no_load_balancer_is_retired() {
    assert_eq!(
        gives_up_without("hand-over-dns").await,
        at("retire-api-load-balancers", "still-used")
    );
}

#[tokio::test(start_paused = true)]
async fn without_disowning_the_stacks_no_object_is_removed() {
    assert_eq!(
        gives_up_without("disown-stacks").await,
        at("remove-custom-resources", "stacks-not-disowned")
    );
}

#[tokio::test(start_paused = true)]
async fn each_of_the_last_steps_leaves_less() {
    let load_balancers = |migration: &Migration| migration.town.report().load_balancers.len();
    let vintage =
        |migration: &Migration| objects(&world(migration), "/vintage_mc", "AWSCluster.").len();
    let whole = without("nothing").await;
    let without_retiring = without("retire-api-load-balancers").await;
    assert_eq!(
        load_balancers(&without_retiring) - load_balancers(&whole),
        3
    );
    let without_removing = without("remove-custom-resources").await;
    assert_eq!((vintage(&without_removing), vintage(&whole)), (1, 0));
    for (migration, replicas) in [(whole, 1), (without("give-back").await, 0)] {
        let world = world(&migration);
        let autoscaler = objects(&world, WORKLOAD, "Deployment.apps kube-system/cluster-auto");
        assert_eq!(autoscaler[0]["spec"]["replicas"], replicas);
    }
}

/// Whoever migrates by hand deletes the Cluster, and with it the VPC.
#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_deleted_before_it_is_disowned_takes_the_vpc_along() {
    let mut migration = Migration::without(Town::three_masters(), &["pause-operators"]);
    migration.until("retire-vintage-etcd").await;
    migration.town.befall(&drover_sim::Fate::CustomerDeletes);
    migration.wait(Duration::from_secs(600)).await;
    assert!(has_accident(&migration.town.report(), "the VPC among them"));
}

async fn records(town: &Town, zone: &str) -> Vec<DnsRecord> {
    let zone = zone.to_owned();
    match town.cloud(CloudCall::ListRecords { zone }).await {
        CloudReply::Records(records) => records,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn only_names_of_the_api_change_and_everything_of_the_network_stays() {
    let mut migration = Migration::of(Town::three_masters());
    migration.before("hand-over-dns").await;
    let plan = migration.output("inventory").clone();
    let old = plan["endpoints"]["old_api"].as_str().unwrap().to_owned();
    let domain = old.strip_prefix("api.").unwrap().to_owned();
    let zones = match migration
        .town
        .cloud(CloudCall::ListHostedZones { domain })
        .await
    {
        CloudReply::Zones(zones) => zones,
        other => panic!("{other:?}"),
    };
    assert_eq!(zones.len(), 2);
    let mut before = Vec::new();
    for zone in &zones {
        before.push(records(&migration.town, &zone.id).await);
    }
    let network = ["/vpc", "/routes", "/security_groups", "/instances"];
    let network = |migration: &Migration| {
        let world = world(migration);
        network.map(|place| world.pointer(place).cloned().unwrap())
    };
    let network_before = network(&migration);
    migration.play().await;

    assert_eq!(network(&migration), network_before);
    for (zone, before) in zones.iter().zip(before) {
        let after = records(&migration.town, &zone.id).await;
        assert_eq!(after.len(), before.len());
        for (after, before) in after.iter().zip(&before) {
            let is_api = after.name == old || after.name.starts_with("internal-api.");
            assert_eq!(after != before, is_api, "{before:?} became {after:?}");
        }
        let owners = |record: &&DnsRecord| record.type_ == "TXT";
        assert_eq!(
            after.iter().filter(owners).count(),
            usize::from(!zone.private)
        );
    }
    let suspended = world(&migration);
    let suspended = objects(&suspended, "/vintage_mc", "Kustomization.");
    assert_eq!(suspended[0]["spec"]["suspend"], true);
    let note = &suspended[0]["metadata"]["annotations"]["drover.giantswarm.io/note"];
    assert!(note.as_str().unwrap().contains("Replace it in Git"));
    assert_eq!(migration.town.report().accidents, Vec::<String>::new());
    assert_eq!(migration.town.report().gaps, []);
}
