//! Rules of the vintage control plane as it runs: etcd, load balancers, endpoints, leases, kubelets.

use drover_model::node_job::NodeCommand;
use drover_ports::{
    CloudCall, Cluster as At, EtcdCall, Gvk, KubeCall, ObjectRef, PortErrorKind, Via,
};
use drover_sim::{Fate, ProbeName};
use serde_json::{Value, json};

use crate::stage::{Stage, minutes, seconds};

fn gaps_of(stage: &Stage, probe: ProbeName) -> Vec<(u64, String)> {
    stage
        .report()
        .gaps
        .into_iter()
        .filter(|gap| gap.probe == probe)
        .map(|gap| {
            let until = gap.until.unwrap_or(stage.world.now());
            (until.since(gap.from).as_secs(), gap.cause)
        })
        .collect()
}

fn stop_unit(unit: &str) -> Vec<NodeCommand> {
    vec![NodeCommand::StopUnit { unit: unit.into() }]
}

fn park(manifest: &str) -> Vec<NodeCommand> {
    vec![NodeCommand::Park {
        manifest: manifest.into(),
    }]
}

#[test]
fn a_cluster_left_alone_has_no_gap_and_no_accident() {
    let mut stage = Stage::sample();
    stage.wait(minutes(24 * 60));
    let report = stage.report();
    assert_eq!(report.gaps, []);
    assert_eq!(report.accidents, Vec::<String>::new());
}

#[test]
fn without_quorum_nobody_reads_or_writes() {
    let mut stage = Stage::sample();
    let masters = stage.masters();
    stage.node_job(
        "stop-first",
        &masters[0].private_dns,
        stop_unit("etcd3.service"),
    );
    stage.wait(seconds(20));
    assert!(stage.answers(Via::OldName), "two of three are a quorum");
    stage.start_job(
        "stop-second",
        &masters[1].private_dns,
        stop_unit("etcd3.service"),
    );
    stage.wait(seconds(40));
    assert!(!stage.answers(Via::OldName));
    assert!(stage.etcd(EtcdCall::MemberList).is_err());
    assert!(gaps_of(&stage, ProbeName::OldName)[0].1.contains("quorum"));
    assert!(
        gaps_of(&stage, ProbeName::InCluster)[0]
            .1
            .contains("quorum")
    );
}

#[test]
fn electing_a_leader_takes_a_second_that_requests_wait_through() {
    let mut stage = Stage::sample();
    let leader = stage
        .report()
        .etcd
        .into_iter()
        .find(|(_, word)| word == "leader")
        .unwrap()
        .0;
    let number: usize = leader.strip_prefix("master-").unwrap().parse().unwrap();
    let mut masters = stage.masters();
    masters.sort_by(|a, b| a.zone.cmp(&b.zone));
    let node = masters[number - 1].private_dns.clone();
    stage.node_job("stop-leader", &node, stop_unit("etcd3.service"));
    stage.wait(minutes(1));
    let report = stage.report();
    assert_eq!(report.gaps, []);
    let waited = report.longest_wait_ms[&ProbeName::OldName];
    assert!((900..1_400).contains(&waited), "{waited} ms");
}

#[test]
fn a_removed_member_never_returns() {
    let mut stage = Stage::sample();
    stage.pause_vintage();
    stage.disarm();
    let removed = stage.members().pop().unwrap();
    stage
        .etcd(EtcdCall::MemberRemove { id: removed.id })
        .unwrap();
    stage.wait(minutes(2));
    let mut masters = stage.masters();
    masters.sort_by(|a, b| a.zone.cmp(&b.zone));
    let start = vec![NodeCommand::StartUnit {
        unit: "etcd3.service".into(),
    }];
    stage.node_job("start-etcd", &masters[2].private_dns, start);
    stage.wait(minutes(2));
    let names: Vec<String> = stage
        .members()
        .into_iter()
        .map(|member| member.name)
        .collect();
    assert_eq!(names, ["etcd1", "etcd2"]);
    assert!(!stage.report().control_plane["master-3"].contains(&"etcd".to_owned()));
    let again = stage.etcd(EtcdCall::MemberRemove { id: removed.id });
    assert!(again.unwrap_err().is_not_found());
}

