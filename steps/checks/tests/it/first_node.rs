//! The proof of the first node: it holds for a good one, and each way of being unfit is named.

use std::{sync::Arc, time::Duration};

use drover_model::{
    names,
    node_job::{NodeCommand, NodeJob},
};
use drover_ports::{Call, Cluster, KubeCall, SecretBytes, SecretObject};
use drover_sim::Fate;
use drover_step_api::Clock as _;
use drover_step_testkit::{Driver, End};
use drover_steps_checks::first_node::{FirstNode, Output, Params};
use serde_json::json;

use crate::stage::{Migration, Town, kinds};

/// A migration up to the proof, and what the proof is asked.
async fn joined(mut migration: Migration) -> (Town, Params) {
    migration.before("verify-first-node").await;
    let params = serde_json::from_value(migration.params("verify-first-node")).unwrap();
    (migration.town.clone(), params)
}

/// What the proof says: the proofs that hold, or why the node must not take over.
async fn prove(town: &Town, params: &Params) -> Result<Vec<String>, String> {
    let driver = Driver::new(
        Arc::new(kinds()),
        Arc::new(town.world.door()),
        Arc::new(town.world.clock()),
        town.installation.as_str(),
        "proof",
    );
    match driver.step::<FirstNode>("proof", params).run().await.end {
        End::Done(output) => {
            let output: Output = serde_json::from_value(output).unwrap();
            Ok(output.proofs)
        }
        End::Stopped(error) if error.code() == "first-node-unfit" => {
            Err(error.message().to_owned())
        }
        other => panic!("{other}"),
    }
}

async fn assert_refused(town: &Town, params: &Params, why: &str) {
    let refused = prove(town, params).await.unwrap_err();
    assert!(refused.contains(why), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_good_node_passes_with_every_proof() {
    let (town, params) = joined(Migration::of(Town::three_masters())).await;
    let proofs = prove(&town, &params).await.unwrap();
    assert_eq!(
        proofs,
        [
            "its API answers",
            "it serves a certificate of the cluster CA",
            "its Machine has found its Node",
            "it shows the same nodes as a master",
            "it accepts a token of a master",
            "a master accepts a token of it",
            "it reads Secrets",
            "its etcd member has caught up",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_with_another_encryption_key_is_refused() {
    let mut migration = Migration::without(Town::three_masters(), &["copy-encryption-config"]);
    migration.pretend("copy-encryption-config", json!({ "secrets": [] }));
    let (town, params) = joined(migration).await;
    assert_refused(&town, &params, "it cannot read Secret").await;
}

#[tokio::test(start_paused = true)]
async fn a_node_with_another_token_key_is_refused() {
    let town = Town::three_masters();
    // Without the old key no machine boots; the one that signs is missing, and so the controller invents it.
    let secret = SecretObject {
        namespace: town.namespace.clone(),
        name: names::sa_old_secret(&town.cluster),
        type_: "Opaque".to_owned(),
        labels: [].into(),
        annotations: [].into(),
        data: [("tls.key".to_owned(), SecretBytes::new(b"old".to_vec()))].into(),
    };
    let at = Cluster::CapiMc;
    let call = KubeCall::ApplySecret { secret };
    town.by_hand(Call::Kube { at, call }).await;
    let step = "copy-service-account-keys";
    let mut migration = Migration::without(town, &[step, "preflight"]);
    migration.pretend(step, json!({ "secrets": [] }));
    let (town, params) = joined(migration).await;
    let why = "it does not accept a token that a master issued; a master does not accept a token that it issued";
    assert_refused(&town, &params, why).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_with_another_ca_is_refused() {
    let (town, params) = joined(Migration::of(Town::three_masters())).await;
    let expected = Params {
        ca_fingerprint: "another".to_owned(),
        ..params
    };
    assert_refused(&town, &expected, "a certificate of another CA").await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_machine_has_another_is_refused() {
    let (town, params) = joined(Migration::of(Town::three_masters())).await;
    let node = params.node.clone();
    town.patch(
        Cluster::CapiMc,
        town.object("cluster.x-k8s.io/v1beta1", "Machine", &params.machine),
        json!({"status": {"nodeRef": {"name": "another"}}}),
    )
    .await;
    let why = format!("has not found the Node {node}");
    assert_refused(&town, &params, &why).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_api_server_has_ended_is_refused() {
    let (town, params) = joined(Migration::of(Town::three_masters())).await;
    let job = NodeJob {
        name: "by-hand".to_owned(),
        node: params.node.clone(),
        image: "alpine".to_owned(),
        commands: vec![NodeCommand::Park {
            manifest: "kube-apiserver.yaml".to_owned(),
        }],
    };
    let (at, object) = (town.workload(), job.render());
    let call = KubeCall::Create { object };
    town.by_hand(Call::Kube { at, call }).await;
    let clock = town.world.clock();
    clock.sleep(Duration::from_secs(60)).await;
    assert_refused(&town, &params, "its API does not answer").await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_instance_has_died_is_refused() {
    let (town, params) = joined(Migration::of(Town::three_masters())).await;
    town.befall(&Fate::InstanceDies(params.instance.clone()));
    assert_refused(&town, &params, "its API does not answer").await;
}
