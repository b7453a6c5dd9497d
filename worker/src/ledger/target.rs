//! What a call is about, in words: names and ids, never contents.

use drover_ports::{Call, Cluster, EtcdCall, KubeCall, ObjectRef, StoreCall, Via};
use serde_json::Value;

/// What a call is about.
pub(super) fn of(call: &Call) -> String {
    match call {
        Call::Kube { at, call } => format!("{} {}", place(at), kube(call)),
        Call::Cloud { cluster, call } => format!("{cluster} {}", call.target()),
        Call::Etcd { cluster, call } => match call {
            EtcdCall::MemberList | EtcdCall::AlarmList => cluster.clone(),
            EtcdCall::Status { member } | EtcdCall::MoveLeader { to: member } => {
                format!("{cluster} {member}")
            }
            EtcdCall::MemberRemove { id } => format!("{cluster} {id:x}"),
            EtcdCall::SaveSnapshot { key } => format!("{cluster} {key}"),
        },
        Call::Ca { cluster, .. } | Call::Probe { cluster, .. } => cluster.clone(),
        Call::RegionStore { call } => match call {
            StoreCall::Head { key } | StoreCall::Get { key } | StoreCall::Put { key, .. } => {
                key.clone()
            }
        },
    }
}

fn place(at: &Cluster) -> String {
    match at {
        Cluster::VintageMc | Cluster::CapiMc => at.word().to_owned(),
        Cluster::Workload { cluster, via } => match via {
            Via::OldName => format!("{cluster}@old-name"),
            Via::NewName => format!("{cluster}@new-name"),
            Via::Instance { id } => format!("{cluster}@{id}"),
        },
    }
}

fn kube(call: &KubeCall) -> String {
    match call {
        KubeCall::Get { object }
        | KubeCall::MergePatch { object, .. }
        | KubeCall::Delete { object, .. } => by_ref(object),
        KubeCall::List { gvk, namespace, .. } => named(&gvk.kind, namespace, "*"),
        KubeCall::Apply { object } | KubeCall::Create { object } => by_object(object),
        KubeCall::PodsOn { node } => format!("pods on Node {node}"),
        KubeCall::Evict { namespace, pod, .. } => named("Pod", namespace, pod),
        KubeCall::GetSecret { namespace, name } => named("Secret", namespace, name),
        KubeCall::ApplySecret { secret } => named("Secret", &secret.namespace, &secret.name),
        KubeCall::RequestToken {
            namespace,
            service_account,
        } => named("ServiceAccount", namespace, service_account),
        KubeCall::ReviewToken { .. } => "TokenReview".to_owned(),
    }
}

fn named(kind: &str, namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        format!("{kind} {name}")
    } else {
        format!("{kind} {namespace}/{name}")
    }
}

fn by_ref(object: &ObjectRef) -> String {
    named(&object.gvk.kind, &object.namespace, &object.name)
}

fn by_object(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let meta = &object["metadata"];
    named(
        &text(&object["kind"]),
        &text(&meta["namespace"]),
        &text(&meta["name"]),
    )
}
