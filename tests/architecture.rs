//! The package arrows, and what only one file may name.
//!
//! Arrows count normal and build dependencies; dev-dependencies may go anywhere.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// What a package may depend on.
struct Arrows {
    package: &'static str,
    /// Packages of this workspace.
    ours: &'static [&'static str],
    /// Packages of others that it must not depend on; a name that ends in `*` is a prefix.
    never: &'static [&'static str],
}

/// SDKs: nothing on the way to the operator's command may pull them in, and steps reach them through ports only.
const SDKS: &[&str] = &["kube*", "k8s-openapi", "aws-*", "etcd-client", "vaultrs"];

const CORE_NEVER: &[&str] = &[
    "tokio*",
    "tonic*",
    "sled",
    "prost*",
    "chrono",
    "rand*",
    "getrandom",
    "kube*",
    "aws-*",
];

const ARROWS: &[Arrows] = &[
    Arrows {
        package: "drover-proto",
        ours: &[],
        never: SDKS,
    },
    Arrows {
        package: "drover-core",
        ours: &[],
        never: CORE_NEVER,
    },
    Arrows {
        package: "drover-coordinator",
        ours: &["drover-proto", "drover-core", "drover-process"],
        never: SDKS,
    },
    Arrows {
        package: "drover",
        ours: &[
            "drover-proto",
            "drover-core",
            // From here on with the feature `dev` only, which another test holds.
            "drover-coordinator",
            "drover-model",
            "drover-process",
            "drover-sim",
            "drover-step-api",
            "drover-steps-capa",
            "drover-worker",
        ],
        never: &["sled", "kube*", "k8s-openapi", "aws-*"],
    },
    Arrows {
        package: "drover-process",
        ours: &[],
        never: &["tonic*", "sled", "kube*", "aws-*"],
    },
    Arrows {
        package: "drover-step-api",
        ours: &[],
        never: &["tonic*", "prost*", "sled", "kube*", "aws-*"],
    },
    Arrows {
        package: "drover-ports",
        ours: &["drover-step-api"],
        never: &[
            "tonic*",
            "sled",
            "kube*",
            "k8s-openapi",
            "aws-*",
            "etcd-client",
            "vaultrs",
        ],
    },
    Arrows {
        package: "drover-model",
        ours: &[],
        never: &["tokio*", "tonic*", "sled", "kube*", "k8s-openapi", "aws-*"],
    },
    Arrows {
        package: "drover-step-testkit",
        ours: &["drover-step-api", "drover-ports"],
        never: SDKS,
    },
    Arrows {
        package: "drover-steps-capa",
        ours: &["drover-step-api", "drover-ports", "drover-model"],
        never: SDKS,
    },
    Arrows {
        package: "drover-steps-checks",
        ours: &["drover-step-api", "drover-ports", "drover-model"],
        never: SDKS,
    },
    Arrows {
        package: "drover-sim",
        ours: &[
            "drover-ports",
            "drover-model",
            "drover-proto",
            "drover-step-api",
        ],
        never: &[
            "sled",
            "kube*",
            "k8s-openapi",
            "aws-*",
            "etcd-client",
            "vaultrs",
        ],
    },
    Arrows {
        package: "drover-worker",
        ours: &[
            "drover-proto",
            "drover-step-api",
            "drover-ports",
            "drover-process",
            "drover-steps-capa",
            "drover-steps-checks",
            // From here on with the features `sim` and `real` only, which another test holds.
            "drover-sim",
            "drover-adapter-aws",
            "drover-adapter-etcd",
            "drover-adapter-kube",
            "drover-adapter-volume",
        ],
        never: &[
            "sled",
            "kube*",
            "k8s-openapi",
            "aws-*",
            "etcd-client",
            "vaultrs",
        ],
    },
    // An adapter knows the ports and its one SDK; adapters meet at the traits of the ports only.
    Arrows {
        package: "drover-adapter-aws",
        ours: &["drover-ports", "drover-step-api"],
        never: &[
            "tonic*",
            "sled",
            "kube*",
            "k8s-openapi",
            "etcd-client",
            "vaultrs",
        ],
    },
    Arrows {
        package: "drover-adapter-etcd",
        ours: &["drover-ports", "drover-step-api"],
        never: &["sled", "kube*", "k8s-openapi", "aws-*", "vaultrs"],
    },
    Arrows {
        package: "drover-adapter-kube",
        ours: &["drover-ports", "drover-step-api"],
        never: &["tonic*", "sled", "aws-*", "etcd-client", "vaultrs"],
    },
    Arrows {
        package: "drover-adapter-volume",
        ours: &["drover-ports", "drover-step-api"],
        never: SDKS,
    },
];

/// Packages that may depend on everything, because nothing depends on them.
const LEAVES: &[&str] = &[
    "system-tests",
    "drover-bench",
    "drover-fuzz",
    "drover-lab",
    "drover-simulation",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

fn packages() -> Vec<Package> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap();
    metadata.packages
}

fn shipped(package: &Package) -> impl Iterator<Item = &str> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.as_str())
}

fn names(pattern: &str, name: &str) -> bool {
    pattern
        .strip_suffix('*')
        .map_or(pattern == name, |prefix| name.starts_with(prefix))
}

