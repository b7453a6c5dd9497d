//! Rules of the vintage side that acts by itself: Auto Scaling groups, operators, health checks, deletion.

use drover_model::cr::keys;
use drover_model::node_job::NodeCommand;
use drover_ports::{CloudCall, CloudReply, Cluster as At, EtcdCall, Gvk, ObjectRef, Via};
use drover_sim::{ClusterState, Fate};
use serde_json::{Value, json};

use crate::stage::{Stage, minutes, seconds};

const CLUSTER: (&str, &str, &str) = ("cluster.x-k8s.io", "v1beta1", "Cluster");
const AWS_CLUSTER: (&str, &str, &str) = ("infrastructure.giantswarm.io", "v1alpha3", "AWSCluster");

fn suspended(stage: &mut Stage) -> usize {
    let tags = [("giantswarm.io/cluster".to_owned(), stage.id.clone())].into();
    let call = CloudCall::DescribeAutoScalingGroups { tags };
    let CloudReply::Groups(groups) = stage.cloud(call).unwrap() else {
        panic!("groups")
    };
    groups.iter().map(|group| group.suspended.len()).sum()
}

#[test]
fn unsuspended_asg_brings_the_master_back() {
    let mut stage = Stage::sample();
    let dead = stage.masters()[0].clone();
    stage.strike(&Fate::InstanceDies(dead.id.clone()));
    stage.wait(minutes(8));
    let masters = stage.masters();
    assert_eq!(masters.len(), 3);
    assert!(masters.iter().all(|master| master.id != dead.id));
    let report = stage.report();
    let processes: Vec<_> = report.control_plane.values().map(Vec::len).collect();
    assert_eq!(processes, [5, 5, 5], "manifests, etcd and all: {report:#?}");
    assert_eq!(
        stage
            .members()
            .iter()
            .filter(|member| member.started)
            .count(),
        3
    );
    assert!(
        report
            .accidents
            .iter()
            .any(|what| what.contains("new vintage master"))
    );
    let elb = format!("{}-api", stage.id);
    assert_eq!(
        stage.health(&elb).len(),
        3,
        "and it is behind its load balancers"
    );
}

#[test]
fn a_suspended_asg_leaves_it_dead() {
    let mut stage = Stage::sample();
    stage.pause_vintage();
    stage.disarm();
    let dead = stage.masters()[0].clone();
    stage.strike(&Fate::InstanceDies(dead.id));
    stage.wait(minutes(60));
    assert_eq!(stage.masters().len(), 2);
}

#[test]
fn a_master_condemns_itself_when_its_api_server_is_stopped_and_the_endpoint_answers() {
    let stop = |stage: &mut Stage| {
        let master = stage.masters()[0].clone();
        let elb = format!("{}-api", stage.id);
        stage.deregister(&elb, std::slice::from_ref(&master.id));
        let park = NodeCommand::Park {
            manifest: "k8s-api-server.yaml".into(),
        };
        stage.node_job("stop-api", &master.private_dns, vec![park]);
        stage.wait(minutes(10));
        stage.masters().iter().any(|other| other.id == master.id)
    };
    let mut armed = Stage::sample();
    assert!(!stop(&mut armed), "it was replaced");
    assert!(
        armed
            .report()
            .accidents
            .iter()
            .any(|what| what.contains("marked unhealthy"))
    );

    let mut disarmed = Stage::sample();
    disarmed.pause_vintage();
    disarmed.disarm();
    assert!(stop(&mut disarmed), "nothing replaced it");
}

#[test]
fn a_master_whose_timer_is_stopped_does_not_condemn_itself() {
    let mut stage = Stage::sample();
    let master = stage.masters()[0].clone();
    let elb = format!("{}-api", stage.id);
    stage.deregister(&elb, std::slice::from_ref(&master.id));
    let commands = vec![
        NodeCommand::StopUnit {
            unit: "master-instance-healthcheck.timer".into(),
        },
        NodeCommand::Park {
            manifest: "k8s-api-server.yaml".into(),
        },
    ];
    stage.node_job("stop-both", &master.private_dns, commands);
    stage.wait(minutes(10));
    assert!(stage.masters().iter().any(|other| other.id == master.id));
}

#[test]
fn the_terminator_ends_nodes_that_are_not_ready_unless_it_is_paused() {
    for paused in [false, true] {
        let mut stage = Stage::sample();
        if paused {
            stage.pause_vintage();
        }
        let workers = stage.instances("giantswarm.io/stack", "tcnp");
        stage.strike(&Fate::KubeletBreaks(workers[0].id.clone()));
        stage.wait(minutes(17));
        let alive = |stage: &mut Stage| {
            let now = stage.instances("giantswarm.io/stack", "tcnp");
            now.iter()
                .any(|other| other.id == workers[0].id && other.state == "running")
        };
        assert!(alive(&mut stage), "six looks, three minutes apart");
        stage.wait(minutes(3));
        assert_eq!(alive(&mut stage), paused);
    }
}

