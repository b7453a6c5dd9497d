//! Reading custom resources: what is understood, what is refused, and where.

use drover_model::{CrError, VintageCluster};

const CLUSTER: &str = "\
apiVersion: cluster.x-k8s.io/v1beta1
kind: Cluster
metadata:
  name: ab1c2
  namespace: org-acme
  labels: {giantswarm.io/cluster: ab1c2, release.giantswarm.io/version: 20.1.2}
spec:
  infrastructureRef: {apiVersion: infrastructure.giantswarm.io/v1alpha3, kind: AWSCluster, name: ab1c2}
";
const AWS_CLUSTER: &str = "\
apiVersion: infrastructure.giantswarm.io/v1alpha3
kind: AWSCluster
metadata:
  name: ab1c2
  namespace: org-acme
  labels: {giantswarm.io/cluster: ab1c2, release.giantswarm.io/version: 20.1.2}
spec:
  cluster: {dns: {domain: eu.acme.example}}
  provider: {region: eu-central-1, pods: {cidrBlock: 10.2.0.0/16}}
";
const CONTROL_PLANE: &str = "\
apiVersion: infrastructure.giantswarm.io/v1alpha3
kind: G8sControlPlane
metadata: {name: zz9x8, namespace: org-acme, labels: {giantswarm.io/cluster: ab1c2}}
spec: {replicas: 3}
";
const AWS_CONTROL_PLANE: &str = "\
apiVersion: infrastructure.giantswarm.io/v1alpha3
kind: AWSControlPlane
metadata: {name: zz9x8, namespace: org-acme, labels: {giantswarm.io/cluster: ab1c2}}
spec: {availabilityZones: [eu-central-1a, eu-central-1b, eu-central-1c], instanceType: m5.xlarge}
";

fn whole() -> Vec<&'static str> {
    vec![CLUSTER, AWS_CLUSTER, CONTROL_PLANE, AWS_CONTROL_PLANE]
}

fn read(documents: &[&str]) -> Result<Vec<VintageCluster>, CrError> {
    VintageCluster::read(&[("in.yaml", &documents.join("---\n"))])
}

fn error(documents: &[&str]) -> String {
    read(documents).unwrap_err().to_string()
}

#[test]
fn the_least_there_can_be_is_read() {
    let clusters = read(&whole()).unwrap();
    let [cluster] = clusters.as_slice() else {
        panic!("{} clusters", clusters.len())
    };
    assert_eq!((cluster.id.as_str(), cluster.replicas()), ("ab1c2", 3));
    assert_eq!(cluster.organization(), "acme");
    assert_eq!(cluster.pod_cidr(), "10.2.0.0/16");
    assert_eq!(cluster.raw.len(), 4);
}

#[test]
fn lists_empty_documents_and_unknown_kinds_are_tolerated() {
    let indented = |text: &str| {
        let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
        format!("- {}\n", lines.join("\n").trim_start())
    };
    let items: String = whole().into_iter().map(indented).collect();
    let list =
        format!("---\n---\napiVersion: v1\nkind: List\nmetadata: {{}}\nitems:\n{items}---\n");
    let other =
        "apiVersion: example.io/v1\nkind: Widget\nmetadata: {name: w, namespace: org-acme}\n";
    let clusters = VintageCluster::read(&[("list.yaml", &list), ("other.yaml", other)]).unwrap();
    assert_eq!(clusters[0].id, "ab1c2");
}

#[test]
fn several_clusters_come_in_the_order_of_their_ids() {
    let all = whole().join("---\n");
    let other = all.replace("ab1c2", "aa0a0").replace("zz9x8", "yy8w7");
    let clusters = VintageCluster::read(&[("a.yaml", &all), ("b.yaml", &other)]).unwrap();
    let ids: Vec<&str> = clusters.iter().map(|cluster| cluster.id.as_str()).collect();
    assert_eq!(ids, ["aa0a0", "ab1c2"]);
}

#[test]
fn the_same_object_twice_counts_once_and_a_different_one_is_refused() {
    let mut documents = whole();
    documents.push(CLUSTER);
    assert_eq!(read(&documents).unwrap()[0].raw.len(), 4);

    let changed = CLUSTER.replace("20.1.2", "20.1.3");
    documents.push(&changed);
    let error = error(&documents);
    assert!(
        error.contains("twice with different contents (first at in.yaml:1:1)"),
        "{error}"
    );
}

#[test]
fn broken_yaml_is_placed() {
    let broken = "kind: Cluster\nmetadata: {name: [\n";
    let error = error(&[broken]);
    assert!(error.starts_with("in.yaml:"), "{error}");
    assert!(!error.starts_with("in.yaml:0"), "{error}");
    assert!(error.contains("kubectl get"), "{error}");
}

#[test]
fn an_empty_file_is_an_error_that_says_what_belongs_in_it() {
    for text in ["", "\n---\n---\n", "# nothing\n"] {
        let error = VintageCluster::read(&[("none.yaml", text)]).unwrap_err();
        assert!(matches!(error, CrError::Empty { .. }), "{text:?}: {error}");
        assert!(error.to_string().starts_with("none.yaml:1:1: "), "{error}");
    }
}

#[test]
fn input_without_a_cluster_names_what_it_has() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: default}\n";
    let error = error(&[secret]);
    assert!(
        error.starts_with("in.yaml:1:1: ") && error.contains("only Secret"),
        "{error}"
    );
}

