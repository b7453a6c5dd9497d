//! The store as steps see it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use drover_adapter_volume::Volume;
use drover_ports::{ObjectStore, PortErrorKind, SecretBytes};

/// SHA-256 of "abc" (FIPS 180-2, B.1).
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn bytes(text: &str) -> SecretBytes {
    SecretBytes::new(text.as_bytes().to_vec())
}

fn store() -> (tempfile::TempDir, Volume) {
    let dir = tempfile::tempdir().unwrap();
    let volume = Volume::open(dir.path().join("store")).unwrap();
    (dir, volume)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn what_is_put_is_there_for_the_next_process_too() {
    let (dir, volume) = store();
    let key = "golem/c0001/etcd.db";
    assert_eq!(volume.head(key).await.unwrap(), None);
    assert_eq!(volume.put(key, &bytes("abc")).await.unwrap(), ABC);
    let again = Volume::open(dir.path().join("store")).unwrap();
    assert_eq!(again.head(key).await.unwrap(), Some((ABC.to_owned(), 3)));
    assert_eq!(again.get(key).await.unwrap(), bytes("abc"));
}

#[tokio::test]
async fn a_new_object_replaces_the_old_one_and_leaves_nothing_beside_it() {
    let (dir, volume) = store();
    volume.put("a/b", &bytes("a long old one")).await.unwrap();
    volume.put("a/b", &bytes("abc")).await.unwrap();
    assert_eq!(volume.get("a/b").await.unwrap(), bytes("abc"));
    let folder = dir.path().join("store/a");
    let names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["b"]);
}

#[tokio::test]
async fn only_the_owner_may_read() {
    let (dir, volume) = store();
    volume.put("a/b", &bytes("abc")).await.unwrap();
    assert_eq!(mode(&dir.path().join("store")), 0o700);
    assert_eq!(mode(&dir.path().join("store/a")), 0o700);
    assert_eq!(mode(&dir.path().join("store/a/b")), 0o600);
}

#[tokio::test]
async fn an_object_that_is_not_there_is_not_found() {
    let (_dir, volume) = store();
    volume.put("a/b", &bytes("abc")).await.unwrap();
    for key in ["c", "a", "a/b/c"] {
        assert_eq!(volume.head(key).await.unwrap(), None, "{key}");
        let error = volume.get(key).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::NotFound, "{key}");
    }
}

#[tokio::test]
async fn a_key_that_leads_out_of_the_store_is_refused_everywhere() {
    let (_dir, volume) = store();
    let key = "../secret";
    let errors = [
        volume.head(key).await.unwrap_err(),
        volume.get(key).await.unwrap_err(),
        volume.put(key, &bytes("abc")).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind, PortErrorKind::Invalid);
        assert_eq!(error.code, "InvalidKey");
    }
}

#[tokio::test]
async fn a_key_below_an_object_cannot_be_written() {
    let (_dir, volume) = store();
    volume.put("a", &bytes("abc")).await.unwrap();
    let error = volume.put("a/b", &bytes("abc")).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Invalid);
}
