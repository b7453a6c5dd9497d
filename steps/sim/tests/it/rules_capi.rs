//! Rules of the Cluster API side: what its controllers do by themselves.

use std::time::Duration;

use drover_model::{names, target};
use drover_ports::{CloudCall, Cluster as At, Gvk};
use drover_sim::{ClusterState, sample_crs};
use drover_step_api::Timestamp;
use serde_json::json;

use crate::{
    by_hand::Omit,
    stage::{Stage, minutes, seconds},
};

const CLUSTER: (&str, &str, &str) = ("cluster.x-k8s.io", "v1beta1", "Cluster");

/// Times at which the number of members changed from now on, and what it was then.
fn watch_members(stage: &mut Stage, within: Duration, until: usize) -> Vec<(Timestamp, usize)> {
    let end = stage.world.now().after(within);
    let mut seen = vec![(stage.world.now(), stage.member_count())];
    while stage.world.now() < end && seen.last().unwrap().1 != until {
        stage.wait(Duration::from_millis(100));
        let count = stage.member_count();
        if count != seen.last().unwrap().1 {
            seen.push((stage.world.now(), count));
        }
    }
    seen
}

#[test]
fn without_the_files_secret_no_instance_starts_however_long_it_takes() {
    let mut stage = Stage::sample();
    let plan = stage.plan(sample_crs());
    stage.copy_secrets(Omit::default());
    stage.apply_target(
        &target::render(&plan).objects,
        Omit {
            hold: true,
            ..Omit::default()
        },
    );
    stage.wait(minutes(24 * 60));
    assert_eq!(stage.machine_objects().len(), 1);
    assert_eq!(stage.machines(), []);
    assert_eq!(stage.member_count(), 3);
    let configs = stage.list(
        At::CapiMc,
        &Gvk::new("bootstrap.cluster.x-k8s.io", "v1beta1", "KubeadmConfig"),
    );
    let condition = &configs[0]["status"]["conditions"][0];
    assert_eq!(condition["type"], "DataSecretAvailable");
    assert_eq!(condition["status"], "False");
    assert!(
        condition["message"]
            .as_str()
            .unwrap()
            .contains("migration-custom-files")
    );
}

#[test]
fn a_touched_kubeadm_config_is_looked_at_now_and_an_untouched_one_after_its_back_off() {
    let until_instance = |touch: bool| {
        let mut stage = Stage::sample();
        let plan = stage.plan(sample_crs());
        stage.copy_secrets(Omit::default());
        stage.apply_target(&target::render(&plan).objects, Omit::default());
        stage.wait(minutes(60));
        stage.write_files(&plan);
        if touch {
            stage.touch_bootstrap();
        }
        let begin = stage.world.now();
        stage.wait_for("an instance", minutes(30), |stage| {
            !stage.machines().is_empty()
        });
        stage.world.now().since(begin)
    };
    assert!(until_instance(true) < seconds(20));
    assert!(until_instance(false) > seconds(60));
}

#[test]
fn an_unpaused_control_plane_evicts_one_member_after_the_other() {
    let mut stage = Stage::joined(Omit {
        hold: true,
        ..Omit::default()
    });
    stage.wait_for_node();
    let begin = stage.world.now();
    let seen = watch_members(&mut stage, minutes(3), 1);
    let counts: Vec<usize> = seen.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [4, 3, 2, 1]);
    let first = seen[1].0.since(begin);
    assert!((seconds(7)..=seconds(13)).contains(&first), "{first:?}");
    for pair in seen[1..].windows(2) {
        let between = pair[1].0.since(pair[0].0);
        assert!(
            (Duration::from_millis(1_300)..=Duration::from_millis(4_000)).contains(&between),
            "{between:?}"
        );
    }
}

#[test]
fn paused_it_evicts_nobody() {
    for pause_cluster in [false, true] {
        let mut stage = Stage::joined(Omit {
            hold: pause_cluster,
            ..Omit::default()
        });
        stage.wait_for_node();
        if pause_cluster {
            let cluster = stage.object(CLUSTER, &stage.id.clone());
            stage.patch(At::CapiMc, &cluster, json!({"spec": {"paused": true}}));
        }
        stage.wait(minutes(120));
        assert_eq!(stage.member_count(), 4);
        assert_eq!(stage.machine_objects().len(), 1);
        assert_eq!(stage.report().gaps, []);
    }
}

