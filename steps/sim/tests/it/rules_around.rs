//! Rules of what surrounds the cluster: GitOps, apps, the pods' network, names, stacks.

use drover_model::stack_template::retain_all;
use drover_ports::{CloudCall, CloudReply, Cluster as At, DnsRecord, Gvk, ObjectRef, Via};
use drover_sim::ProbeName;
use serde_json::{Value, json};

use crate::stage::{Stage, minutes, seconds};

const VINTAGE: &str = "infrastructure.giantswarm.io/v1alpha3";

fn has_gap(stage: &Stage, probe: ProbeName) -> bool {
    stage.report().gaps.iter().any(|gap| gap.probe == probe)
}

fn aws_cluster(stage: &Stage) -> ObjectRef {
    ObjectRef::new(&Gvk::of(VINTAGE, "AWSCluster"), "org-tidewater", &stage.id)
}

fn kustomization(stage: &Stage) -> ObjectRef {
    let gvk = Gvk::of("kustomize.toolkit.fluxcd.io/v1", "Kustomization");
    let name = format!("{}-manifests", stage.id);
    ObjectRef::new(&gvk, "flux-giantswarm", &name)
}

fn chart(name: &str) -> ObjectRef {
    let gvk = Gvk::of("application.giantswarm.io/v1alpha1", "Chart");
    ObjectRef::new(&gvk, "giantswarm", name)
}

/// Orphaned and deleted, so that no operator hears of it.
fn remove(stage: &mut Stage, at: At, object: &ObjectRef) {
    let paused = json!({"metadata": {
        "annotations": {"cluster.x-k8s.io/paused": "true"},
        "finalizers": null,
    }});
    stage.patch(at.clone(), object, paused);
    stage.delete(at, object);
}

#[test]
fn flux_makes_again_what_is_deleted_unless_it_is_suspended() {
    for suspended in [false, true] {
        let mut stage = Stage::sample();
        let (object, owner) = (aws_cluster(&stage), kustomization(&stage));
        if suspended {
            let suspend = json!({"spec": {"suspend": true}});
            stage.patch(At::VintageMc, &owner, suspend);
        }
        remove(&mut stage, At::VintageMc, &object);
        stage.wait(minutes(15));
        assert_eq!(stage.find(At::VintageMc, &object).is_none(), suspended);
        assert_eq!(stage.has_accident("Flux made AWSCluster"), !suspended);
    }
}

#[test]
fn flux_puts_labels_back_and_leaves_what_others_have_added() {
    let mut stage = Stage::sample();
    let object = aws_cluster(&stage);
    let operator = "aws-operator.giantswarm.io/version";
    let before = stage.find(At::VintageMc, &object).unwrap();
    let change = json!({"metadata": {
        "labels": {operator: null},
        "annotations": {"somebody.example/else": "was here"},
    }});
    stage.patch(At::VintageMc, &object, change);
    stage.wait(minutes(15));
    let after = stage.find(At::VintageMc, &object).unwrap();
    let label = |object: &Value| object["metadata"]["labels"][operator].clone();
    assert_eq!(label(&after), label(&before));
    assert!(after["metadata"]["annotations"]["somebody.example/else"].is_string());
    assert!(stage.has_accident("Flux put labels"));
}

#[test]
fn a_chart_that_is_deleted_takes_the_network_along() {
    let mut stage = Stage::sample();
    let at = stage.workload(Via::OldName);
    stage.delete(at, &chart("cilium"));
    stage.wait(seconds(30));
    assert!(stage.has_accident("uninstalled cilium"));
    assert!(has_gap(&stage, ProbeName::Pods));
}

#[test]
fn a_chart_that_was_released_leaves_it_and_comes_back_while_app_operator_runs() {
    for stopped in [false, true] {
        let mut stage = Stage::sample();
        let at = stage.workload(Via::OldName);
        let name = format!("app-operator-{}", stage.id);
        let operator = ObjectRef::new(&Gvk::of("apps/v1", "Deployment"), &stage.id, &name);
        if stopped {
            let none = json!({"spec": {"replicas": 0}});
            stage.patch(At::VintageMc, &operator, none);
            stage.wait(seconds(10));
        }
        let released = json!({"metadata": {
            "annotations": {"chart-operator.giantswarm.io/paused": "true"},
            "finalizers": null,
        }});
        stage.patch(at.clone(), &chart("cilium"), released);
        stage.delete(at.clone(), &chart("cilium"));
        stage.wait(minutes(10));
        assert_eq!(stage.find(at, &chart("cilium")).is_none(), stopped);
        assert!(!has_gap(&stage, ProbeName::Pods));
    }
}

#[test]
fn agents_that_restart_all_at_once_are_a_gap_and_one_after_the_other_are_none() {
    for pause in [seconds(0), seconds(20)] {
        let mut stage = Stage::sample();
        let at = stage.workload(Via::OldName);
        let pods: Vec<Value> = stage
            .list(at.clone(), &Gvk::of("v1", "Pod"))
            .into_iter()
            .filter(|pod| pod["metadata"]["labels"]["app.kubernetes.io/part-of"] == "cilium")
            .collect();
        let nodes = stage.list(at.clone(), &Gvk::of("v1", "Node")).len();
        assert_eq!(pods.len(), nodes);
        for pod in pods {
            let name = pod["metadata"]["name"].as_str().unwrap();
            let pod = ObjectRef::new(&Gvk::of("v1", "Pod"), "kube-system", name);
            stage.delete(at.clone(), &pod);
            stage.wait(pause);
        }
        stage.wait(minutes(1));
        assert_eq!(has_gap(&stage, ProbeName::Pods), pause.is_zero());
        let again = stage.list(at, &Gvk::of("v1", "Pod")).into_iter();
        let again = again.filter(|pod| pod["metadata"]["labels"]["k8s-app"] == "cilium");
        assert_eq!(again.count(), nodes);
    }
}

