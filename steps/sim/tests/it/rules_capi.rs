//! Rules of the Cluster API side: what its controllers do, and what becomes of each precaution left out.

use std::time::Duration;

use drover_model::{cr::keys, names, node_job::NodeCommand, target};
use drover_ports::{CloudCall, Cluster as At, Gvk, ObjectRef, Via};
use drover_sim::{ClusterState, FaultKind, ProbeName, WorldConfig, sample_crs};
use drover_step_api::Timestamp;
use serde_json::{Value, json};

use crate::{
    by_hand::Omit,
    stage::{Stage, minutes, seconds},
};

const CLUSTER: (&str, &str, &str) = ("cluster.x-k8s.io", "v1beta1", "Cluster");

fn joined(omit: Omit) -> Stage {
    let mut stage = Stage::sample();
    stage.up_to_join(sample_crs(), omit);
    stage
}

fn has_accident(stage: &Stage, words: &str) -> bool {
    stage
        .report()
        .accidents
        .iter()
        .any(|what| what.contains(words))
}

fn member_count(stage: &Stage) -> usize {
    stage.report().etcd.len()
}

/// Times at which the number of members changed from now on, and what it was then.
fn watch_members(stage: &mut Stage, within: Duration, until: usize) -> Vec<(Timestamp, usize)> {
    let end = stage.world.now().after(within);
    let mut seen = vec![(stage.world.now(), member_count(stage))];
    while stage.world.now() < end && seen.last().unwrap().1 != until {
        stage.wait(Duration::from_millis(100));
        let count = member_count(stage);
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
    assert_eq!(member_count(&stage), 3);
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
    let mut stage = joined(Omit {
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
        let mut stage = joined(Omit {
            hold: pause_cluster,
            ..Omit::default()
        });
        stage.wait_for_node();
        if pause_cluster {
            let cluster = stage.object(CLUSTER, &stage.id.clone());
            stage.patch(At::CapiMc, &cluster, json!({"spec": {"paused": true}}));
        }
        stage.wait(minutes(120));
        assert_eq!(member_count(&stage), 4);
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
fn a_missing_ca_is_invented_and_nothing_ever_joins() {
    let mut stage = joined(Omit {
        ca: true,
        ..Omit::default()
    });
    stage.wait(minutes(60));
    assert!(has_accident(&stage, "-ca and invented one"));
    assert!(!stage.machines().is_empty());
    assert_eq!(member_count(&stage), 3);
    assert!(stage.machine_objects()[0]["status"]["nodeRef"].is_null());
    assert_eq!(stage.report().gaps, []);
}

#[test]
fn a_missing_service_account_key_is_invented_and_tokens_break() {
    let mut stage = joined(Omit {
        service_account: true,
        ..Omit::default()
    });
    stage.wait_for_node();
    assert!(has_accident(&stage, "-sa and invented one"));
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
        let mut stage = joined(Omit {
            encryption: omitted,
            ..Omit::default()
        });
        stage.wait_for_node();
        assert_eq!(has_accident(&stage, "invented a key"), omitted);
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
        has_accident(stage, "empty cluster")
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
    assert!(
        stage
            .report()
            .gaps
            .iter()
            .any(|gap| gap.cause.contains("empty cluster"))
    );
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
    assert_eq!((started, member_count(&stage)), (1, 3));

    let (stage, started) = started_with(|objects| {
        in_control_plane(objects, |spec| spec["ignition"] = Value::Null);
    });
    assert_eq!((started, member_count(&stage)), (1, 3));
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
    assert!(has_accident(&stage, "etcd of its own"));
    assert_eq!(member_count(&stage), 3);
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
    assert!(
        stage
            .report()
            .gaps
            .iter()
            .any(|gap| gap.cause.contains("does not name"))
    );
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
    assert_eq!(member_count(&stage), 1);
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

#[test]
fn deleting_the_cluster_leaves_an_unmanaged_vpc_and_takes_an_owned_one() {
    for owned in [false, true] {
        let mut stage = joined(Omit::default());
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
        let mut stage = joined(Omit::default());
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
    assert!(has_accident(&stage, "removed routes"));
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
        has_accident(&stage, "invented"),
        "keys were missing this time"
    );
}

#[test]
fn a_first_machine_that_never_boots_is_replaced_when_it_is_deleted() {
    let config = WorldConfig {
        faults: vec![FaultKind::NodeNeverUp.into()],
        ..WorldConfig::default()
    };
    let mut stage = Stage::of(sample_crs(), config);
    stage.up_to_join(sample_crs(), Omit::default());
    stage.wait(minutes(60));
    assert!(stage.machine_objects()[0]["status"]["nodeRef"].is_null());
    let gvk = Gvk::new("cluster.x-k8s.io", "v1beta1", "Machine");
    let name = stage.machine_objects()[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let machine = ObjectRef::new(&gvk, &stage.namespace(), &name);
    stage.delete(At::CapiMc, &machine);
    // Its end waits for the controller of the control plane, which is paused.
    stage.wait(minutes(20));
    assert_eq!(stage.machine_objects()[0]["metadata"]["name"], *name);
    stage.unpause_kcp();
    stage.wait_for("a second machine", minutes(5), |stage| {
        stage
            .machine_objects()
            .iter()
            .any(|m| m["metadata"]["name"] != name.as_str())
    });
    let kcp = stage.kcp();
    stage.annotate(At::CapiMc, &kcp, keys::PAUSED, json!("true"));
    stage.wait_for_node();
}

#[test]
fn slow_machines_take_minutes_longer() {
    let boot = |faults: Vec<drover_sim::FaultSpec>| {
        let mut stage = Stage::of(
            sample_crs(),
            WorldConfig {
                faults,
                ..WorldConfig::default()
            },
        );
        stage.up_to_join(sample_crs(), Omit::default());
        let begin = stage.world.now();
        stage.wait_for_node();
        stage.world.now().since(begin)
    };
    let (quick, slow) = (boot(Vec::new()), boot(vec![FaultKind::SlowBoot.into()]));
    assert!((seconds(80)..seconds(170)).contains(&quick), "{quick:?}");
    assert!(slow > quick + seconds(90), "{slow:?}");
}

#[test]
fn a_member_is_not_added_while_another_is_down() {
    let mut stage = Stage::sample();
    stage.pause_vintage();
    stage.disarm();
    let dead = stage.masters()[0].clone();
    stage.node_job(
        "stop-etcd",
        &dead.private_dns,
        vec![NodeCommand::StopUnit {
            unit: "etcd3.service".into(),
        }],
    );
    stage.up_to_join(
        sample_crs(),
        Omit {
            pause: true,
            disarm: true,
            ..Omit::default()
        },
    );
    stage.wait(minutes(20));
    assert_eq!(member_count(&stage), 3);
    stage.node_job(
        "start-etcd",
        &dead.private_dns,
        vec![NodeCommand::StartUnit {
            unit: "etcd3.service".into(),
        }],
    );
    stage.wait_for_node();
    assert_eq!(member_count(&stage), 4);
}

#[test]
fn a_single_master_survives_the_join_because_the_new_member_has_no_vote_at_first() {
    let text = crate::stage::generated(1, "eu-");
    let mut stage = Stage::single_master();
    let plan = stage.up_to_join(&text, Omit::default());
    stage.wait_for("a learner", minutes(5), |stage| {
        stage.report().etcd.values().any(|word| word == "learner")
    });
    assert!(stage.answers(Via::OldName));
    stage.wait_for_node();
    assert_eq!(stage.report().gaps, []);

    // As a voting member it would have stopped the cluster until it had started.
    let mut stage = Stage::single_master();
    let mut files = target::migration_files(&plan.endpoints.etcd, plan.partition);
    let script = files.get_mut(target::JOIN_KEY).unwrap();
    *script = script.replace("--learner", "");
    let plan = stage.plan(&text);
    stage.pause_vintage();
    stage.disarm();
    stage.copy_secrets(Omit::default());
    stage.apply_target(&target::render(&plan).objects, Omit::default());
    let data: Vec<(&str, drover_ports::SecretBytes)> = files
        .iter()
        .map(|(key, text)| {
            (
                key.as_str(),
                drover_ports::SecretBytes::new(text.clone().into_bytes()),
            )
        })
        .collect();
    let (namespace, name) = (stage.namespace(), names::migration_files_secret(&stage.id));
    stage.write_secret(&namespace, &name, &data);
    stage.touch_bootstrap();
    stage.wait_for_node();
    assert!(
        stage
            .report()
            .gaps
            .iter()
            .any(|gap| gap.cause.contains("quorum")),
        "{:#?}",
        stage.report()
    );
}