#[test]
fn a_stopped_api_server_stays_in_service_for_two_checks() {
    let mut stage = Stage::sample();
    stage.disarm();
    let master = stage.masters()[0].clone();
    stage.node_job("stop-api", &master.private_dns, park("k8s-api-server.yaml"));
    stage.wait(minutes(1));
    let gaps = gaps_of(&stage, ProbeName::OldName);
    let [(length, cause)] = gaps.as_slice() else {
        panic!("{gaps:?}")
    };
    assert!((5..=10).contains(length), "{length} s");
    assert!(cause.contains("does not run"), "{cause}");
    assert_eq!(
        gaps_of(&stage, ProbeName::InCluster),
        [],
        "it took itself off the endpoints"
    );
    assert!(!stage.is_in_service(&format!("{}-api", stage.id.clone()), &master.id));
}

#[test]
fn a_deregistered_api_server_can_be_stopped_without_a_gap() {
    let mut stage = Stage::sample();
    stage.disarm();
    let master = stage.masters()[0].clone();
    let elb = format!("{}-api", stage.id);
    stage.deregister(&elb, std::slice::from_ref(&master.id));
    stage.node_job("stop-api", &master.private_dns, park("k8s-api-server.yaml"));
    stage.wait(minutes(1));
    assert_eq!(stage.report().gaps, []);
}

#[test]
fn an_api_server_without_etcd_stays_in_service() {
    let mut stage = Stage::single_master();
    let master = stage.masters()[0].clone();
    let elb = format!("{}-api", stage.id);
    stage.start_job("stop-etcd", &master.private_dns, stop_unit("etcd3.service"));
    stage.wait(minutes(5));
    assert!(stage.is_in_service(&elb, &master.id));
    assert!(!stage.answers(Via::OldName));
    assert!(!gaps_of(&stage, ProbeName::OldName).is_empty());
}

#[test]
fn a_dead_host_leaves_its_endpoint_behind_for_fifteen_seconds() {
    let mut stage = Stage::sample();
    stage.disarm();
    let master = stage.masters()[0].clone();
    stage.strike(&Fate::InstanceDies(master.id));
    stage.wait(minutes(1));
    let gaps = gaps_of(&stage, ProbeName::InCluster);
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].0, 15);
}

#[test]
fn a_registered_instance_must_exist_and_prove_itself_before_it_gets_traffic() {
    let mut stage = Stage::sample();
    let elb = format!("{}-api", stage.id);
    let unknown = stage.cloud(CloudCall::RegisterInstancesWithLoadBalancer {
        load_balancer: elb.clone(),
        instances: vec!["i-0123".into()],
    });
    assert_eq!(unknown.unwrap_err().code, "InvalidInstance");

    let master = stage.masters()[0].id.clone();
    stage.deregister(&elb, std::slice::from_ref(&master));
    stage.register(&elb, std::slice::from_ref(&master));
    assert!(!stage.is_in_service(&elb, &master));
    stage.wait(seconds(10));
    assert!(stage.is_in_service(&elb, &master));
    assert_eq!(stage.report().gaps, []);
}

#[test]
fn a_lease_runs_out_before_another_holds_it() {
    let mut stage = Stage::sample();
    let lease = ObjectRef::new(
        &Gvk::new("coordination.k8s.io", "v1", "Lease"),
        "kube-system",
        "kube-controller-manager",
    );
    let holder = |stage: &mut Stage| {
        let at = stage.workload(Via::OldName);
        let lease = stage.find(at, &lease).unwrap();
        lease["spec"]["holderIdentity"].as_str().unwrap().to_owned()
    };
    let first = holder(&mut stage);
    let node = stage
        .masters()
        .into_iter()
        .find(|master| first.starts_with(&master.private_dns))
        .unwrap()
        .private_dns;
    stage.node_job("stop-manager", &node, park("k8s-controller-manager.yaml"));
    stage.wait(seconds(10));
    assert_eq!(holder(&mut stage), first, "it has not run out yet");
    stage.wait(seconds(10));
    assert_ne!(holder(&mut stage), first);
}

