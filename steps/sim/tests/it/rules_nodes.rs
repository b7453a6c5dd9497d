//! Customers' pods, their budgets, and the end of nodes.

use drover_ports::{
    AutoScalingGroup, CloudCall, CloudReply, DISRUPTION_BUDGET, Gvk, KubeCall, ObjectRef,
    PortError, PortErrorKind, Via,
};
use serde_json::{Value, json};

use crate::stage::{Stage, minutes, seconds};

fn pods(stage: &mut Stage, app: &str) -> Vec<Value> {
    let at = stage.workload(Via::OldName);
    let mut pods = stage.list(at, &Gvk::of("v1", "Pod"));
    pods.retain(|pod| pod["metadata"]["labels"]["app"] == app);
    pods
}

fn ready(stage: &mut Stage, app: &str) -> usize {
    let ready = |pod: &&Value| {
        pod["status"]["conditions"][0]["status"] == "True"
            && pod["metadata"].get("deletionTimestamp").is_none()
    };
    pods(stage, app).iter().filter(ready).count()
}

fn evict(stage: &mut Stage, pod: &Value) -> Result<(), PortError> {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap().to_owned();
    let call = KubeCall::Evict {
        namespace: text("namespace"),
        pod: text("name"),
        uid: text("uid"),
    };
    let at = stage.workload(Via::OldName);
    stage.kube(at, call).map(drop)
}

fn workers(stage: &mut Stage) -> Vec<ObjectRef> {
    let at = stage.workload(Via::OldName);
    let kind = Gvk::of("v1", "Node");
    let nodes = stage.list(at, &kind);
    let workers = nodes
        .iter()
        .filter(|node| node["metadata"]["labels"]["role"] == "worker");
    workers
        .map(|node| ObjectRef::new(&kind, "", node["metadata"]["name"].as_str().unwrap()))
        .collect()
}

fn cordon(stage: &mut Stage, nodes: &[ObjectRef], cordoned: bool) {
    for node in nodes {
        let at = stage.workload(Via::OldName);
        stage.patch(at, node, json!({"spec": {"unschedulable": cordoned}}));
    }
}

/// It would bring the cordoned pool another node.
fn stop_the_autoscaler(stage: &mut Stage) {
    let at = stage.workload(Via::OldName);
    let kind = Gvk::of("apps/v1", "Deployment");
    let autoscaler = ObjectRef::new(&kind, "kube-system", "cluster-autoscaler");
    stage.patch(at, &autoscaler, json!({"spec": {"replicas": 0}}));
    stage.wait(seconds(10));
}

fn master_groups(stage: &mut Stage) -> Vec<AutoScalingGroup> {
    let tags = [("giantswarm.io/stack".to_owned(), "tccpn".to_owned())].into();
    match stage
        .cloud(CloudCall::DescribeAutoScalingGroups { tags })
        .unwrap()
    {
        CloudReply::Groups(groups) => groups,
        other => panic!("{other:?}"),
    }
}

/// The instance of the node that a pod is on.
fn instance_under(stage: &mut Stage, pod: &Value) -> String {
    let node = pod["spec"]["nodeName"].as_str().unwrap();
    let node = ObjectRef::new(&Gvk::of("v1", "Node"), "", node);
    let at = stage.workload(Via::OldName);
    let node = stage.find(at, &node).unwrap();
    let provider = node["spec"]["providerID"].as_str().unwrap();
    provider.rsplit('/').next().unwrap().to_owned()
}

#[test]
fn a_budget_lets_one_pod_go_at_a_time() {
    let mut stage = Stage::sample();
    let before = pods(&mut stage, "web");
    assert_eq!(before.len(), 3);
    evict(&mut stage, &before[0]).unwrap();
    let refused = evict(&mut stage, &before[1]).unwrap_err();
    assert_eq!(
        (refused.kind, refused.code.as_str()),
        (PortErrorKind::Conflict, DISRUPTION_BUDGET)
    );
    assert!(
        refused
            .message
            .contains("budget web needs 2 healthy pods and has 2"),
        "{refused}"
    );
    stage.wait(minutes(1));
    assert_eq!(ready(&mut stage, "web"), 3, "another one was made");
    evict(&mut stage, &before[1]).unwrap();
    let other = evict(&mut stage, &before[0]).unwrap_err();
    assert_eq!(other.kind, PortErrorKind::NotFound);
    assert_eq!(stage.report().gaps, []);
    assert_eq!(stage.report().accidents, Vec::<String>::new());
}

