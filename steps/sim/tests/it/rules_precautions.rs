//! Rules of the Cluster API side: what becomes of each precaution left out.

use drover_model::node_job::NodeCommand;
use drover_ports::{Gvk, ObjectRef, Via};
use drover_sim::{ClusterState, ProbeName, sample_crs};
use serde_json::{Value, json};

use crate::{
    by_hand::Omit,
    stage::{Stage, minutes, seconds},
};

#[test]
fn a_missing_ca_is_invented_and_nothing_ever_joins() {
    let mut stage = Stage::joined(Omit {
        ca: true,
        ..Omit::default()
    });
    stage.wait(minutes(60));
    assert!(stage.has_accident("-ca and invented one"));
    assert!(!stage.machines().is_empty());
    assert_eq!(stage.member_count(), 3);
    assert!(stage.machine_objects()[0]["status"]["nodeRef"].is_null());
    assert_eq!(stage.report().gaps, []);
}

#[test]
fn a_missing_service_account_key_is_invented_and_tokens_break() {
    let mut stage = Stage::joined(Omit {
        service_account: true,
        ..Omit::default()
    });
    stage.wait_for_node();
    assert!(stage.has_accident("-sa and invented one"));
    let master = Via::Instance {
        id: stage.masters()[0].id.clone(),
    };
    let node = Via::Instance {
        id: stage.machines()[0].id.clone(),
    };
    let token = stage.token(master.clone());
    assert!(stage.accepts(master, &token));
    assert!(!stage.accepts(node, &token));
}

#[test]
fn a_missing_encryption_configuration_is_invented_and_secrets_are_unreadable() {
    for omitted in [false, true] {
        let mut stage = Stage::joined(Omit {
            encryption: omitted,
            ..Omit::default()
        });
        stage.wait_for_node();
        assert_eq!(stage.has_accident("invented a key"), omitted);
        let id = stage.machines()[0].id.clone();
        let at = stage.workload(Via::Instance { id });
        let read = stage.secret(at, "default", "customer-database");
        assert_eq!(read.is_err(), omitted);
    }
}

/// Changes something of the KubeadmControlPlane.
fn in_control_plane(objects: &mut [Value], change: impl FnOnce(&mut Value)) {
    let object = objects
        .iter_mut()
        .find(|object| object["kind"] == "KubeadmControlPlane")
        .unwrap();
    change(&mut object["spec"]["kubeadmConfigSpec"]);
}

#[test]
fn with_the_wrong_prefix_the_new_api_server_shows_an_empty_cluster() {
    let mut stage = Stage::sample();
    stage.up_to_join_with(sample_crs(), Omit::default(), |objects| {
        in_control_plane(objects, |spec| {
            spec["clusterConfiguration"]["apiServer"]["extraArgs"]["etcd-prefix"] =
                json!("/registry");
        });
    });
    stage.wait_for("node 1", minutes(10), |stage| {
        stage.has_accident("empty cluster")
    });
    let node = stage.machines()[0].id.clone();
    let at = stage.workload(Via::Instance { id: node.clone() });
    assert_eq!(
        stage.list(at, &Gvk::new("", "v1", "Node")),
        Vec::<Value>::new()
    );
    let elb = format!("{}-api", stage.id);
    stage.register(&elb, &[node]);
    stage.wait(minutes(1));
    assert!(stage.has_gap_because("empty cluster"));
}

/// Plays to the join with a changed target and lets a quarter of an hour pass; the number of machines that started.
fn started_with(change: impl FnOnce(&mut [Value])) -> (Stage, usize) {
    let mut stage = Stage::sample();
    stage.up_to_join_with(sample_crs(), Omit::default(), |objects| change(objects));
    stage.wait(minutes(15));
    let started = stage.machines().len();
    (stage, started)
}

#[test]
fn without_a_bucket_for_their_bootstrap_data_no_machine_starts() {
    let (_, started) = started_with(|objects| {
        let cluster = objects
            .iter_mut()
            .find(|object| object["kind"] == "AWSCluster");
        cluster.unwrap()["spec"]["s3Bucket"] = Value::Null;
    });
    assert_eq!(started, 0);
}

#[test]
fn kubeadm_reads_no_configuration_whose_node_has_no_name_yet() {
    let (stage, started) = started_with(|objects| {
        in_control_plane(objects, |spec| {
            spec["preKubeadmCommands"]
                .as_array_mut()
                .unwrap()
                .rotate_right(1);
        });
    });
    assert_eq!((started, stage.member_count()), (1, 3));

    let (stage, started) = started_with(|objects| {
        in_control_plane(objects, |spec| spec["ignition"] = Value::Null);
    });
    assert_eq!((started, stage.member_count()), (1, 3));
}

#[test]
fn without_its_join_script_the_first_machine_makes_an_etcd_of_its_own() {
    let mut stage = Stage::sample();
    stage.up_to_join_with(sample_crs(), Omit::default(), |objects| {
        in_control_plane(objects, |spec| {
            let commands = spec["preKubeadmCommands"].as_array_mut().unwrap();
            commands.retain(|command| !command.as_str().unwrap().contains("/migration/"));
        });
    });
    stage.wait(minutes(10));
    assert!(stage.has_accident("etcd of its own"));
    assert_eq!(stage.member_count(), 3);
}

