use std::{collections::BTreeMap, path::PathBuf};

use drover_ports::{
    CloudCall, Cluster, Gvk, KubeCall, KubeReply, ObjectRef, SecretBytes, SecretObject, StoreCall,
};
use drover_step_api::Fence;
use serde_json::{Value, json};

use super::*;

/// Answers with `Done`, or with an error, or never.
enum Far {
    Done,
    Error(PortError),
    Silent,
}

#[async_trait]
impl Door for Far {
    async fn pass(&self, _: &Caller, _: Call, _: Option<Stamp>) -> Result<Reply, PortError> {
        match self {
            Self::Done => Ok(Reply::Kube(KubeReply::Done)),
            Self::Error(error) => Err(error.clone()),
            Self::Silent => std::future::pending().await,
        }
    }

    async fn refresh_credentials(&self) {}
}

fn caller() -> Caller {
    Caller {
        installation: "golem".to_owned(),
        kind: "capi.write_ca_secrets/1".to_owned(),
        workflow: "m1".to_owned(),
        step: "copy-ca".to_owned(),
        attempt: 2,
        worker: "golem-1".to_owned(),
    }
}

fn stamp() -> Option<Stamp> {
    Some(Stamp {
        workflow: "m1".to_owned(),
        step: "copy-ca".to_owned(),
        attempt: 2,
        fence: Fence {
            epoch: 3,
            counter: 7,
        },
        effect: "write-secret/c0001-ca".to_owned(),
        idempotency_key: "an-uuid".to_owned(),
        compensating: false,
    })
}

/// What no ledger may hold.
const SECRET: &str = "hunter2";

fn apply_secret() -> Call {
    let secret = SecretBytes::new(SECRET.as_bytes().to_vec());
    Call::Kube {
        at: Cluster::CapiMc,
        call: KubeCall::ApplySecret {
            secret: SecretObject {
                namespace: "org-acme".to_owned(),
                name: "c0001-ca".to_owned(),
                type_: "Opaque".to_owned(),
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
                data: BTreeMap::from([("tls.key".to_owned(), secret)]),
            },
        },
    }
}

fn read() -> Call {
    Call::Cloud {
        cluster: "c0001".to_owned(),
        call: CloudCall::DescribeVpcs {
            ids: vec!["vpc-1".to_owned()],
        },
    }
}

struct Kept {
    _dir: tempfile::TempDir,
    path: PathBuf,
    door: LedgerDoor,
}

impl Kept {
    fn at(far: Far, with_reads: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        let ledger = Ledger::open(&path, with_reads).unwrap();
        Self {
            _dir: dir,
            path,
            door: LedgerDoor::new(Arc::new(far), ledger),
        }
    }

    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.path).unwrap();
        assert!(!text.contains(SECRET), "{text}");
        text.lines()
            .map(|line| {
                let mut line: Value = serde_json::from_str(line).unwrap();
                let at = line["at"].as_str().unwrap();
                assert!(at.parse::<jiff::Timestamp>().is_ok(), "{at}");
                let line = line.as_object_mut().unwrap();
                line.remove("at");
                line.remove("took_ms");
                Value::Object(line.clone())
            })
            .collect()
    }
}

#[tokio::test]
async fn a_mutation_is_a_line_that_says_who_did_what_to_what() {
    let kept = Kept::at(Far::Done, false);
    kept.door.pass(&caller(), read(), None).await.unwrap();
    let done = kept.door.pass(&caller(), apply_secret(), stamp()).await;
    assert!(done.is_ok());
    assert_eq!(
        kept.lines(),
        [json!({
            "workflow": "m1", "step": "copy-ca", "attempt": 2, "kind": "capi.write_ca_secrets/1",
            "worker": "golem-1", "action": "capi-mc:apply:Secret",
            "target": "capi-mc Secret org-acme/c0001-ca", "effect": "write-secret/c0001-ca",
            "fence": "3.7", "idempotency_key": "an-uuid", "outcome": "ok", "reads": 1,
        })]
    );
}

#[tokio::test]
async fn an_error_is_told_by_kind_and_code_without_its_message() {
    let error = PortError::new(PortErrorKind::Conflict, "x", SECRET).with_code("409");
    let kept = Kept::at(Far::Error(error), false);
    let failed = kept.door.pass(&caller(), apply_secret(), stamp()).await;
    assert!(failed.is_err());
    assert_eq!(
        kept.lines()[0]["outcome"],
        json!({"error": {"kind": "conflict", "code": "409"}})
    );
}

#[tokio::test]
async fn a_mutation_that_nobody_waits_for_is_a_line_too() {
    let kept = Kept::at(Far::Silent, false);
    let caller = caller();
    let mut pass = kept.door.pass(&caller, apply_secret(), stamp());
    assert!(futures_util::poll!(&mut pass).is_pending());
    drop(pass);
    assert_eq!(kept.lines()[0]["outcome"], "dropped");
}

#[tokio::test]
async fn reads_are_lines_when_they_are_asked_for() {
    let kept = Kept::at(Far::Done, true);
    kept.door.pass(&caller(), read(), None).await.unwrap();
    let lines = kept.lines();
    assert_eq!(lines[0]["action"], "ec2:DescribeVpcs");
    assert_eq!(lines[0]["target"], "c0001 vpc-1");
    assert_eq!(lines[0].get("effect"), None);
}

#[test]
fn targets_name_and_do_not_tell() {
    let gvk = Gvk::new("", "v1", "ConfigMap");
    let object = json!({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": SECRET}});
    let data = SecretBytes::new(SECRET.as_bytes().to_vec());
    let at = Cluster::Workload {
        cluster: "c0001".to_owned(),
        via: drover_ports::Via::OldName,
    };
    let kube = |call| Call::Kube {
        at: at.clone(),
        call,
    };
    let patch = KubeCall::MergePatch {
        object: ObjectRef::new(&gvk, "default", "a"),
        patch: object.clone(),
        resource_version: None,
    };
    let put = StoreCall::Put {
        key: "golem/c0001/x".to_owned(),
        data: data.clone(),
    };
    for (call, expected) in [
        (
            kube(KubeCall::Apply { object }),
            "c0001@old-name ConfigMap a",
        ),
        (kube(patch), "c0001@old-name ConfigMap default/a"),
        (
            kube(KubeCall::ReviewToken { token: data }),
            "c0001@old-name TokenReview",
        ),
        (Call::RegionStore { call: put }, "golem/c0001/x"),
    ] {
        assert_eq!(target::of(&call), expected);
    }
}
