//! Rules of machines that are slow or never boot, and of members that join.

use drover_model::{cr::keys, names, node_job::NodeCommand, target};
use drover_ports::{Cluster as At, Gvk, ObjectRef, Via};
use drover_sim::{FaultKind, WorldConfig, sample_crs};
use serde_json::json;

use crate::{
    by_hand::Omit,
    stage::{Stage, minutes, seconds},
};

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
    assert_eq!(stage.member_count(), 3);
    stage.node_job(
        "start-etcd",
        &dead.private_dns,
        vec![NodeCommand::StartUnit {
            unit: "etcd3.service".into(),
        }],
    );
    stage.wait_for_node();
    assert_eq!(stage.member_count(), 4);
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
    assert!(stage.has_gap_because("quorum"), "{:#?}", stage.report());
}