/// A first node whose API server binds 6443, with or without a redirect from 443, beside the masters.
fn with_another_bind_port(redirect: bool) -> Stage {
    let mut stage = Stage::sample();
    stage.up_to_join_with(sample_crs(), Omit::default(), |objects| {
        in_control_plane(objects, |spec| {
            spec["initConfiguration"]["localAPIEndpoint"]["bindPort"] = json!(6443);
            let commands = spec["preKubeadmCommands"].as_array_mut().unwrap();
            commands.retain(|command| !command.as_str().unwrap().contains("REDIRECT"));
            if redirect {
                let rule =
                    "iptables -A PREROUTING -t nat -p tcp --dport 443 -j REDIRECT --to-port 6443";
                commands.insert(0, json!(rule));
            }
        });
    });
    stage.wait_for_node();
    stage.wait(minutes(3));
    stage
}

#[test]
fn the_endpoints_keep_their_port_until_somebody_with_another_one_ends() {
    let mut stage = with_another_bind_port(true);
    assert_eq!(stage.report().gaps, [], "443 leads to 6443");

    let node = stage.machines()[0].private_dns.clone();
    let manifest = "kube-apiserver.yaml".to_owned();
    stage.node_job("stop-api", &node, vec![NodeCommand::Park { manifest }]);
    stage.wait(minutes(10));
    let mut gaps = stage.report().gaps;
    gaps.retain(|gap| gap.probe == ProbeName::InCluster);
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    let cause = &gaps[0].cause;
    assert!(
        cause.contains("master") && cause.contains("does not listen on port 6443"),
        "{cause}"
    );
    assert_eq!(gaps[0].until, None, "nobody puts it right");
}

#[test]
fn without_a_redirect_another_bind_port_is_a_gap_inside_the_cluster() {
    let stage = with_another_bind_port(false);
    let gaps = stage.report().gaps;
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].probe, ProbeName::InCluster);
    assert!(gaps[0].cause.contains("does not listen on port 443"));
    assert_eq!(gaps[0].until, None);
}

#[test]
fn a_certificate_without_the_old_name_is_a_gap_as_soon_as_it_takes_traffic() {
    let mut stage = Stage::sample();
    stage.up_to_join_with(sample_crs(), Omit::default(), |objects| {
        in_control_plane(objects, |spec| {
            let names = &mut spec["clusterConfiguration"]["apiServer"]["certSANs"];
            names
                .as_array_mut()
                .unwrap()
                .retain(|name| !name.as_str().unwrap().contains(".k8s."));
        });
    });
    stage.wait_for_node();
    assert_eq!(stage.report().gaps, []);
    let node = stage.machines()[0].id.clone();
    stage.register(&format!("{}-api", stage.id.clone()), &[node]);
    stage.wait(minutes(1));
    assert!(stage.has_gap_because("does not name"));
}

#[test]
fn vintage_api_servers_that_still_take_traffic_at_convergence_are_a_gap() {
    let mut stage = Stage::sample();
    stage.migrate(
        sample_crs(),
        Omit {
            traffic: true,
            stop: true,
            ..Omit::default()
        },
    );
    stage.wait(minutes(5));
    let gaps = stage.report().gaps;
    for probe in [ProbeName::OldName, ProbeName::InCluster] {
        assert!(
            gaps.iter().any(|gap| gap.probe == probe),
            "{probe:?}: {gaps:?}"
        );
    }
}

#[test]
fn later_nodes_wait_for_a_signer_while_a_vintage_controller_manager_leads() {
    let mut stage = Stage::sample();
    let plan = stage.up_to_join(sample_crs(), Omit::default());
    stage.wait_for_node();
    stage.move_traffic(&plan);
    stage.park(
        &plan,
        "stop-api",
        &["k8s-api-healthz.yaml", "k8s-api-server.yaml"],
    );
    stage.unpause_kcp();
    stage.wait(minutes(30));
    assert_eq!(
        stage.machine_objects().len(),
        2,
        "the second one waits for its certificate"
    );
    assert_eq!(stage.member_count(), 1);
    stage.park(
        &plan,
        "stop-controllers",
        &["k8s-controller-manager.yaml", "k8s-scheduler.yaml"],
    );
    stage.wait_for("three nodes", minutes(15), |stage| {
        stage.report().state == ClusterState::Migrated
    });
}

#[test]
fn another_mask_gives_two_nodes_the_same_addresses_once_one_of_them_went() {
    let mut stage = Stage::sample();
    let plan = stage.up_to_join_with(sample_crs(), Omit::default(), |objects| {
        in_control_plane(objects, |spec| {
            spec["clusterConfiguration"]["controllerManager"]["extraArgs"]["node-cidr-mask-size"] =
                json!("24");
        });
    });
    stage.wait_for_node();
    stage.move_traffic(&plan);
    stage.park(
        &plan,
        "stop-controllers",
        &["k8s-controller-manager.yaml", "k8s-scheduler.yaml"],
    );
    stage.wait(seconds(40));
    assert_eq!(stage.report().shared_pod_cidrs, Vec::<String>::new());
    let at = stage.workload(Via::NewName);
    let node = ObjectRef::new(&Gvk::new("", "v1", "Node"), "", &plan.masters[1].node);
    stage.delete(at, &node);
    stage.unpause_kcp();
    stage.wait(minutes(20));
    assert_ne!(stage.report().shared_pod_cidrs, Vec::<String>::new());
}
