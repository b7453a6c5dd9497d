//! The program `drover-coordinator`: bad settings stop it before it listens.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Command, Stdio};

fn starts(args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_drover-coordinator"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn settings_are_checked_and_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let (code, said) = starts(&["--data", &data, "--check-config"]);
    assert_eq!((code, said.as_str()), (0, ""));
    assert!(!folder.path().join("data").exists());
}

#[test]
fn settings_that_do_not_work_stop_the_start_with_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let inside = folder.path().join("data/backup").display().to_string();
    let file = folder.path().join("coordinator.yaml");
    std::fs::write(&file, format!("data: {data}\nlow-space-mb: 1\n")).unwrap();
    let file = file.display().to_string();
    for (args, part) in [
        (vec!["--config", &file], "low-space-mib"),
        (vec!["--config", "/nowhere.yaml"], "/nowhere.yaml"),
        (
            vec!["--data", &data, "--listen", "0.0.0.0:0"],
            "not a loopback address",
        ),
        (vec!["--data", &data, "--profile", "wan"], "use lan or test"),
        (
            vec![
                "--data",
                &data,
                "--low-space-mib",
                "1",
                "--full-space-mib",
                "2",
            ],
            "--full-space-mib must not be larger",
        ),
        (
            vec!["--data", &data, "--retention", "PT1M"],
            "--retention must be at least PT1H",
        ),
        (
            vec!["--data", &data, "--retention-max", "0"],
            "--retention-max must be at least 1",
        ),
        (
            vec!["--data", &data, "--backup-dir", &inside],
            "must not lie in each other",
        ),
        (
            vec!["--data", &data, "--signing-key-file", &file],
            "not 64 hex digits",
        ),
    ] {
        let (code, said) = starts(&args);
        assert!(code == 1 || code == 2, "{args:?}: {said}");
        assert!(said.contains(part), "{args:?}: {part:?} is not in {said:?}");
    }
    assert!(!folder.path().join("data").join("db").exists());
}
