//! Wrong input: one clear sentence each, where it is, and nothing is started.

use crate::command::{Stage, TOY, drover, file};

struct Wrong {
    name: &'static str,
    text: &'static str,
    /// Parts of what `definition validate` says.
    definition: &'static [&'static str],
    /// Parts of what `demo --cluster` says.
    cluster: &'static [&'static str],
}

const WRONG: &[Wrong] = &[
    Wrong {
        name: "empty.yaml",
        text: "",
        definition: &["empty.yaml:1:1: the file is empty [empty]"],
        cluster: &["empty.yaml:1:1: the file is empty", "kubectl get"],
    },
    Wrong {
        name: "broken.yaml",
        text: "a: [1,\n b",
        definition: &["broken.yaml:1:4:", "[yaml-syntax]"],
        cluster: &["broken.yaml:1:4:"],
    },
    Wrong {
        name: "azure.yaml",
        text: "apiVersion: infrastructure.cluster.x-k8s.io/v1beta1\nkind: AzureCluster\nmetadata: { name: foo, namespace: org-acme }\nspec: {}\n",
        definition: &[
            "azure.yaml:2:7: `kind` must be WorkflowDefinition",
            "8 problems",
        ],
        cluster: &[
            "azure.yaml:1:1: AzureCluster org-acme/foo",
            "only those can be migrated",
        ],
    },
];

#[test]
fn files_that_are_something_else_are_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    for wrong in WRONG {
        let path = file(folder.path(), wrong.name, wrong.text);
        let said = drover(&["definition", "validate", &path]).exits(2).all();
        for part in wrong.definition {
            assert!(said.contains(part), "{part:?} is not in {said:?}");
        }
        let said = drover(&["demo", "--cluster", &path]).exits(2).err;
        for part in wrong.cluster {
            assert!(said.contains(part), "{part:?} is not in {said:?}");
        }
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}

#[test]
fn files_that_are_too_large_or_not_there_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let large = file(folder.path(), "large.yaml", &"a".repeat(9 << 20));
    let missing = folder.path().join("missing.yaml").display().to_string();
    for args in [["definition", "validate"], ["demo", "--cluster"]] {
        let said = drover(&[args[0], args[1], &large]).exits(2).err;
        assert!(said.ends_with("large.yaml: larger than 8 MiB\n"), "{said}");
        let said = drover(&[args[0], args[1], &missing]).exits(2).err;
        assert!(said.contains("missing.yaml: No such file"), "{said}");
    }
}

#[test]
fn every_problem_of_a_definition_is_said_at_once_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let text = TOY.replace("needs: [a], gate", "needs: [c], gate").replace(
        "uses: toy.block/1",
        "uses: vintage.inventory/1, with: { cluster: \"${steps.zzz.output}\" }",
    );
    let path = file(folder.path(), "d.yaml", &text);
    let said = drover(&["definition", "validate", &path]).exits(2).all();
    for code in ["[cycle]", "[unknown-kind]", "[unknown-step]"] {
        assert!(said.contains(code), "{code} is not in {said}");
    }
    let problems: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("d.yaml:"))
        .collect();
    assert!(problems.len() >= 4, "{said}");
    assert!(problems.iter().all(|line| line.ends_with(']')), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_makes_no_sense_starts_nothing() {
    let stage = Stage::set().await;
    let large = stage.file(
        "large.json",
        &format!("{{\"cluster\": \"{}\"}}", "x".repeat(2 << 20)),
    );
    for (args, code, part) in [
        (vec!["toy", "--id", "Not An Id"], 2, "[bad-id]"),
        (vec!["nosuch", "--id", "m1"], 3, "nosuch"),
        (vec!["toy@7", "--id", "m1"], 3, "toy"),
        (
            vec!["toy", "--id", "m1", "--set", "colour=red"],
            2,
            "colour",
        ),
        (
            vec!["toy", "--id", "m1", "--set", "cluster"],
            2,
            "KEY=VALUE",
        ),
        (
            vec!["toy", "--id", "m1", "--input", &large],
            2,
            "[input-too-large]",
        ),
        (
            vec!["toy", "--id", "m1", "--input", "/nowhere.json"],
            2,
            "/nowhere.json",
        ),
    ] {
        let mut all = vec!["workflow", "start"];
        all.extend(&args);
        let run = stage.drover(&all).exits(code);
        assert!(
            run.err.contains(part),
            "{args:?}: {part:?} is not in {:?}",
            run.err
        );
    }
    let listed = stage.drover(&["workflow", "list", "-o", "name"]).exits(0);
    assert_eq!(listed.out, "", "nothing was started");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_workflow_on_one_cluster_is_refused() {
    let stage = Stage::set().await;
    stage.start("m1").exits(0);
    let run = stage.drover(&[
        "workflow",
        "start",
        "toy",
        "--id",
        "m2",
        "--set",
        "cluster=m1",
    ]);
    let said = run.exits(4).err;
    assert!(said.contains("m1"), "it says who has it: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    // The same start again is no second one.
    stage.start("m1").exits(0);
    let listed = stage.drover(&["workflow", "list", "-o", "name"]).exits(0);
    assert_eq!(listed.out.lines().count(), 1);
}