#[test]
fn the_autoscaler_fills_a_pool_that_is_being_emptied() {
    let mut stage = Stage::sample();
    let at = stage.workload(Via::OldName);
    let nodes = stage.list(at.clone(), &Gvk::of("v1", "Node"));
    let worker = nodes
        .iter()
        .find(|node| node["metadata"]["labels"]["role"] == "worker")
        .unwrap();
    let name = worker["metadata"]["name"].as_str().unwrap();
    let node = ObjectRef::new(&Gvk::of("v1", "Node"), "", name);
    stage.patch(at, &node, json!({"spec": {"unschedulable": true}}));
    stage.wait(minutes(2));
    assert!(stage.has_accident("cluster-autoscaler"));
}

fn zones(stage: &mut Stage) -> Vec<String> {
    let api = stage.report().id;
    let domain = format!("{api}.k8s.golem.tidewater.example");
    match stage.cloud(CloudCall::ListHostedZones { domain }).unwrap() {
        CloudReply::Zones(zones) => zones.into_iter().map(|zone| zone.id).collect(),
        other => panic!("{other:?}"),
    }
}

fn api_record(stage: &mut Stage, zone: &str) -> DnsRecord {
    let zone = zone.to_owned();
    match stage.cloud(CloudCall::ListRecords { zone }).unwrap() {
        CloudReply::Records(records) => records
            .into_iter()
            .find(|record| record.name.starts_with("api."))
            .unwrap(),
        other => panic!("{other:?}"),
    }
}

fn connections(stage: &mut Stage, load_balancer: &str) -> u64 {
    let call = CloudCall::CountConnections {
        load_balancer: load_balancer.to_owned(),
        seconds: 600,
    };
    match stage.cloud(call).unwrap() {
        CloudReply::Connections(count) => count,
        other => panic!("{other:?}"),
    }
}

#[test]
fn clients_come_by_the_old_way_long_after_a_name_has_changed() {
    for patient in [false, true] {
        let mut stage = Stage::sample();
        let (api, internal) = (
            format!("{}-api", stage.id),
            format!("{}-api-internal", stage.id),
        );
        let zone = zones(&mut stage)[0].clone();
        let seen = api_record(&mut stage, &zone);
        let names = vec![internal];
        let target = match stage
            .cloud(CloudCall::DescribeLoadBalancers { names })
            .unwrap()
        {
            CloudReply::LoadBalancers(found) => found[0].dns_name.clone(),
            other => panic!("{other:?}"),
        };
        let record = DnsRecord {
            values: vec![target],
            ..seen.clone()
        };
        let replace = CloudCall::ReplaceRecord { zone, seen, record };
        stage.cloud(replace.clone()).unwrap();
        let late = stage.cloud(replace).unwrap_err();
        assert_eq!(late.code, "InvalidChangeBatch", "it is another one by now");
        stage.wait(minutes(2));
        assert!(
            connections(&mut stage, &api) > 0,
            "the time to live is over"
        );
        if patient {
            stage.wait_for("the slowest client", minutes(90), |stage| {
                connections(stage, &api) == 0
            });
        }
        let load_balancer = api;
        stage
            .cloud(CloudCall::DeleteLoadBalancer { load_balancer })
            .unwrap();
        stage.wait(minutes(1));
        assert_eq!(has_gap(&stage, ProbeName::OldName), !patient);
    }
}

#[test]
fn a_stack_takes_along_what_it_does_not_retain() {
    for retained in [false, true] {
        let mut stage = Stage::sample();
        let stack = format!("cluster-{}-tccp", stage.id);
        let name = || stack.clone();
        let delete = CloudCall::DeleteStack { stack: name() };
        assert!(stage.cloud(delete.clone()).is_err(), "it is protected");
        let template = match stage
            .cloud(CloudCall::GetTemplate { stack: name() })
            .unwrap()
        {
            CloudReply::Template(template) => template,
            other => panic!("{other:?}"),
        };
        if retained {
            let policies = template.replace(
                "    Type: AWS::EC2::VPC\n",
                "    Type: AWS::EC2::VPC\n    DeletionPolicy: Retain\n",
            );
            let nothing_else = CloudCall::UpdateStack {
                stack: name(),
                template: policies,
            };
            let error = stage.cloud(nothing_else).unwrap_err();
            assert!(error.message.contains("No updates"), "{error}");
            let update = CloudCall::UpdateStack {
                stack: name(),
                template: retain_all(&template).unwrap(),
            };
            stage.cloud(update).unwrap();
            assert!(stage.cloud(delete.clone()).is_err(), "it is being updated");
            stage.wait(minutes(3));
        }
        let unprotect = CloudCall::SetTerminationProtection {
            stack: name(),
            enabled: false,
        };
        stage.cloud(unprotect).unwrap();
        stage.cloud(delete).unwrap();
        stage.wait(minutes(5));
        assert_eq!(stage.has_accident("deleted the VPC"), !retained);
        let gone = stage.cloud(CloudCall::GetTemplate { stack: name() });
        assert!(gone.is_err_and(|error| error.is_not_found()));
    }
}