#[test]
fn unpaused_operators_put_suspended_processes_back_and_paused_ones_do_not() {
    let mut stage = Stage::sample();
    stage.disarm();
    assert_ne!(suspended(&mut stage), 0);
    stage.wait(minutes(6));
    assert_eq!(suspended(&mut stage), 0);

    stage.pause_vintage();
    stage.disarm();
    let before = suspended(&mut stage);
    stage.wait(minutes(60));
    assert_eq!(suspended(&mut stage), before);
}

#[test]
fn the_unpaused_operator_takes_the_terminators_switch_back() {
    for paused in [false, true] {
        let mut stage = Stage::sample();
        if paused {
            stage.pause_vintage();
        }
        let object = stage.object(AWS_CLUSTER, &stage.id.clone());
        stage.annotate(
            At::VintageMc,
            &object,
            keys::TERMINATE_UNHEALTHY,
            json!("false"),
        );
        stage.wait(minutes(6));
        let found = stage.find(At::VintageMc, &object).unwrap();
        let kept = found["metadata"]["annotations"][keys::TERMINATE_UNHEALTHY] == "false";
        assert_eq!(kept, paused);
    }
}

#[test]
fn certificates_rotate_unless_their_requests_are_paused() {
    for paused in [false, true] {
        let mut stage = Stage::sample();
        if paused {
            stage.pause_vintage();
        }
        let secret = ObjectRef::new(
            &Gvk::new("", "v1", "Secret"),
            &stage.namespace(),
            &format!("{}-api", stage.id),
        );
        let version = |stage: &mut Stage| {
            stage.find(At::VintageMc, &secret).unwrap()["metadata"]["resourceVersion"].clone()
        };
        let before = version(&mut stage);
        stage.wait(minutes(7 * 60));
        assert_eq!(version(&mut stage) == before, paused);
    }
}

#[test]
fn deleting_the_vintage_cluster_takes_the_vpc_and_everything_in_it() {
    let mut stage = Stage::sample();
    stage.strike(&Fate::CustomerDeletes);
    stage.wait(minutes(5));
    assert_eq!(stage.report().state, ClusterState::Gone);
    assert_eq!(stage.masters(), []);
    assert!(!stage.answers(Via::OldName));
}

#[test]
fn a_paused_cluster_that_is_deleted_stays_until_its_finalizers_are_taken_away() {
    let mut stage = Stage::sample();
    let cluster = stage.object(CLUSTER, &stage.id.clone());
    stage.pause_vintage();
    stage.strike(&Fate::CustomerDeletes);
    stage.wait(minutes(60));
    let object = stage.find(At::VintageMc, &cluster).unwrap();
    assert!(object["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(stage.report().gaps, []);

    stage.patch(
        At::VintageMc,
        &cluster,
        json!({"metadata": {"finalizers": null}}),
    );
    stage.wait(minutes(5));
    assert_eq!(stage.find(At::VintageMc, &cluster), None);
    assert_eq!(
        stage.report().state,
        ClusterState::Vintage,
        "only the object went"
    );
}

#[test]
fn the_etcd_migrator_is_harmless_with_three_members_and_ruinous_with_one() {
    let mut stage = Stage::sample();
    stage.strike(&Fate::MigratorWakes);
    stage.wait(minutes(2));
    assert_eq!(stage.report().gaps, []);

    let mut stage = Stage::sample();
    stage.pause_vintage();
    stage.disarm();
    for member in &stage.members()[1..] {
        stage
            .etcd(EtcdCall::MemberRemove { id: member.id })
            .unwrap();
        stage.wait(seconds(10));
    }
    assert!(stage.answers(Via::OldName), "one member is a quorum of one");
    stage.strike(&Fate::MigratorWakes);
    stage.wait(minutes(2));
    assert!(!stage.answers(Via::OldName));
    assert!(
        stage
            .report()
            .accidents
            .iter()
            .any(|what| what.contains("etcd-cluster-migrator"))
    );
}

#[test]
fn a_replaced_master_of_three_wakes_the_etcd_migrator() {
    let mut stage = Stage::sample();
    let dead = stage.masters()[0].clone();
    stage.strike(&Fate::InstanceDies(dead.id));
    stage.wait(minutes(8));
    let at = stage.workload(Via::OldName);
    let gvk = Gvk::new("batch", "v1", "Job");
    let job = stage.find(
        at,
        &ObjectRef::new(&gvk, "kube-system", "etcd-cluster-migrator"),
    );
    assert!(job.is_some_and(|job| job["status"] != Value::Null));
}