#[test]
fn other_providers_are_named() {
    let azure = "apiVersion: infrastructure.cluster.x-k8s.io/v1beta1\nkind: AzureCluster\nmetadata: {name: zz1a2, namespace: org-acme}\n";
    let capa = "apiVersion: infrastructure.cluster.x-k8s.io/v1beta2\nkind: AWSCluster\nmetadata: {name: zz1a2, namespace: org-acme}\n";
    let reference = CLUSTER
        .replace(
            "infrastructure.giantswarm.io/v1alpha3",
            "infrastructure.cluster.x-k8s.io/v1beta1",
        )
        .replace("AWSCluster", "AzureCluster");
    for (document, named) in [
        (azure, "AzureCluster org-acme/zz1a2"),
        (
            capa,
            "AWSCluster org-acme/zz1a2 (infrastructure.cluster.x-k8s.io)",
        ),
        (reference.as_str(), "provider AzureCluster"),
    ] {
        let mut documents = whole();
        documents[0] = document;
        let error = error(&documents);
        assert!(error.contains(named), "{error}");
        assert!(error.contains("not a vintage AWS cluster"), "{error}");
    }
}

#[test]
fn a_missing_object_is_asked_for_by_command() {
    for (n, resource) in [
        (0, "clusters.cluster.x-k8s.io"),
        (1, "awsclusters.infrastructure.giantswarm.io"),
        (2, "g8scontrolplanes.infrastructure.giantswarm.io"),
        (3, "awscontrolplanes.infrastructure.giantswarm.io"),
    ] {
        let mut documents = whole();
        documents.remove(n);
        let error = error(&documents);
        assert!(
            error.contains(&format!(
                "kubectl get {resource} -A -l giantswarm.io/cluster=ab1c2"
            )),
            "{error}"
        );
    }
}

#[test]
fn a_second_control_plane_is_placed_beside_the_first() {
    let second = CONTROL_PLANE.replace("zz9x8", "yy8w7");
    let mut documents = whole();
    documents.push(&second);
    let error = error(&documents);
    assert!(
        error.contains("second G8sControlPlane (yy8w7, the first is at in.yaml:20:1)"),
        "{error}"
    );
}

#[test]
fn oversized_input_is_refused_before_it_is_parsed() {
    let text = "x".repeat(drover_model::cr::INPUT_LIMIT + 1);
    let error = VintageCluster::read(&[("big.yaml", &text)]).unwrap_err();
    assert!(matches!(error, CrError::TooLarge { .. }), "{error}");
}

#[test]
fn wrong_types_strange_ids_and_two_masters_are_refused() {
    let numbers = CONTROL_PLANE.replace("replicas: 3", "replicas: three");
    let two = CONTROL_PLANE.replace("replicas: 3", "replicas: 2");
    for (document, words) in [
        (numbers, "does not have the shape"),
        (two, "has 2 replicas"),
    ] {
        let mut documents = whole();
        documents[2] = &document;
        let error = error(&documents);
        assert!(
            error.starts_with("in.yaml:20:1: ") && error.contains(words),
            "{error}"
        );
    }
    let strange = whole().join("---\n").replace("ab1c2", "AB_1");
    let error = VintageCluster::read(&[("in.yaml", &strange)]).unwrap_err();
    assert!(matches!(error, CrError::BadId { .. }), "{error}");
}

#[test]
fn what_is_empty_is_derived_and_found() {
    let bare = AWS_CLUSTER
        .replace("region: eu-central-1", "region: \"\"")
        .replace("domain: eu.acme.example", "domain: \"\"");
    let mut documents = whole();
    documents[1] = &bare;
    let cluster = &read(&documents).unwrap()[0];
    assert_eq!(cluster.region, "eu-central-1");
    let codes: Vec<&str> = cluster.findings.iter().map(|f| f.code.as_str()).collect();
    for code in ["region-empty", "domain-empty", "status-empty"] {
        assert!(codes.contains(&code), "{codes:?}");
    }
}

#[test]
fn contradictions_are_found_and_not_fatal() {
    let pool = "\
apiVersion: infrastructure.giantswarm.io/v1alpha3
kind: AWSMachineDeployment
metadata:
  name: np7k3
  namespace: org-acme
  labels: {giantswarm.io/cluster: ab1c2, release.giantswarm.io/version: 20.1.1}
  annotations: {machine-deployment.giantswarm.io/subnet: 192.168.0.0/25}
spec: {nodePool: {scaling: {min: 5, max: 3}}}
";
    let aws = AWS_CLUSTER
        .replace(
            "  labels:",
            "  annotations: {cilium.giantswarm.io/pod-cidr: 10.200.0.0/16}\n  labels:",
        )
        .replace(
            "region: eu-central-1,",
            "region: eu-central-1, nodes: {networkPool: own},",
        );
    let network = "\
apiVersion: infrastructure.giantswarm.io/v1alpha3
kind: NetworkPool
metadata: {name: own, namespace: org-acme}
spec: {cidrBlock: 10.90.0.0/16}
";
    let documents = [
        CLUSTER,
        aws.as_str(),
        CONTROL_PLANE,
        AWS_CONTROL_PLANE,
        pool,
        network,
    ];
    let cluster = &read(&documents).unwrap()[0];
    assert_eq!(cluster.pod_cidr(), "10.200.0.0/16", "the annotation wins");
    let codes: Vec<&str> = cluster.findings.iter().map(|f| f.code.as_str()).collect();
    for code in [
        "labels-disagree",
        "machine-deployment-missing",
        "scaling-inverted",
        "pool-subnet-elsewhere",
        "annotation-elsewhere",
    ] {
        assert!(codes.contains(&code), "{code} is not in {codes:?}");
    }
}