/// Every arrow that points the wrong way.
fn wrong(packages: &[Package]) -> Vec<String> {
    let ours: BTreeSet<&str> = packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let table: BTreeMap<&str, &Arrows> = ARROWS
        .iter()
        .map(|arrows| (arrows.package, arrows))
        .collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package.name.as_str();
        let Some(arrows) = table.get(name) else {
            if !LEAVES.contains(&name) {
                wrong.push(format!("{name} is not in the table"));
            }
            continue;
        };
        for to in shipped(package) {
            let is_wrong = if ours.contains(to) {
                !arrows.ours.contains(&to)
            } else {
                arrows.never.iter().any(|pattern| names(pattern, to))
            };
            if is_wrong {
                wrong.push(format!("{name} must not depend on {to}"));
            }
        }
    }
    wrong
}

#[test]
fn every_package_arrow_points_the_right_way() {
    assert_eq!(wrong(&packages()), Vec::<String>::new());
}

#[test]
fn an_arrow_that_points_the_wrong_way_is_found() {
    let mut packages = packages();
    let borrowed = |from: &str, to: &str, packages: &[Package]| {
        let from = packages
            .iter()
            .find(|package| package.name == from)
            .unwrap();
        from.dependencies
            .iter()
            .find(|dependency| dependency.name == to)
            .unwrap()
            .clone()
    };
    let sled = borrowed("drover-coordinator", "sled", &packages);
    let proto = borrowed("drover-coordinator", "drover-proto", &packages);
    let core = packages
        .iter_mut()
        .find(|package| package.name == "drover-core")
        .unwrap();
    core.dependencies.extend([sled, proto]);
    assert_eq!(
        wrong(&packages),
        [
            "drover-core must not depend on sled",
            "drover-core must not depend on drover-proto"
        ]
    );
}

#[test]
fn the_command_has_the_engine_and_the_world_for_development_only() {
    let packages = packages();
    let command = packages
        .iter()
        .find(|package| package.name == "drover")
        .unwrap();
    let always: Vec<&str> = command
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == DependencyKind::Normal && !dependency.optional)
        .map(|dependency| dependency.name.as_str())
        .filter(|name| name.starts_with("drover-"))
        .collect();
    assert_eq!(always, ["drover-core", "drover-proto"]);
}

/// Names of all that a package is built from, with every feature of its own.
fn built_from(package: &str) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--offline", "--all-features", "--package", package])
        .args(["--edges", "normal,build", "--prefix", "none"])
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let lines = String::from_utf8(tree.stdout).unwrap();
    lines
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn no_sdk_is_in_the_command_the_coordinator_or_the_simulated_world() {
    let sdks = |package: &str| -> Vec<String> {
        let built_from = built_from(package);
        let is_sdk = |name: &&String| SDKS.iter().any(|pattern| names(pattern, name));
        built_from.iter().filter(is_sdk).cloned().collect()
    };
    for package in ["drover", "drover-coordinator", "drover-sim"] {
        assert_eq!(sdks(package), Vec::<String>::new(), "{package}");
    }
    let of_the_adapter = sdks("drover-adapter-aws");
    assert!(
        of_the_adapter.contains(&"aws-sdk-ec2".to_owned()),
        "the look finds what there is"
    );
}

#[test]
fn the_worker_has_the_worlds_by_feature_only() {
    let packages = packages();
    let worker = packages
        .iter()
        .find(|package| package.name == "drover-worker")
        .unwrap();
    assert!(!worker.features.contains_key("default"));
    let always: Vec<&str> = worker
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == DependencyKind::Normal && !dependency.optional)
        .map(|dependency| dependency.name.as_str())
        .filter(|name| name.starts_with("drover-adapter-") || *name == "drover-sim")
        .collect();
    assert_eq!(always, Vec::<&str>::new());
}

/// Sources of the workspace, as path from its root and text.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                walk(&path, into);
            } else if name.ends_with(".rs") {
                into.push(path);
            }
        }
    }
    let root = root();
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (
                path.strip_prefix(&root).unwrap().display().to_string(),
                text,
            )
        })
        .filter(|(path, _)| path != "tests/architecture.rs")
        .collect()
}

/// Files in which a line of code, other than a comment, has one of these.
fn files_with(needles: &[&str]) -> Vec<String> {
    let has = |text: &str| {
        text.lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .any(|line| needles.iter().any(|needle| line.contains(needle)))
    };
    let mut files: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| has(text))
        .map(|(path, _)| path)
        .collect();
    files.sort();
    files
}

#[test]
fn what_may_have_to_be_replaced_is_behind_one_file() {
    // `store::sled` is the module in that file, not the library.
    let sled = |path: &String| path != "coordinator/src/store/sled.rs";
    let names_the_library = [
        "use sled",
        "sled::Db",
        "sled::Tree",
        "sled::Batch",
        "sled::Config",
    ];
    let users: Vec<String> = files_with(&names_the_library);
    assert_eq!(
        users.iter().filter(|path| sled(path)).count(),
        0,
        "{users:?}"
    );
    assert_eq!(users.len(), 1, "the needles find the one that there is");
    assert_eq!(files_with(&["backoff::"]), ["worker/src/retry.rs"]);
}

#[test]
fn only_the_worker_and_the_testkit_play_the_runtime_of_steps() {
    let strangers: Vec<String> = files_with(&["step_api::runtime", "drover_step_api::{runtime"])
        .into_iter()
        .filter(|path| !path.starts_with("worker/"))
        .collect();
    assert_eq!(strangers, Vec::<String>::new());
}
