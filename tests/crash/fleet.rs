//! A small fleet, migrated by the demo itself while calls fail and processes are killed.

use std::process::{Command, Stdio};

use serde_json::Value;
use system_tests::town::turn;

use crate::DROVER;

const CLUSTERS: u64 = 6;

const KILLS: u64 = 3;

/// Runs `drover demo` with these arguments; exit code, stdout and stderr.
fn demo(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(DROVER)
        .arg("demo")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[tokio::test]
async fn a_fleet_is_migrated_through_faults_and_kills() {
    // Its processes share the cores with nobody else's.
    let _turn = turn().await;
    let (code, out, err) = demo(&[
        "--clusters",
        &CLUSTERS.to_string(),
        "--installations",
        "3",
        "--fault",
        "unavailable=5%",
        "lost-reply=5%",
        "--kills",
        &KILLS.to_string(),
        "--speed",
        "300",
        "-o",
        "json",
    ]);
    assert_eq!(code, 0, "{out}\n{err}");
    let verdict: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        verdict["counts"],
        serde_json::json!({ "migrated": CLUSTERS })
    );
    assert_eq!(verdict["kills"]["strikes"], KILLS);
    assert_eq!(verdict["violations"], serde_json::json!([]));
    let faults = verdict["world"]["faults"].as_object().unwrap();
    assert!(
        faults.values().all(|count| count.as_u64() > Some(0)),
        "{faults:?}"
    );
    let clusters = verdict["world"]["clusters"].as_array().unwrap();
    let installations: std::collections::BTreeSet<&str> = clusters
        .iter()
        .map(|cluster| cluster["installation"].as_str().unwrap())
        .collect();
    assert_eq!(
        (clusters.len() as u64, installations.len()),
        (CLUSTERS, 3),
        "{clusters:#?}"
    );
}
