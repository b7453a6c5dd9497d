//! Key material stays inside workers: no store, spool, log or backup has any of it.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use base64::Engine as _;
use drover_ports::{Caller, Gvk, Ports};
use drover_proto::v1::WorkflowState;
use system_tests::{
    client::summary,
    town::{Plan, Town},
};

use crate::DROVER;

/// Shorter values are words, not keys.
const KEY_BYTES_MIN: usize = 24;

/// All secret values that the migration has seen, and everything that would give them away.
async fn needles(town: &Town) -> BTreeSet<Vec<u8>> {
    let caller = Caller {
        installation: "golem".to_owned(),
        kind: "test.looks/1".to_owned(),
        workflow: "test".to_owned(),
        step: "looks".to_owned(),
        attempt: 1,
        worker: "test".to_owned(),
    };
    const ACTIONS: &[&str] = &[
        "vintage-mc:list:Secret",
        "vintage-mc:get-data:Secret",
        "capi-mc:list:Secret",
        "capi-mc:get-data:Secret",
    ];
    let ports = Ports::new(Arc::new(town.reality.door()), caller, ACTIONS);
    let mut needles = BTreeSet::new();
    for kube in [ports.vintage_mc(), ports.capi_mc()] {
        for listed in kube
            .list(&Gvk::new("", "v1", "Secret"), "", &[])
            .await
            .unwrap()
        {
            let text = |field: &str| listed["metadata"][field].as_str().unwrap().to_owned();
            let secret = kube
                .get_secret(&text("namespace"), &text("name"))
                .await
                .unwrap();
            for (name, value) in &secret.data {
                // Certificates are public.
                let is_public = ["ca", "crt", "tls.crt", "pub", "sa.pub"].contains(&name.as_str());
                if is_public || value.expose().len() < KEY_BYTES_MIN {
                    continue;
                }
                needles.extend(forms(value.expose()));
            }
        }
    }
    needles
}

/// As it is, in base64, and line by line.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let base64 = base64::engine::general_purpose::STANDARD;
    let mut forms = vec![value.to_vec(), base64.encode(value).into_bytes()];
    forms.extend(
        value
            .split(|byte| *byte == b'\n')
            .filter(|line| line.len() >= 40 && !line.starts_with(b"-----"))
            .map(<[u8]>::to_vec),
    );
    forms
}

fn files(folder: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("world") {
            // What lies outside has its keys, of course.
            continue;
        }
        if path.is_dir() {
            files(&path, into);
        } else {
            into.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn no_key_leaves_a_worker() {
    let mut town = Town::start(DROVER, &Plan::default()).await;
    let mut client = town.client().await;
    assert!(town.migrate(&mut client, "m1", 0).await);
    let workflow = town.settled("m1").await;
    assert_eq!(
        workflow.state(),
        WorkflowState::Completed,
        "{:#?}",
        summary(workflow)
    );
    let backup = town.folder().join("backup.drover").display().to_string();
    let (code, _, said) = town.drover(&["backup", &backup]);
    assert_eq!(code, 0, "{said}");
    let (_, history, _) = town.drover(&["workflow", "history", "m1", "-o", "jsonl"]);
    let needles = needles(&town).await;
    assert!(needles.len() > 10, "there are keys to look for");
    town.kill_coordinator();
    town.kill_worker("golem");

    let mut files_found = vec![("history".to_owned(), history.into_bytes())];
    files(town.folder(), &mut files_found);
    // A search that finds nothing proves nothing unless it finds what is there.
    for place in ["history", "backup.drover", "coordinator/"] {
        let found = files_found
            .iter()
            .any(|(name, bytes)| name.contains(place) && contains(bytes, b"hold-control-plane"));
        assert!(found, "the search works in {place}");
    }
    for (name, bytes) in &files_found {
        assert!(!contains(bytes, b"PRIVATE KEY"), "{name} has a private key");
        for needle in &needles {
            assert!(!contains(bytes, needle), "{name} has a value of a Secret");
        }
    }
}