#[test]
fn jobs_of_another_form_fail_and_change_nothing() {
    let mut stage = Stage::sample();
    let node = stage.masters()[0].private_dns.clone();
    let mut job = drover_model::node_job::NodeJob {
        name: "other".into(),
        node,
        image: "tools".into(),
        commands: park("k8s-api-server.yaml"),
    }
    .render();
    job["spec"]["template"]["spec"]["volumes"][0]["hostPath"]["path"] = json!("/tmp");
    let at = stage.workload(Via::OldName);
    stage.apply(at.clone(), job);
    stage.wait(minutes(2));
    let gvk = Gvk::new("batch", "v1", "Job");
    let job = stage
        .find(at, &ObjectRef::new(&gvk, "kube-system", "other"))
        .unwrap();
    assert_eq!(job["status"]["failed"], 1);
    assert_eq!(stage.report().gaps, []);
}

#[test]
fn kubelets_that_lose_the_api_are_not_ready_after_forty_seconds() {
    let mut stage = Stage::sample();
    let elb = format!("{}-api", stage.id);
    let masters: Vec<String> = stage
        .masters()
        .into_iter()
        .map(|master| master.id)
        .collect();
    stage.deregister(&elb, &masters);
    let ready = |stage: &mut Stage| {
        let at = stage.workload(Via::Instance {
            id: masters[0].clone(),
        });
        let nodes = stage.list(at, &Gvk::new("", "v1", "Node"));
        nodes
            .iter()
            .filter(|node| node["status"]["conditions"][0]["status"] == "True")
            .count()
    };
    stage.wait(seconds(35));
    assert_eq!(ready(&mut stage), 9);
    stage.wait(seconds(10));
    assert_eq!(ready(&mut stage), 0);
    stage.register(&elb, &masters);
    stage.wait(minutes(1));
    assert_eq!(ready(&mut stage), 9);
}

#[test]
fn tokens_of_one_api_server_are_good_at_all_of_them() {
    let mut stage = Stage::sample();
    let masters = stage.masters();
    let token = stage.token(Via::Instance {
        id: masters[0].id.clone(),
    });
    for master in masters {
        assert!(stage.accepts(Via::Instance { id: master.id }, &token));
    }
    let forged = drover_ports::SecretBytes::new(b"simulated.e30".to_vec());
    assert!(!stage.accepts(Via::OldName, &forged));
}

#[test]
fn the_vintage_management_cluster_shows_secrets_only_to_who_asks_for_their_data() {
    let mut stage = Stage::sample();
    let secrets = stage.list(At::VintageMc, &Gvk::new("", "v1", "Secret"));
    assert!(secrets.len() >= 5);
    assert!(
        secrets.iter().all(|secret| secret.get("data").is_none()),
        "{secrets:?}"
    );
}

#[test]
fn a_deletion_meant_for_one_object_does_not_hit_another_of_its_name() {
    let mut stage = Stage::sample();
    let (at, namespace) = (At::CapiMc, stage.namespace());
    stage.write_secret(&namespace, "files", &[]);
    let object = ObjectRef::new(&Gvk::new("", "v1", "Secret"), &namespace, "files");
    let first = stage.find(at.clone(), &object).unwrap();
    stage.delete(at.clone(), &object);
    stage.write_secret(&namespace, "files", &[]);

    let late = |seen: &Value| KubeCall::Delete {
        object: object.clone(),
        uid: seen["metadata"]["uid"].as_str().map(str::to_owned),
    };
    let error = stage.kube(at.clone(), late(&first)).unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Conflict);
    let second = stage.find(at.clone(), &object).unwrap();
    stage.kube(at.clone(), late(&second)).unwrap();
    assert_eq!(stage.find(at, &object), None);
}
