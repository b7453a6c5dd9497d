//! Rollouts of the Cluster API control plane.

use std::{collections::BTreeSet, time::Duration};

use drover_model::{cr::keys, names::capa_load_balancer, node_job::NodeCommand, target::care};
use drover_ports::{Cluster as At, Gvk, ObjectRef, Via};
use drover_sim::{ClusterState, Gap, ProbeName, sample_crs};
use serde_json::{Value, json};

use crate::{
    by_hand::Omit,
    stage::{Stage, minutes, seconds},
};

/// Three Cluster API nodes serve; the masters' API servers are stopped.
fn migrated() -> Stage {
    let mut stage = Stage::sample();
    stage.migrate(sample_crs(), Omit::default());
    stage.wait_for("three nodes", minutes(30), |stage| {
        stage.report().state == ClusterState::Migrated
    });
    stage.wait(minutes(10));
    stage
}

fn control_plane(stage: &mut Stage) -> Value {
    let kcp = stage.kcp();
    stage.find(At::CapiMc, &kcp).unwrap()
}

fn change(stage: &mut Stage, spec: Value) {
    let kcp = stage.kcp();
    stage.patch(At::CapiMc, &kcp, json!({ "spec": spec }));
}

/// Any change of what machines are made from.
fn begin(stage: &mut Stage) {
    let ntp = json!({"enabled": true});
    change(stage, json!({"kubeadmConfigSpec": {"ntp": ntp}}));
}

fn names(stage: &mut Stage) -> BTreeSet<String> {
    let machines = stage.machine_objects();
    let name = |machine: &Value| machine["metadata"]["name"].as_str().unwrap().to_owned();
    machines.iter().map(name).collect()
}

fn is_over(stage: &mut Stage) -> bool {
    let object = control_plane(stage);
    let status = &object["status"];
    status["observedGeneration"] == object["metadata"]["generation"]
        && ["replicas", "readyReplicas", "updatedReplicas"]
            .iter()
            .all(|count| status[*count] == 3)
}

fn gaps(stage: &Stage, probe: ProbeName) -> Vec<Gap> {
    let mut gaps = stage.report().gaps;
    gaps.retain(|gap| gap.probe == probe);
    gaps
}

#[test]
fn every_machine_is_replaced_one_at_a_time_and_the_new_name_serves_throughout() {
    let mut stage = migrated();
    let before = names(&mut stage);
    let waits = stage.report().longest_wait_ms;
    begin(&mut stage);
    stage.wait(seconds(3));
    assert_eq!(control_plane(&mut stage)["status"]["updatedReplicas"], 0);

    let mut counts = BTreeSet::new();
    let mut updated = Vec::new();
    let mut left = BTreeSet::new();
    let end = stage.world.now().after(minutes(60));
    while !is_over(&mut stage) {
        assert!(stage.world.now() < end, "{:#?}", stage.report());
        let members = stage.members();
        assert!(members.len() >= 3, "{members:?}");
        for machine in stage.machine_objects() {
            if machine["metadata"].get("deletionTimestamp").is_some() {
                let instance = machine["spec"]["providerID"].as_str().unwrap();
                let instance = instance.rsplit('/').next().unwrap();
                let elb = capa_load_balancer(&stage.id);
                assert!(!stage.is_in_service(&elb, instance), "it leaves first");
                left.insert(instance.to_owned());
            }
        }
        counts.insert((names(&mut stage).len(), members.len()));
        let count = control_plane(&mut stage)["status"]["updatedReplicas"].as_u64();
        if updated.last() != count.as_ref() {
            updated.extend(count);
        }
        stage.wait(seconds(1));
    }
    assert!(
        counts
            .iter()
            .all(|(machines, members)| *machines <= 4 && *members <= 4)
    );
    assert_eq!(updated, [0, 1, 2, 3]);
    assert_eq!(left.len(), 3, "{left:?}");
    let after = names(&mut stage);
    assert_eq!(after.len(), 3);
    assert!(before.is_disjoint(&after), "{before:?} {after:?}");
    let report = stage.report();
    assert_eq!(gaps(&stage, ProbeName::NewName), []);
    assert_eq!(
        report.longest_wait_ms, waits,
        "nobody waited for an election"
    );
    assert_eq!(report.etcd.len(), 3);
    let elb = capa_load_balancer(&stage.id);
    let cut = format!("{elb} cut the connections of an instance in service");
    assert_eq!(report.accidents, [cut], "it does not drain");
    // Nodes of machines that are gone are gone.
    let at = stage.workload(Via::NewName);
    let nodes = stage.list(at, &Gvk::new("", "v1", "Node"));
    let role = |node: &&Value| node["metadata"]["labels"]["role"] == "control-plane";
    assert_eq!(nodes.iter().filter(role).count(), 3);
}

/// A member that is removed cannot take its API server off the endpoints any more: the others do, when its lease has run out.
#[test]
fn inside_the_cluster_each_replaced_machine_is_missed_for_fifteen_seconds() {
    let mut stage = migrated();
    let known = stage.report().gaps.len();
    assert_eq!(known, 0);
    begin(&mut stage);
    stage.wait_for("the rollout", minutes(60), is_over);
    stage.wait(minutes(5));
    let gaps = gaps(&stage, ProbeName::InCluster);
    let lengths: Vec<Duration> = gaps
        .iter()
        .map(|gap| gap.until.unwrap().since(gap.from))
        .collect();
    assert_eq!(lengths, [seconds(15); 3]);
}