#[test]
fn a_deletion_asks_no_budget_and_is_noted() {
    let mut stage = Stage::sample();
    for pod in pods(&mut stage, "web") {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let at = stage.workload(Via::OldName);
        stage.delete(at, &ObjectRef::new(&Gvk::of("v1", "Pod"), "shop", name));
    }
    stage.wait(minutes(1));
    let report = stage.report();
    assert!(report.accidents[0].contains("shop/web was deleted against its budget"));
    assert!(
        report.gaps.iter().any(|gap| gap.cause.contains("shop/web")),
        "{:?}",
        report.gaps
    );
    assert!(
        report.gaps.iter().all(|gap| gap.until.is_some()),
        "they came back"
    );
}

#[test]
fn a_pod_that_fits_nowhere_waits() {
    let mut stage = Stage::sample();
    stop_the_autoscaler(&mut stage);
    let nodes = workers(&mut stage);
    cordon(&mut stage, &nodes, true);
    let pod = pods(&mut stage, "web").remove(0);
    evict(&mut stage, &pod).unwrap();
    stage.wait(minutes(5));
    assert_eq!(ready(&mut stage, "web"), 2);
    cordon(&mut stage, &nodes, false);
    stage.wait(minutes(1));
    assert_eq!(ready(&mut stage, "web"), 3);
}

/// Its volume is in one zone, and has to be let go by the node before.
#[test]
fn a_volume_follows_its_pod_within_its_zone() {
    let mut stage = Stage::sample();
    let zone_of = |stage: &mut Stage, pod: &Value| {
        let node = ObjectRef::new(
            &Gvk::of("v1", "Node"),
            "",
            pod["spec"]["nodeName"].as_str().unwrap(),
        );
        let at = stage.workload(Via::OldName);
        let node = stage.find(at, &node).unwrap();
        node["metadata"]["labels"]["topology.kubernetes.io/zone"].clone()
    };
    let before = pods(&mut stage, "store").remove(0);
    let zone = zone_of(&mut stage, &before);
    let node = before["spec"]["nodeName"].as_str().unwrap();
    let own = [ObjectRef::new(&Gvk::of("v1", "Node"), "", node)];
    cordon(&mut stage, &own, true);
    evict(&mut stage, &before).unwrap();
    stage.wait_for("the store", minutes(3), |stage| ready(stage, "store") == 2);
    let after = pods(&mut stage, "store").remove(0);
    assert_eq!(after["metadata"]["name"], before["metadata"]["name"]);
    assert_ne!(after["spec"]["nodeName"], before["spec"]["nodeName"]);
    assert_eq!(zone_of(&mut stage, &after), zone);
}

#[test]
fn a_hook_holds_an_instance_up_and_its_group_stays_until_it_is_empty() {
    let mut stage = Stage::sample();
    let webhook = pods(&mut stage, "policy-webhook").remove(0);
    let instance = instance_under(&mut stage, &webhook);
    let mut groups = master_groups(&mut stage).into_iter();
    let master = groups
        .find(|group| group.instances.contains(&instance))
        .unwrap();
    let end = CloudCall::TerminateInstanceInAutoScalingGroup {
        instance: instance.clone(),
        decrement: true,
    };
    let refused = stage.cloud(end.clone()).unwrap_err();
    assert!(refused.message.contains("minSize"), "{refused}");
    let name = master.name.clone();
    let lower = CloudCall::UpdateAutoScalingGroup {
        group: name.clone(),
        min: 0,
    };
    stage.cloud(lower).unwrap();
    stage.cloud(end.clone()).unwrap();
    assert_eq!(
        stage.cloud(end).unwrap_err().code,
        "ScalingActivityInProgress"
    );
    stage.wait(minutes(10));
    let mut groups = master_groups(&mut stage).into_iter();
    let waits = groups.find(|group| group.name == name).unwrap().waiting;
    assert_eq!(waits, [instance.as_str()], "it still runs");
    let delete = CloudCall::DeleteAutoScalingGroup {
        group: name.clone(),
    };
    assert_eq!(
        stage.cloud(delete.clone()).unwrap_err().code,
        "ResourceInUse"
    );

    let complete = CloudCall::CompleteLifecycleAction {
        group: name.clone(),
        hook: "ControlPlane".to_owned(),
        instance,
    };
    stage.cloud(complete.clone()).unwrap();
    stage.wait(seconds(60));
    assert_eq!(
        stage.cloud(complete).unwrap_err().kind,
        PortErrorKind::NotFound
    );
    stage.cloud(delete).unwrap();
    let mut left = master_groups(&mut stage).into_iter();
    assert!(left.all(|group| group.name != name));
    let accidents = stage.report().accidents;
    assert!(
        accidents
            .iter()
            .any(|what| what.contains("was ended with a pod of policy-webhook")),
        "nobody had drained it: {accidents:?}"
    );
}