#[test]
fn it_scales_to_three_one_at_a_time() {
    let mut stage = Stage::sample();
    stage.migrate(sample_crs(), Omit::default());
    let mut most_unjoined = 0;
    let begin = stage.world.now();
    while stage.report().state != ClusterState::Migrated {
        stage.wait(seconds(1));
        let without_node = stage
            .machine_objects()
            .iter()
            .filter(|machine| machine["status"]["nodeRef"].is_null())
            .count();
        most_unjoined = most_unjoined.max(without_node);
        assert!(
            stage.world.now().since(begin) < minutes(15),
            "{:#?}",
            stage.report()
        );
    }
    assert_eq!(most_unjoined, 1);
    let zones: std::collections::BTreeSet<String> = stage
        .machines()
        .into_iter()
        .map(|machine| machine.zone)
        .collect();
    assert_eq!(zones.len(), 3);
}

#[test]
fn deleting_the_cluster_leaves_an_unmanaged_vpc_and_takes_an_owned_one() {
    for owned in [false, true] {
        let mut stage = Stage::joined(Omit::default());
        stage.wait_for_node();
        if owned {
            let vpc = stage.plan(sample_crs()).network.vpc;
            let tag = (names::tag_capa_cluster(&stage.id), "owned".to_owned());
            stage
                .cloud(CloudCall::CreateTags {
                    resources: vec![vpc],
                    tags: [tag].into(),
                })
                .unwrap();
        }
        let cluster = stage.object(CLUSTER, &stage.id.clone());
        stage.delete(At::CapiMc, &cluster);
        stage.wait(minutes(10));
        assert_eq!(stage.find(At::CapiMc, &cluster), None);
        assert_eq!(stage.machines(), []);
        assert_eq!(stage.report().state == ClusterState::Gone, owned);
    }
}

#[test]
fn deleting_it_with_garbage_collection_on_takes_the_customers_load_balancers() {
    for collect in ["false", "true"] {
        let mut stage = Stage::joined(Omit::default());
        stage.wait_for_node();
        let aws_cluster = stage.object(
            ("infrastructure.cluster.x-k8s.io", "v1beta2", "AWSCluster"),
            &stage.id.clone(),
        );
        stage.annotate(
            At::CapiMc,
            &aws_cluster,
            target::EXTERNAL_RESOURCE_GC,
            json!(collect),
        );
        let cluster = stage.object(CLUSTER, &stage.id.clone());
        stage.delete(At::CapiMc, &cluster);
        stage.wait(minutes(10));
        let gone = !stage.report().load_balancers.contains_key("ingress");
        assert_eq!(gone, collect == "true");
    }
}

#[test]
fn a_vpc_that_capa_calls_its_own_loses_the_routes_of_others() {
    let mut stage = Stage::sample();
    let plan = stage.plan(sample_crs());
    let tag = (names::tag_capa_cluster(&stage.id), "owned".to_owned());
    stage
        .cloud(CloudCall::CreateTags {
            resources: vec![plan.network.vpc.clone()],
            tags: [tag].into(),
        })
        .unwrap();
    stage.copy_secrets(Omit::default());
    stage.apply_target(&target::render(&plan).objects, Omit::default());
    assert!(stage.has_accident("removed routes"));
}

#[test]
fn secrets_of_its_own_type_go_with_the_control_plane_and_others_stay() {
    let mut stage = Stage::sample();
    let plan = stage.plan(sample_crs());
    stage.copy_secrets(Omit::default());
    stage.apply_target(&target::render(&plan).objects, Omit::default());
    let kcp = stage.kcp();
    let cluster = stage.object(CLUSTER, &stage.id.clone());
    stage.patch(At::CapiMc, &cluster, json!({"spec": {"paused": true}}));
    stage.patch(At::CapiMc, &kcp, json!({"metadata": {"finalizers": null}}));
    stage.delete(At::CapiMc, &kcp);
    let (namespace, id) = (stage.namespace(), stage.id.clone());
    assert!(
        stage
            .secret(At::CapiMc, &namespace, &format!("{id}-ca"))
            .is_err()
    );
    assert!(
        stage
            .secret(At::CapiMc, &namespace, &format!("{id}-sa-old"))
            .is_ok()
    );
}

#[test]
fn nothing_acts_before_the_cluster_exists_or_without_a_role_to_assume() {
    let mut stage = Stage::sample();
    let plan = stage.plan(sample_crs());
    let objects = target::render(&plan).objects;
    for object in &objects[..objects.len() - 1] {
        stage.apply(At::CapiMc, object.clone());
    }
    stage.strike(&drover_sim::Fate::CapaRoleWithdrawn);
    stage.wait(minutes(30));
    assert_eq!(
        stage.report().accidents,
        Vec::<String>::new(),
        "not even a key was invented"
    );
    stage.apply(At::CapiMc, objects.last().unwrap().clone());
    stage.wait(minutes(30));
    assert!(!stage.report().load_balancers.contains_key("apiserver"));
    assert!(
        stage.has_accident("invented"),
        "keys were missing this time"
    );
}
