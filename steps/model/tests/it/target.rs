//! The rendered objects, in full and by the rules that a live cluster depends on.

use drover_model::{Partition, names, target};
use serde_json::{Value, json};

use crate::{golden, plan::plan};

fn rendered(region: &str, masters: u32) -> target::Target {
    target::render(&plan(region, masters, 2))
}

fn object<'t>(target: &'t target::Target, kind: &str) -> &'t Value {
    target
        .objects
        .iter()
        .find(|object| object["kind"] == kind)
        .unwrap()
}

#[test]
fn objects_are_as_reviewed() {
    for (region, partition) in [("eu-central-1", "aws"), ("cn-north-1", "aws-cn")] {
        for masters in [1, 3] {
            let target = rendered(region, masters);
            let value = json!({
                "objects": target.objects,
                "pools": target.pools,
                "lossy": target.lossy,
            });
            golden::check(&format!("target-{partition}-{masters}"), &value);
        }
    }
}

#[test]
fn migration_files_are_as_reviewed() {
    for (region, partition) in [("eu-central-1", "aws"), ("cn-north-1", "aws-cn")] {
        let files = target::migration_files(
            "etcd.ab1c2.k8s.eu.acme.example",
            Partition::of_region(region),
        );
        golden::check(&format!("files-{partition}"), &json!(files));
    }
}

#[test]
fn nothing_is_applied_paused_but_the_health_check() {
    let target = rendered("eu-central-1", 3);
    for object in &target.objects {
        let paused = object["spec"]["paused"] == true
            || object["metadata"]["annotations"]["cluster.x-k8s.io/paused"] == "true";
        assert_eq!(
            paused,
            object["kind"] == "MachineHealthCheck",
            "{}",
            object["kind"]
        );
    }
}

#[test]
fn the_join_script_comes_from_a_secret_and_never_stands_in_the_objects() {
    let target = rendered("eu-central-1", 3);
    let text = serde_json::to_string(&target.objects).unwrap();
    assert!(text.contains(&names::migration_files_secret("ab1c2")));
    assert!(!text.contains("member add"));
    let configuration = &object(&target, "KubeadmControlPlane")["spec"]["kubeadmConfigSpec"]["clusterConfiguration"];
    assert!(!configuration.to_string().contains("initial-cluster"));
}

#[test]
fn a_rollback_can_never_reach_the_vpc_or_the_customers_load_balancers() {
    let target = rendered("eu-central-1", 3);
    let aws_cluster = object(&target, "AWSCluster");
    assert_eq!(
        aws_cluster["metadata"]["annotations"][target::EXTERNAL_RESOURCE_GC],
        "false"
    );
    assert_eq!(aws_cluster["spec"]["network"]["vpc"]["id"], "vpc-0aa11");
    assert!(
        !aws_cluster
            .to_string()
            .contains(&names::tag_capa_cluster("ab1c2"))
    );
}

#[test]
fn the_cluster_object_comes_last() {
    assert_eq!(
        rendered("eu-central-1", 3).objects.last().unwrap()["kind"],
        "Cluster"
    );
}

#[test]
fn the_digest_follows_the_plan() {
    let same = rendered("eu-central-1", 3).digest;
    assert_eq!(same, rendered("eu-central-1", 3).digest);
    let mut changed = plan("eu-central-1", 3, 2);
    changed.network.node_cidr_mask = 24;
    assert_ne!(same, target::render(&changed).digest);
}

#[test]
fn what_is_not_carried_over_is_listed() {
    let settings: Vec<String> = rendered("eu-central-1", 3)
        .lossy
        .into_iter()
        .map(|lossy| lossy.setting)
        .collect();
    assert!(
        settings.iter().any(|s| s.contains("aws-subnet-size")),
        "{settings:?}"
    );
    assert!(
        settings
            .iter()
            .any(|s| s.contains("similar instance types")),
        "{settings:?}"
    );
}

fn kubeadm(target: &target::Target) -> Value {
    object(target, "KubeadmControlPlane")["spec"]["kubeadmConfigSpec"].clone()
}

/// RFC 7386, as far as these patches go.
fn merged(into: &Value, patch: &Value) -> Value {
    let Some(fields) = patch.as_object() else {
        return patch.clone();
    };
    let mut merged = into.clone();
    for (key, value) in fields {
        if value.is_null() {
            merged.as_object_mut().unwrap().shift_remove(key);
        } else {
            merged[key] = self::merged(&into[key], value);
        }
    }
    merged
}

#[test]
fn what_stays_of_the_migration_is_what_every_node_needs() {
    let spec = kubeadm(&rendered("eu-central-1", 3));
    let patch = target::care::without_migration(&spec, "ab1c2").unwrap();
    let clean = merged(&spec, &patch);

    let paths: Vec<&str> = clean["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    let kept = [
        "/etc/kubernetes/encryption/config.yaml",
        "/etc/kubernetes/pki/sa-old.pem",
        "/etc/kubernetes/patches/kube-apiserver0+json.json",
    ];
    assert_eq!(paths, kept);
    let words = |field: &str| clean[field].to_string();
    let before = words("preKubeadmCommands");
    assert!(before.contains("--dport 6443") && before.contains("envsubst"));
    let text = clean.to_string();
    for gone in ["/migration/", "migration-custom-files", "skip-client-san"] {
        assert!(!text.contains(gone), "{gone}");
    }
    assert_eq!(target::care::issuers(&clean), target::care::issuers(&spec));
    let again = target::care::without_migration(&clean, "ab1c2");
    assert_eq!(again, None, "there is nothing left to take away");
}

#[test]
fn commands_of_others_stay() {
    let mut spec = kubeadm(&rendered("eu-central-1", 3));
    spec["postKubeadmCommands"] =
        json!(["sleep 90", "bash /migration/x.sh", "usermod -aG root core"]);
    let patch = target::care::without_migration(&spec, "ab1c2").unwrap();
    assert_eq!(
        patch["postKubeadmCommands"],
        json!(["usermod -aG root core"])
    );
}

#[test]
fn issuers_are_read_as_they_are_written() {
    let spec = kubeadm(&rendered("eu-central-1", 3));
    let issuers = target::care::issuers(&spec).unwrap();
    assert!(issuers.len() > 1, "{issuers:?}");
    let turned: Vec<String> = issuers.iter().rev().cloned().collect();
    let patch = target::care::with_issuers(&spec, &turned).unwrap();
    let changed = merged(&spec, &patch);
    assert_eq!(target::care::issuers(&changed), Some(turned));
    // What else the patch of the API server says is still there.
    assert!(changed.to_string().contains("sa-old.pem\\\""));

    let one = &issuers[..1];
    let changed = merged(&spec, &target::care::with_issuers(&spec, one).unwrap());
    assert_eq!(target::care::issuers(&changed).unwrap(), one);
    assert_eq!(target::care::with_issuers(&spec, &[]), None);
}

#[test]
fn issuers_elsewhere_are_not_guessed() {
    let mut spec = kubeadm(&rendered("eu-central-1", 3));
    spec["clusterConfiguration"]["apiServer"]["extraArgs"] =
        json!([{"name": "service-account-issuer", "value": "https://x"}]);
    assert_eq!(target::care::issuers(&spec), None);
}