/// Why somebody has to keep Cluster API nodes on the vintage load balancers for as long as customers use them.
#[test]
fn a_rollout_takes_the_old_names_only_backend_away() {
    let mut stage = migrated();
    begin(&mut stage);
    stage.wait_for("the rollout", minutes(60), is_over);
    assert_eq!(gaps(&stage, ProbeName::OldName).len(), 1);
    assert!(!stage.answers(Via::OldName));
}

#[test]
fn no_machine_is_replaced_while_a_member_is_down() {
    let mut stage = migrated();
    let before = names(&mut stage);
    let down = stage.machines()[1].private_dns.clone();
    let park = |manifest: &str| NodeCommand::Park {
        manifest: manifest.to_owned(),
    };
    stage.node_job("stop-etcd", &down, vec![park("etcd.yaml")]);
    stage.wait(minutes(1));
    begin(&mut stage);
    stage.wait(minutes(60));
    assert_eq!(names(&mut stage), before);
    assert_eq!(stage.members().len(), 3);
}

#[test]
fn paused_it_replaces_nothing() {
    let mut stage = migrated();
    let before = names(&mut stage);
    let kcp = stage.kcp();
    stage.annotate(At::CapiMc, &kcp, keys::PAUSED, json!("true"));
    begin(&mut stage);
    stage.wait(minutes(60));
    assert_eq!(names(&mut stage), before);
}

#[test]
fn another_template_or_version_replaces_them_as_well_and_what_is_no_matter_of_machines_does_not() {
    let mut stage = migrated();
    let before = names(&mut stage);
    let kcp = stage.kcp();
    stage.annotate(At::CapiMc, &kcp, "somebodys", json!("note"));
    stage.wait(minutes(30));
    assert_eq!(names(&mut stage), before);

    let old = control_plane(&mut stage)["spec"]["machineTemplate"]["infrastructureRef"].clone();
    let gvk = Gvk::of(
        old["apiVersion"].as_str().unwrap(),
        old["kind"].as_str().unwrap(),
    );
    let namespace = stage.namespace();
    let object = ObjectRef::new(&gvk, &namespace, old["name"].as_str().unwrap());
    let mut template = stage.find(At::CapiMc, &object).unwrap();
    let name = format!("{}-larger", stage.id);
    template["metadata"] = json!({
        "name": name,
        "namespace": namespace,
        "labels": template["metadata"]["labels"],
    });
    stage.apply(At::CapiMc, template);
    let reference = json!({"infrastructureRef": {"name": name}});
    change(&mut stage, json!({ "machineTemplate": reference }));
    stage.wait_for("the rollout", minutes(60), is_over);
    let second = names(&mut stage);
    assert!(before.is_disjoint(&second), "{before:?} {second:?}");

    change(&mut stage, json!({"version": "v1.25.99"}));
    stage.wait_for("the rollout", minutes(60), is_over);
    assert!(second.is_disjoint(&names(&mut stage)));
}

#[test]
fn a_spec_that_is_changed_back_half_way_leaves_three() {
    let mut stage = migrated();
    let before = names(&mut stage);
    begin(&mut stage);
    stage.wait_for("a fourth machine", minutes(5), |stage| {
        names(stage).len() == 4
    });
    change(&mut stage, json!({"kubeadmConfigSpec": {"ntp": null}}));
    stage.wait(seconds(3));
    stage.wait_for("three machines", minutes(30), is_over);
    let after = names(&mut stage);
    assert!(after.is_subset(&before), "{before:?} {after:?}");
}

/// Tokens are signed by the first issuer, and refused once theirs is on the list no more.
#[test]
fn issuers_decide_whose_tokens_are_good() {
    let mut stage = migrated();
    let old = stage.token(Via::NewName);
    let issuers = |stage: &mut Stage| {
        let object = control_plane(stage);
        care::issuers(&object["spec"]["kubeadmConfigSpec"]).unwrap()
    };
    let set = |stage: &mut Stage, list: &[String]| {
        let object = control_plane(stage);
        let spec = &object["spec"]["kubeadmConfigSpec"];
        let patch = care::with_issuers(spec, list).unwrap();
        change(stage, json!({ "kubeadmConfigSpec": patch }));
        stage.wait(seconds(3));
        stage.wait_for("the rollout", minutes(60), is_over);
    };
    let mut list = issuers(&mut stage);
    list.rotate_right(1);
    set(&mut stage, &list);
    let new = stage.token(Via::NewName);
    assert!(stage.accepts(Via::NewName, &old) && stage.accepts(Via::NewName, &new));

    list.truncate(1);
    set(&mut stage, &list);
    assert!(!stage.accepts(Via::NewName, &old), "its issuer is gone");
    assert!(stage.accepts(Via::NewName, &new));
    let object = ObjectRef::new(
        &Gvk::new("", "v1", "ConfigMap"),
        "kube-system",
        "kubeadm-config",
    );
    let at = stage.workload(Via::NewName);
    let uploaded = stage.find(at, &object).unwrap();
    let config = uploaded["data"]["ClusterConfiguration"].as_str().unwrap();
    assert!(config.contains(&format!("\"service-account-issuer\":\"{}\"", list[0])));
}
